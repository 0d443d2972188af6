//! What is timed: a network on a batch of noise, and the kinds of step.

use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor};
use clap::{Args, ValueEnum};
use msharp_core::{
    Alone, Batch, BatchLoss, Communicator, Key, Objective, Optimizer, Params, Perturbation, Seeded, TrainingPoint,
};
use msharp_data::{Loader, synthetic};
use msharp_lab::build;
use msharp_lab::config::named;
use msharp_lab::config::{DataName, EstimatorName, RunConfig};
use msharp_lab::experiments::standard;
use msharp_models::Architecture::{self, ResNet18ImageNet, ResNet34ImageNet, ResNet50ImageNet};
use msharp_models::{Model, Norm};
use msharp_train::Classifier;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Instant;

/// The step: inputs of noise, of the size that the network is for, momentum 0.9, weight decay 5e-4, f32.
#[derive(Args, Clone)]
pub struct SubjectArgs {
    /// The network
    #[arg(long, default_value = "resnet18")]
    pub model: Architecture,
    /// Its normalisation
    #[arg(long, default_value = "batch")]
    pub norm: Norm,
    /// Samples in a batch [default: 128, or fewer of larger images]
    #[arg(long)]
    pub batch: Option<usize>,
    /// Threads that compute [default: all cores]
    #[arg(long)]
    pub threads: Option<usize>,
    /// Timed repetitions, after two to warm up; the median counts
    #[arg(long, default_value_t = 5)]
    pub steps: usize,
    /// Print one JSON object a line instead of a table
    #[arg(long)]
    pub json: bool,
}

/// What RW-SAM weighs the samples by.
#[derive(Args, Clone)]
pub struct EstimatorArgs {
    /// Where RW-SAM takes the samples' gradient norms from [default: finite-difference]
    #[arg(long)]
    estimator: Option<EstimatorName>,
}

impl SubjectArgs {
    /// # Errors
    /// Names a flag that is out of range, or has no effect on the network.
    pub fn check(&self) -> Result<()> {
        for (flag, count) in [("batch", self.batch()), ("steps", self.steps)] {
            ensure!(count > 0, "--{flag} is 0; expected at least 1");
        }
        let images = self.images();
        configured(self.model, self.norm, self.batch())
            .with(|c| c.images.image_size = Some(images.side).filter(|side| *side != SMALL.side))
            .validate()
    }

    /// CIFAR-10's images, or ImageNet's for a network whose stem is made for them; a vision transformer says its size.
    pub fn images(&self) -> Images {
        let imagenet = [ResNet18ImageNet, ResNet34ImageNet, ResNet50ImageNet].contains(&self.model);
        match self.model.image_size().unwrap_or(if imagenet { IMAGENET.side } else { SMALL.side }) {
            side if side >= IMAGENET.side => Images { side, ..IMAGENET },
            side => Images { side, ..SMALL },
        }
    }

    /// Samples in a batch: so many that a step takes seconds, not minutes.
    pub fn batch(&self) -> usize {
        let of_size = match self.images().side {
            ..=64 => 128,
            65..=128 => 32,
            _ if self.model.has_choice_of_norm() => 16,
            _ => 8,
        };
        self.batch.unwrap_or(of_size)
    }
}

impl EstimatorArgs {
    /// The estimator, for steps of these kinds.
    ///
    /// # Errors
    /// If one is given, and no step uses it.
    pub fn of(&self, kinds: &[Kind]) -> Result<EstimatorName> {
        ensure!(
            self.estimator.is_none() || kinds.contains(&Kind::RwSam),
            "--estimator is about the steps of rw-sam, which are not timed here; expected none, or --rule rw-sam"
        );
        Ok(self.estimator.unwrap_or(EstimatorName::FiniteDifference))
    }
}

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The losses alone, without a graph
    Forward,
    /// A gradient and an update
    Sgd,
    /// Two gradients
    Sam,
    /// Two gradients for each micro-batch, of 32 samples
    MSam,
    /// One more forward, for the norms of the samples' gradients (one probe)
    RwSam,
}

impl Kind {
    pub const ALL: [Kind; 5] = [Kind::Forward, Kind::Sgd, Kind::Sam, Kind::MSam, Kind::RwSam];

    /// As it is written on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Forward => "forward",
            Kind::Sgd => "sgd",
            Kind::Sam => "sam",
            Kind::MSam => "m-sam",
            Kind::RwSam => "rw-sam",
        }
    }

    /// The work of a step in forward passes; a backward pass is two.
    pub fn forwards(self) -> f64 {
        match self {
            Kind::Forward => 1.,
            Kind::Sgd => 3.,
            Kind::Sam | Kind::MSam => 6.,
            Kind::RwSam => 7.,
        }
    }
}

/// η, on which the cost does not depend.
const LEARNING_RATE: f64 = 0.1;

/// m where nothing else is said.
pub const MICRO_BATCH: usize = 32;

/// A network, its batch and its optimizer.
pub struct Subject {
    pub classifier: Classifier<Model>,
    pub params: Params,
    pub batch: Batch,
    /// What [`rule`](Self::rule) takes all but the rule's name and its m from.
    pub config: RunConfig,
    sgd: Box<dyn Optimizer>,
}

/// What a network sees: square images of `side` pixels, of so many classes.
#[derive(Clone, Copy)]
pub struct Images {
    pub side: usize,
    pub classes: usize,
}

/// CIFAR-10's.
pub const SMALL: Images = Images { side: 32, classes: 10 };
/// ImageNet's.
pub const IMAGENET: Images = Images { side: 224, classes: 1000 };
/// Steps before those that are timed.
pub const WARM_UP: usize = 2;

impl Subject {
    /// Draws weights and noise.
    pub fn new(args: &SubjectArgs, estimator: EstimatorName) -> Result<Self> {
        args.check()?;
        let images = args.images();
        let config = configured(args.model, args.norm, args.batch()).with(|c| c.weighting.estimator = estimator);
        let (network, params) = build::model(&config, images.classes)?;
        Self::of(config, network, params, images)
    }

    /// A network on the device of `config`, which also says the batch size and the precision, with noise of its own.
    pub fn of(config: RunConfig, network: Model, params: Params, images: Images) -> Result<Self> {
        let (device, batch) = (config.machine.device.open()?, config.optimisation.batch_size);
        let Images { side, classes } = images;
        let noise = Seeded::new(1, DType::F32, &device).var_builder();
        let normal = candle_nn::Init::Randn { mean: 0., stdev: 1. };
        let inputs = noise.get_with_hints((batch, side, side, 3), "images", normal)?.detach();
        let targets = Tensor::from_iter((0..batch).map(|i| (i % classes) as u32), &device)?;
        let point = TrainingPoint { progress: 0., lr: LEARNING_RATE, lr_factor: 1. };
        let batch = Batch::new(inputs, targets, Key::new(0)).at(point);
        let (classifier, sgd) = (build::classifier(network, &config), build::optimizer(&config));
        Ok(Self { classifier, params, batch, config, sgd })
    }

    /// The rule of a kind of step, in micro-batches of `m`; `None` for a forward.
    pub fn rule(&self, kind: Kind, m: Option<usize>) -> Option<Box<dyn Perturbation>> {
        let (name, m) = match kind {
            Kind::Forward => return None,
            Kind::Sgd => ("sgd", m),
            Kind::Sam => ("sam", m),
            Kind::MSam => ("sam", m.or(Some(MICRO_BATCH))),
            Kind::RwSam => ("rw-sam", m),
        };
        let micro_batch = m.filter(|m| *m < self.batch.len());
        let of_rule =
            |c: &mut RunConfig| (c.perturbation.rule, c.perturbation.micro_batch) = (named(name), micro_batch);
        let config = self.config.clone().with(of_rule);
        let whole = Loader::eval(Arc::new(synthetic(1, 0, 0).train), 1);
        Some(build::rule(&config, whole).expect("rules of the paper are built of what is supplied"))
    }

    /// One step.
    pub fn step(&mut self, rule: &mut Option<Box<dyn Perturbation>>) -> Result<()> {
        self.step_over(&Alone, rule)
    }

    /// One step of a rank.
    pub fn step_over(&mut self, ranks: &dyn Communicator, rule: &mut Option<Box<dyn Perturbation>>) -> Result<()> {
        match rule {
            None => drop(msharp_ops::no_grad(|| self.classifier.losses(&self.batch, true))?),
            Some(rule) => {
                let loss = BatchLoss::new(&self.classifier, &self.params, &self.batch).over(ranks);
                let gradient = rule.gradient(loss)?;
                self.sgd.step(&self.params, &gradient.grads, LEARNING_RATE)?;
            }
        }
        Ok(())
    }

    /// Milliseconds of `steps` steps after `warm` ones, in order of size.
    pub fn times(&mut self, rule: &mut Option<Box<dyn Perturbation>>, warm: usize, steps: usize) -> Result<Vec<f64>> {
        let mut times = Vec::with_capacity(steps);
        for repetition in 0..warm + steps {
            let started = Instant::now();
            self.step(rule)?;
            if repetition >= warm {
                times.push(1e3 * started.elapsed().as_secs_f64());
            }
        }
        times.sort_by(f64::total_cmp);
        Ok(times)
    }

    /// Floating-point operations of a forward pass by the definition of its ops, whatever an algorithm saves.
    pub fn flop(&mut self) -> Result<f64> {
        let (result, timings) = msharp_ops::profile(|| self.step(&mut None));
        result?;
        Ok(timings.values().map(|timing| timing.flop).sum())
    }
}

/// The configuration of everything that is timed.
pub fn configured(model: Architecture, norm: Norm, batch: usize) -> RunConfig {
    standard(model, norm, DataName::Synthetic).with(|c| c.optimisation.batch_size = batch)
}

/// The speed that this machine reaches in a matrix product, in GFLOP/s: the best of ten, 1024 × 1024 × 1024.
pub fn peak() -> Result<f64> {
    let n = 1024;
    let (a, b) = (Tensor::randn(0f32, 1., (n, n), &Device::Cpu)?, Tensor::randn(0f32, 1., (n, n), &Device::Cpu)?);
    let mut best = f64::INFINITY;
    for _ in 0..10 {
        let started = Instant::now();
        a.matmul(&b)?;
        best = best.min(started.elapsed().as_secs_f64());
    }
    Ok(2e-9 * (n * n * n) as f64 / best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        subject: SubjectArgs,
    }

    #[test]
    fn a_network_sees_images_of_its_size_and_a_batch_that_takes_seconds() {
        for (model, side, classes, batch) in [
            ("resnet18", 32, 10, 128),
            ("vit-mini", 32, 10, 128),
            ("vit_small_patch14_dinov2@98", 98, 10, 32),
            ("vit_base_patch16_224", 224, 1000, 8),
            ("resnet50-imagenet", 224, 1000, 16),
        ] {
            let subject = Line::try_parse_from(["bench", "--model", model]).unwrap().subject;
            let Images { side: found, classes: of } = subject.images();
            assert_eq!((found, of, subject.batch()), (side, classes, batch), "{model}");
        }
        let chosen = Line::try_parse_from(["bench", "--batch", "3"]).unwrap().subject;
        assert_eq!(chosen.batch(), 3);
    }
}

//! A run's configuration: the same struct is the command line, the record in a row, and the identity of a run.

pub use crate::changes::Changes;
pub use crate::names::{AugmentName, DataName, EstimatorName, OptimizerName};
pub use crate::start::Start;
pub use crate::text::ScheduleText;

pub use crate::device::is_default;
use crate::device::{DeviceName, PrecisionName};
use crate::experiments::typed;
use crate::text::as_text;
use anyhow::{Result, ensure};
use clap::Args;
use msharp_core::Range;
use msharp_gradnorm::FiniteDifference;
use msharp_models::{Architecture, Norm};
use msharp_perturb::Rule;
use msharp_perturb::catalogue::{Needs, Value};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Everything that decides what a run of one version of the program computes: equal ones end with the same bits on
/// machines of one type.
#[derive(Args, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunConfig {
    /// The network: resnet8, resnet18, resnet20, resnet34, resnet50, wrn-DEPTH-WIDEN such as wrn-28-10, or vit-mini
    #[arg(long, default_value = "resnet8")]
    #[serde(with = "as_text")]
    pub model: Architecture,
    /// Its normalisation: batch, group (32 groups), or group-8 and the like; a vit has its own
    #[arg(long, default_value = "batch")]
    #[serde(with = "as_text")]
    pub norm: Norm,

    /// The data set
    #[arg(long, default_value = "synthetic")]
    pub data: DataName,
    /// Train on so many images only, the same share of each class
    #[arg(long)]
    pub subset: Option<usize>,
    /// Evaluate on so many test images only
    #[arg(long)]
    pub test_subset: Option<usize>,
    /// Give this share of the training images a wrong label, drawn from the other classes
    #[arg(long, default_value_t = 0., allow_hyphen_values = true)]
    pub label_noise: f64,
    /// What is done to training images: standard is a random crop (pad 4) and a flip
    #[arg(long, default_value = "standard")]
    pub augment: AugmentName,
    /// Cut a square of this side out of each training image
    #[arg(long)]
    pub cutout: Option<usize>,

    /// The rule, with its parameters: sam, rw-sam:lambda=16, esam:beta=0.6,gamma=0.5; `cargo xtask rules` lists all
    #[arg(long, default_value = "sam", value_name = "NAME:PARAMETERS")]
    #[serde(with = "as_text")]
    pub rule: Rule,
    /// ρ, the perturbation radius: short for the parameter rho of --rule [default: the rule's]
    #[arg(long, allow_hyphen_values = true)]
    #[serde(skip)]
    pub rho: Option<f64>,
    /// m: apply the rule on micro-batches of so many samples and average (m-SAM); under batch normalisation each
    /// micro-batch is its own normalisation batch
    #[arg(long)]
    pub micro_batch: Option<usize>,
    /// Where RW-SAM and δ-SAM take the samples' gradient norms from
    #[arg(long, default_value = "finite-difference")]
    pub estimator: EstimatorName,
    /// K, the number of finite-difference probes
    #[arg(long, default_value_t = 1)]
    pub probes: usize,
    /// δ, the finite-difference step; by default it is chosen so that ‖δz‖ = 1e-4·‖x‖
    #[arg(long, allow_hyphen_values = true)]
    pub delta: Option<f64>,
    /// Let δ move to where its noise, measured, is least; a sixteenth of a forward more in each step
    #[arg(long, conflicts_with = "delta")]
    #[serde(default, skip_serializing_if = "is_default")]
    pub adapt_delta: bool,

    /// Every so many steps measure the noise of the gradient on the batch of the step, before it: tr V, the noise scale
    /// and the quantiles of the samples' norms, as noise_… in log and row; 0: never. No bit of the run depends on it
    #[arg(long, default_value_t = 0)]
    #[serde(default, skip_serializing_if = "is_default")]
    pub noise_every: usize,
    /// On the first so many samples of the batch only [default: all]; under batch normalisation they are a
    /// normalisation batch of their own
    #[arg(long)]
    #[serde(default, skip_serializing_if = "is_default")]
    pub noise_samples: Option<usize>,
    /// Where that takes the samples' gradient norms from; with finite-difference, from --probes probes
    #[arg(long, default_value = "exact")]
    #[serde(default = "exact", skip_serializing_if = "is_exact")]
    pub noise_estimator: EstimatorName,

    #[command(flatten)]
    #[serde(flatten)]
    pub changes: Changes,
    #[command(flatten)]
    #[serde(flatten)]
    pub start: Start,
    /// Take the passes over a batch in pieces of at most so many samples, to save memory; m is not affected. Under
    /// batch normalisation each piece is its own normalisation batch
    #[arg(long)]
    #[serde(default, skip_serializing_if = "is_default")]
    pub accumulate: Option<usize>,

    /// How often to go through the training set
    #[arg(long, default_value_t = 20)]
    pub epochs: usize,
    /// Evaluate on the test images after every so many epochs, and after the last
    #[arg(long, default_value_t = 1)]
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub evaluate_every: usize,
    /// Samples in a batch
    #[arg(long, default_value_t = 128)]
    pub batch_size: usize,
    /// The base learning rate
    #[arg(long, default_value_t = 0.1, allow_hyphen_values = true)]
    pub lr: f64,
    /// How it falls: cosine, constant, step (÷10 at ½ and ¾), or step:0.3,0.6,0.8:0.2
    #[arg(long, default_value = "cosine")]
    #[serde(with = "as_text")]
    pub schedule: ScheduleText,
    /// The share of the run over which it first rises
    #[arg(long, default_value_t = 0., allow_hyphen_values = true)]
    pub warm_up: f64,
    /// The optimizer
    #[arg(long, default_value = "sgd")]
    #[serde(default, skip_serializing_if = "is_default")]
    pub optimizer: OptimizerName,
    /// Momentum of SGD
    #[arg(long, default_value_t = 0.9, allow_hyphen_values = true)]
    pub momentum: f64,
    /// Nesterov's form of it
    #[arg(long)]
    pub nesterov: bool,
    /// Weight decay (L2), outside of the ascent gradient
    #[arg(long, default_value_t = 5e-4, allow_hyphen_values = true)]
    pub weight_decay: f64,
    /// Leave norm layers and biases out of the weight decay
    #[arg(long)]
    pub decay_weights_only: bool,
    /// Label smoothing ε
    #[arg(long, default_value_t = 0., allow_hyphen_values = true)]
    pub label_smoothing: f64,
    /// The seed of initialisation, order, augmentation, label noise and probes
    #[arg(long, default_value_t = 0)]
    pub seed: u64,

    /// The device
    #[arg(long, default_value = "cpu")]
    #[serde(default, skip_serializing_if = "is_default")]
    pub device: DeviceName,
    /// The precision of a GPU's products; finite differences are in f32 in each [default: f32, and bf16 on cuda]
    #[arg(long, default_value = "f32", default_value_if("device", "cuda", "bf16"), hide_default_value = true)]
    #[serde(default, skip_serializing_if = "is_default")]
    pub precision: PrecisionName,
}

fn one() -> usize {
    1
}

fn is_one(count: &usize) -> bool {
    *count == 1
}

fn exact() -> EstimatorName {
    EstimatorName::Exact
}

fn is_exact(name: &EstimatorName) -> bool {
    *name == EstimatorName::Exact
}

impl RunConfig {
    /// Whether every number makes sense; an error names the flag and says what was expected.
    pub fn validate(&self) -> Result<()> {
        let within = |flag: &str, value: f64, range: Range| {
            ensure!(range.holds(value), "--{flag} is {value}; expected {range}");
            Ok(())
        };
        let (model, norm) = (self.model, self.norm);
        ensure!(
            model.has_choice_of_norm() || norm == Norm::default(),
            "--norm is {norm}, but {model} has layer normalisation; expected no --norm"
        );
        if let Some(side) = model.image() {
            ensure!(side == 32, "--model {model} takes images of {side}×{side}; expected one for 32×32, as vit-mini");
        }
        within("label-noise", self.label_noise, Range::SHARE)?;
        if let Some(lambda) = self.effective_size() {
            let samples = self.micro_batch.unwrap_or(self.batch_size);
            ensure!(
                lambda < samples as f64,
                "--rule {}: lambda is {lambda}; expected an effective size below the {samples} samples that are reweighted",
                self.rule
            );
        }
        if let Some(delta) = self.delta {
            within("delta", delta, FiniteDifference::DELTA)?;
        }
        within("lr", self.lr, Range::ABOVE_0)?;
        within("warm-up", self.warm_up, Range::BELOW_1)?;
        within("momentum", self.momentum, Range::BELOW_1)?;
        within("weight-decay", self.weight_decay, Range::AT_LEAST_0)?;
        within("label-smoothing", self.label_smoothing, Range::BELOW_1)?;
        for (flag, value) in [
            ("probes", self.probes),
            ("epochs", self.epochs),
            ("evaluate-every", self.evaluate_every),
            ("batch-size", self.batch_size),
        ] {
            ensure!(value > 0 && value <= 10_000_000, "--{flag} is {value}; expected at least 1, at most 10000000");
        }
        for (flag, value) in [("subset", self.subset), ("test-subset", self.test_subset)] {
            ensure!(value != Some(0), "--{flag} is 0; expected at least 1 image");
        }
        ensure!(
            self.device == DeviceName::Cuda || self.precision == PrecisionName::F32,
            "--precision on the CPU is f32; expected --device cuda for another"
        );
        self.changes.validate(&self.rule, self.weight_decay)?;
        self.start.validate(self.label_noise)?;
        ensure!(self.accumulate != Some(0), "--accumulate is 0; expected at least 1 sample");
        ensure!(
            self.optimizer == OptimizerName::Sgd || !self.nesterov,
            "--nesterov is a form of momentum, which --optimizer adamw does not have; expected one of them"
        );
        if let Some(samples) = self.noise_samples {
            let batch = self.batch_size;
            ensure!(
                (2..=batch).contains(&samples),
                "--noise-samples is {samples}; expected from 2, without which there is no variance, to --batch-size \
                 ({batch})"
            );
        }
        ensure!(
            ![EstimatorName::LastLayer, EstimatorName::NormLayers, EstimatorName::Random]
                .contains(&self.noise_estimator),
            "--noise-estimator is {}, whose norms are not those of whole gradients; expected exact, ghost or \
             finite-difference",
            typed(self.noise_estimator)
        );
        ensure!(
            self.estimator != EstimatorName::Random || !self.changes.shuffle_weights,
            "--shuffle-weights has no effect on random weights; expected another --estimator than random"
        );
        ensure!(
            self.estimator != EstimatorName::Random || self.is_reweighted(),
            "--estimator random is for rules that weigh the samples of a batch; expected --rule rw-sam, rw-usam or delta-sam"
        );
        if let Some(m) = self.micro_batch {
            let batch = self.batch_size;
            ensure!(m > 0, "--micro-batch is 0; expected a number of samples from 1 to --batch-size ({batch})");
            ensure!(m <= batch, "--micro-batch is {m}, more than --batch-size {batch}; expected at most {batch}");
        }
        self.check_effects()
    }

    /// Whether the rule weighs the samples of a batch.
    pub fn is_reweighted(&self) -> bool {
        self.rule.entry().needs == Needs::Estimator
    }

    /// The m_eff that the rule aims at, if it does.
    pub fn effective_size(&self) -> Option<f64> {
        let unit = self.rule.has("temperature").then(|| self.rule.values().value("temperature"));
        (unit == Some(Value::Name("effective-size"))).then(|| self.rule.number("lambda"))
    }

    /// The record.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("a configuration has only numbers and names")
    }

    /// The fields in which two configurations differ, for messages.
    pub fn differences(&self, other: &RunConfig) -> Result<Vec<String>> {
        let (a, b) = (serde_json::to_value(self)?, serde_json::to_value(other)?);
        // What is at its default is left out of the record, on either side.
        let fields = a.as_object().into_iter().chain(b.as_object()).flat_map(|fields| fields.keys());
        let names: BTreeSet<&String> = fields.filter(|name| a.get(name) != b.get(name)).collect();
        Ok(names.into_iter().map(|name| name.replace('_', "-")).collect())
    }
}

#[cfg(test)]
pub mod tests;

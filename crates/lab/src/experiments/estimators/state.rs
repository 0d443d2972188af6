//! A network on its way through training, stopped where it is to be measured.

use crate::config::{AugmentName, DataName, OptimizerName, RunConfig};
use crate::data::{Datasets, Source, Streams};
use crate::experiments::standard;
use crate::shared::lease::Lease;
use crate::{build, interrupt};
use anyhow::{Context, Result};
use msharp_core::{Alone, Batch, DataSource, Key, Optimizer, Params};
use msharp_models::{Architecture, Model, Norm};
use msharp_perturb::Plain;
use msharp_train::{
    Checkpoint, CheckpointPolicy, Classifier, Control, Observer, Outcome, Progress, StepReport, Task, fit,
};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Plain SGD with momentum 0.9 and a cosine on a few images without augmentation, which it learns by heart.
pub struct Trained {
    pub classifier: Classifier<Model>,
    pub params: Params,
    config: RunConfig,
    optimizer: Box<dyn Optimizer>,
    progress: Progress,
    train: Source,
    whole: Source,
    checkpoint: PathBuf,
}

/// How a network is trained.
#[derive(Clone)]
pub struct Plan {
    pub model: Architecture,
    pub norm: Norm,
    pub data: DataName,
    pub images: usize,
    pub batch: usize,
    /// The number of steps at the end.
    pub late: usize,
}

struct Until<'a>(usize, Option<&'a Lease>);

impl Observer for Until<'_> {
    /// Asked for right before a checkpoint is written.
    fn notes(&self) -> candle_core::Result<String> {
        let renewed = self.1.map_or(Ok(()), Lease::renew);
        renewed.map(|()| String::new()).map_err(|e| candle_core::Error::msg(format!("{e:#}")))
    }

    fn step(&mut self, report: &StepReport) -> candle_core::Result<Control> {
        let done = report.epoch * report.steps + report.step + 1;
        Ok(if done >= self.0 || interrupt::requested() { Control::Stop } else { Control::Continue })
    }
}

impl Trained {
    /// At its initialisation, or where a checkpoint in `folder` stands, if that is not beyond `most` steps.
    pub fn new(plan: &Plan, data: &mut Datasets, folder: &Path, most: usize) -> Result<Self> {
        let base = standard(plan.model, plan.norm, plan.data.clone());
        // A transformer hardly learns with SGD.
        let is_transformer = !plan.model.has_choice_of_norm();
        let (optimizer, lr) = if is_transformer { (OptimizerName::Adamw, 1e-3) } else { (OptimizerName::Sgd, 0.05) };
        let mut config = base.with(|c| {
            (c.data.subset, c.data.augment) = (Some(plan.images), AugmentName::None);
            (c.optimisation.optimizer, c.optimisation.lr) = (optimizer, lr);
            (c.optimisation.batch_size, c.optimisation.weight_decay) = (plan.batch, 0.);
        });
        let Streams { train, whole, classes, .. } = data.streams(&config)?;
        config.optimisation.epochs = plan.late.div_ceil(train.steps());
        let (model, params) = build::model(&config, classes)?;
        let (classifier, mut optimizer) = (build::classifier(model, &config), build::optimizer(&config));
        let checkpoint = folder.join(format!("{}-{}.safetensors", config.model.architecture, config.model.norm));
        let mut progress = Progress::default();
        if checkpoint.exists() {
            let saved = Checkpoint::read(&checkpoint)?;
            if saved.config == config.json() && saved.progress.whole_run.steps <= most {
                progress = saved.restore(&params, &mut optimizer, &mut Plain)?;
            }
        }
        Ok(Self { classifier, params, config, optimizer, progress, train, whole, checkpoint })
    }

    /// Steps made so far.
    pub fn steps(&self) -> usize {
        self.progress.whole_run.steps
    }

    /// Trains until so many steps are made, under a lease where jobs are shared; whether they were, for the user may
    /// have stopped it.
    pub fn train_to(&mut self, steps: usize, lease: Option<&Lease>) -> Result<bool> {
        if self.steps() < steps {
            let every = Duration::from_secs(60);
            let policy = CheckpointPolicy { every, ..CheckpointPolicy::new(&self.checkpoint, self.config.json()) };
            let task = Task {
                objective: &self.classifier,
                params: &self.params,
                rule: &mut Plain,
                optimizer: &mut self.optimizer,
                data: &self.train,
                epochs: self.config.optimisation.epochs,
                schedule: self.config.optimisation.schedule.schedule(self.config.optimisation.lr, 0.),
                checkpoint: Some(policy),
                read_every: 1,
                ranks: &Alone,
            };
            let (outcome, progress) = fit(task, self.progress.clone(), &mut Until(steps, lease))?;
            if let Outcome::Diverged { epoch, step, what } = outcome {
                anyhow::bail!(
                    "{} diverged in epoch {epoch}, step {step}: {what} was not finite",
                    self.config.model.architecture
                )
            }
            self.progress = progress;
        }
        Ok(self.steps() >= steps)
    }

    /// The batches that are measured: the first of the training set, in order.
    pub fn batches(&self, n: usize) -> Result<Vec<Batch>> {
        let with_key = |(k, batch): (usize, candle_core::Result<Batch>)| {
            Ok(Batch { key: Key::new(17).fold(k as u64), ..batch.context("a batch cannot be read")? })
        };
        let batches: Vec<Batch> = self.whole.epoch(0).take(n).enumerate().map(with_key).collect::<Result<_>>()?;
        anyhow::ensure!(
            batches.len() == n && batches.iter().all(|batch| batch.len() == self.config.optimisation.batch_size),
            "{n} batches of {} need more than {} images",
            self.config.optimisation.batch_size,
            self.whole.samples()
        );
        Ok(batches)
    }
}

//! A small run that can be stopped, cut off and resumed, and the bits that it ends with.

use crate::problems::{Net, bits, buffers, weights, wrn10};
use candle_core::{Result, Tensor, bail};
use msharp_core::{Alone, Batch, Objective, Perturbation, Temperature};
use msharp_data::{Loader, synthetic};
use msharp_gradnorm::FiniteDifference;
use msharp_models::Norm;
use msharp_perturb::{Micro, rw_sam, sam};
use msharp_train::{
    Checkpoint, CheckpointPolicy, Control, Observer, Outcome, Progress, Schedule, Sgd, StepReport, Task, fit,
};
use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub const EPOCHS: usize = 2;
pub const STEPS: usize = 3; // of 16, 16 and 8 samples

/// What a run ends with.
#[derive(PartialEq)]
pub struct End {
    pub weights: Vec<u64>,
    pub buffers: Vec<u64>,
    pub velocity: Vec<u64>,
}

pub type Rule = fn() -> Box<dyn Perturbation>;

/// A run of its own: weights from `seed`, or from the checkpoint where `resumes`.
pub struct Run<'a> {
    pub rule: Rule,
    pub seed: u64,
    pub resumes: bool,
    pub every: Duration,
    pub lr: f64,
    pub path: &'a Path,
}

impl Run<'_> {
    /// With `calls`, the objective fails after so many, as if the power went.
    pub fn go(&self, observer: &mut dyn Observer, calls: Option<usize>) -> Result<(Outcome, Progress, End)> {
        let net = wrn10(Norm::Batch, self.seed)?;
        let (mut rule, mut sgd) = ((self.rule)(), Sgd { momentum: 0.9, weight_decay: 5e-4, ..Sgd::default() });
        let progress = match self.resumes {
            true => Checkpoint::read(self.path)?.restore(&net.params, &mut sgd, &mut rule)?,
            false => Progress::default(),
        };
        let task = Task {
            objective: &Mortal { inner: &net, calls: Cell::new(calls) },
            params: &net.params,
            rule: &mut rule,
            optimizer: &mut sgd,
            data: &Loader::train(Arc::new(synthetic(40, 0, 4).train), 16, 5),
            epochs: EPOCHS,
            schedule: Schedule::cosine(self.lr),
            checkpoint: Some(CheckpointPolicy { every: self.every, ..CheckpointPolicy::new(self.path, "{}") }),
            read_every: 1,
            ranks: &Alone,
        };
        let (outcome, progress) = fit(task, progress, observer)?;
        let velocity = sgd.velocity.as_ref().map(|v| bits(v.tensors())).transpose()?.unwrap_or_default();
        let end = End { weights: weights(&net.params)?, buffers: buffers(&net.params)?, velocity };
        Ok((outcome, progress, end))
    }
}

/// An objective that fails after so many calls.
struct Mortal<'a> {
    inner: &'a Net,
    calls: Cell<Option<usize>>,
}

impl Objective for Mortal<'_> {
    fn losses(&self, batch: &Batch, train: bool) -> Result<Tensor> {
        match self.calls.get() {
            Some(0) => bail!("the power is gone"),
            left => self.calls.set(left.map(|left| left - 1)),
        }
        self.inner.losses(batch, train)
    }
}

/// Stops after a step of an epoch, or after an epoch.
pub enum Stop {
    Step(usize, usize),
    Epoch(usize),
}

impl Observer for Stop {
    fn step(&mut self, report: &StepReport) -> Result<Control> {
        let stops = matches!(self, Stop::Step(epoch, step) if (*epoch, *step) == (report.epoch, report.step));
        Ok(if stops { Control::Stop } else { Control::Continue })
    }

    fn epoch(&mut self, progress: &Progress) -> Result<Control> {
        Ok(if matches!(self, Stop::Epoch(epochs) if *epochs == progress.epoch) {
            Control::Stop
        } else {
            Control::Continue
        })
    }
}

pub fn with_sam() -> Box<dyn Perturbation> {
    Box::new(sam(0.05))
}

pub fn with_rw_sam() -> Box<dyn Perturbation> {
    Box::new(rw_sam(0.05, Temperature::Relative(1.), FiniteDifference::default()))
}

pub fn with_m_rw_sam() -> Box<dyn Perturbation> {
    Box::new(Micro::new(rw_sam(0.05, Temperature::EffectiveSize(4.), FiniteDifference::default()), 6))
}

#[track_caller]
pub fn assert_same(found: &(Outcome, Progress, End), expected: &(Outcome, Progress, End), what: &str) {
    assert_eq!(found.0, Outcome::Finished, "{what}");
    assert!(found.2.weights == expected.2.weights, "{what}: the weights differ");
    assert!(found.2.buffers == expected.2.buffers, "{what}: the running statistics differ");
    assert!(found.2.velocity == expected.2.velocity, "{what}: the velocities differ");
}

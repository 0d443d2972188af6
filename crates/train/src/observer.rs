//! What is called as a run goes on: to show it, to log it, to stop it.

use crate::{Progress, StepReport};
use candle_core::Result;
use msharp_core::BatchLoss;
use std::collections::BTreeMap;

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Go on.
    Continue,
    /// Write a checkpoint, if there is a policy, and return.
    Stop,
}

/// Called at every step and every epoch; `()` observes nothing.
pub trait Observer {
    /// Before step number `step` of the run, from 0: a place to measure something at the point where the step begins,
    /// on its batch. What it returns goes into the step's report and into the tallies, beside what the rule measures;
    /// its passes and its time are not the step's. It must leave parameters and buffers as they are.
    fn before_step(&mut self, _loss: BatchLoss, _step: usize) -> Result<BTreeMap<&'static str, f64>> {
        Ok(BTreeMap::new())
    }

    /// What this observer needs to go on where a run is resumed, as text that it reads itself: it stands in each
    /// checkpoint, as [`Checkpoint::notes`](crate::Checkpoint). Empty by default.
    fn notes(&self) -> Result<String> {
        Ok(String::new())
    }

    /// After each step.
    fn step(&mut self, _report: &StepReport) -> Result<Control> {
        Ok(Control::Continue)
    }

    /// After each epoch; `progress.epoch` are complete. A good place to evaluate.
    fn epoch(&mut self, _progress: &Progress) -> Result<Control> {
        Ok(Control::Continue)
    }

    /// After [`epoch`](Observer::epoch): how good the model is, larger is better, as the accuracy on a validation set.
    /// A checkpoint of the [best epoch](crate::CheckpointPolicy::best) needs it, and asks once before the first step,
    /// where NaN is an answer. None by default.
    fn score(&self) -> Option<f64> {
        None
    }
}

impl Observer for () {}

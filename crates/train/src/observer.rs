//! Who is told what happens in a run.

use crate::{Progress, StepReport};
use candle_core::Result;

/// What an observer wants to happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Go on.
    Continue,
    /// Write a checkpoint, if there is a policy, and return.
    Stop,
}

/// Told about every step and every epoch; `()` observes nothing.
pub trait Observer {
    /// After each step.
    fn step(&mut self, _report: &StepReport) -> Result<Control> {
        Ok(Control::Continue)
    }

    /// After each epoch; `progress.epoch` are complete. A good moment to evaluate.
    fn epoch(&mut self, _progress: &Progress) -> Result<Control> {
        Ok(Control::Continue)
    }
}

impl Observer for () {}

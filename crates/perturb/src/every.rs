//! A rule in some of the steps, and the plain gradient in the others.

use crate::Plain;
use candle_core::Result;
use msharp_core::{BatchLoss, Component, Cost, Gradient, Params, Perturbation, State, at_least_1, parts};

/// The rule `inner` in every k-th optimizer step, the first included; the plain gradient in the others.
///
/// Cost: that of `inner` in every k-th step, 1 forward and 1 backward in the others. State: the number of steps, and
/// that of `inner`, which sees its own steps only.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Every<P> {
    /// The rule.
    pub inner: P,
    /// k ≥ 1.
    pub every: usize,
    /// Optimizer steps made: the micro-batches of a step count once.
    step: u64,
}

impl<P> Every<P> {
    /// Before the first step.
    pub fn new(inner: P, every: usize) -> Self {
        Self { inner, every, step: 0 }
    }

    fn is_due(&self) -> bool {
        self.step.is_multiple_of(self.every as u64)
    }

    /// A step that failed may be tried again; one in micro-batches is made when its last one is.
    fn made(&mut self, loss: BatchLoss) {
        self.step += u64::from(loss.batch.part.last);
    }
}

impl<P: Perturbation> Component for Every<P> {
    parts!(inner);

    fn own_state(&mut self, _: &Params, state: &mut State) -> Result<()> {
        state.count("step", &mut self.step)
    }

    fn own_check(&self, _: &Params) -> Result<()> {
        at_least_1("every", self.every)
    }
}

impl<P: Perturbation> Perturbation for Every<P> {
    fn gradient(&mut self, loss: BatchLoss) -> Result<Gradient> {
        at_least_1("every", self.every)?;
        let step = if self.is_due() { self.inner.gradient(loss) } else { Plain.gradient(loss) }?;
        self.made(loss);
        Ok(step)
    }

    fn goes_together(&self, loss: BatchLoss) -> Result<bool> {
        self.inner.goes_together(loss)
    }

    fn together(&mut self, loss: BatchLoss, size: usize) -> Result<Gradient> {
        at_least_1("every", self.every)?;
        let step = if self.is_due() { self.inner.together(loss, size) } else { Plain.together(loss, size) }?;
        self.made(loss);
        Ok(step)
    }

    fn cost(&self, samples: usize) -> Cost {
        let share = 1. / self.every as f64;
        share * self.inner.cost(samples) + (1. - share) * Plain.cost(samples)
    }
}

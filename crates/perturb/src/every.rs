//! A rule in some of the steps, and the plain gradient in the others.

use crate::Plain;
use candle_core::Result;
use msharp_core::{Batch, Gradient, Objective, Params, Perturbation, State, at_least_1};

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
    /// The number of optimizer steps made: micro-batches of one step are all in it.
    pub step: f64,
}

impl<P> Every<P> {
    /// No step was made yet.
    pub fn new(every: usize, inner: P) -> Self {
        Self { inner, every, step: 0. }
    }
}

impl<P: Perturbation> Perturbation for Every<P> {
    fn gradient(&mut self, f: &dyn Objective, params: &Params, batch: &Batch) -> Result<Gradient> {
        at_least_1("every", self.every)?;
        let due = (self.step as usize).is_multiple_of(self.every);
        let step = if due { self.inner.gradient(f, params, batch) } else { Plain.gradient(f, params, batch) }?;
        // A step that failed may be tried again; one in micro-batches is made when its last one is.
        self.step += f64::from(u8::from(batch.part.last));
        Ok(step)
    }

    fn state(&mut self, params: &Params, state: &mut State) -> Result<()> {
        state.number("step", &mut self.step)?;
        self.inner.state(params, &mut state.part("inner"))
    }

    fn check(&self, params: &Params) -> Result<()> {
        at_least_1("every", self.every)?;
        self.inner.check(params)
    }

    fn name(&self) -> String {
        format!("Every({})", self.inner.name())
    }
}

//! Gradients of bounded length, at a defined point: what is clipped is what goes into an offset or comes out of a rule.

use candle_core::Result;
use msharp_core::{Batch, Gradient, Objective, Offset, ParamVec, Params, Perturbation, Range, State};

/// Around an offset, the ascent gradient that goes *into* it is shortened to `most`: of use for USAM, whose ε grows
/// with it. Around a rule, the direction that comes *out of* it is, before the optimizer sees it: what is called
/// gradient clipping in training.
///
/// Shorter ones stay as they are. Norms are over all parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clipped<T> {
    /// What is clipped before or after.
    pub inner: T,
    /// The length, > 0.
    pub most: f64,
}

impl Clipped<()> {
    /// What the length may be.
    pub const MOST: Range = Range::ABOVE_0;
}

impl<O: Offset> Offset for Clipped<O> {
    fn offset(&mut self, f: &dyn Objective, params: &Params, batch: &Batch, g: &ParamVec) -> Result<ParamVec> {
        self.inner.offset(f, params, batch, &g.clipped(self.most)?)
    }

    fn state(&mut self, params: &Params, state: &mut State) -> Result<()> {
        self.inner.state(params, &mut state.part("inner"))
    }

    fn check(&self, params: &Params) -> Result<()> {
        Clipped::MOST.check("the length to clip to", self.most)?;
        self.inner.check(params)
    }

    fn name(&self) -> String {
        format!("Clipped({})", self.inner.name())
    }
}

impl<P: Perturbation> Perturbation for Clipped<P> {
    fn gradient(&mut self, f: &dyn Objective, params: &Params, batch: &Batch) -> Result<Gradient> {
        Clipped::MOST.check("the length to clip to", self.most)?;
        let step = self.inner.gradient(f, params, batch)?;
        Ok(Gradient { grads: step.grads.clipped(self.most)?, ..step })
    }

    fn state(&mut self, params: &Params, state: &mut State) -> Result<()> {
        self.inner.state(params, &mut state.part("inner"))
    }

    fn check(&self, params: &Params) -> Result<()> {
        Clipped::MOST.check("the length to clip to", self.most)?;
        self.inner.check(params)
    }

    fn name(&self) -> String {
        format!("Clipped({})", self.inner.name())
    }
}

//! Weight decay inside the ascent gradient.

use candle_core::Result;
use msharp_core::{Batch, Objective, Offset, ParamVec, Params, State};

/// The offset of g + λ x: the ascent gradient of the loss with the penalty (λ/2)‖x‖².
///
/// Published results differ in this: the first implementation of SAM has the penalty in the loss, the one most copied
/// leaves it to the optimizer. The direction to descend has no penalty in it; the optimizer's weight decay adds it at x.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decayed<O> {
    /// What is made of the sum.
    pub inner: O,
    /// λ ≥ 0, as a rule the optimizer's weight decay.
    pub weight_decay: f64,
}

impl<O: Offset> Offset for Decayed<O> {
    fn offset(&mut self, f: &dyn Objective, params: &Params, batch: &Batch, g: &ParamVec) -> Result<ParamVec> {
        let x = ParamVec::new(params, params.each().into_iter().cloned().collect());
        self.inner.offset(f, params, batch, &g.add_scaled(self.weight_decay, &x)?)
    }

    fn state(&mut self, params: &Params, state: &mut State) -> Result<()> {
        self.inner.state(params, &mut state.part("inner"))
    }
}

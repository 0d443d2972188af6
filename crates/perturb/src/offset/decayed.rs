//! Weight decay inside the ascent gradient.

use crate::Select;
use candle_core::Result;
use msharp_core::{Batch, Objective, Offset, ParamVec, Params, Range, State};

/// The offset of g + λ x: the ascent gradient of the loss with the penalty (λ/2)‖x‖².
///
/// Published results differ in this: the first implementation of SAM has the penalty in the loss, the one most copied
/// leaves it to the optimizer. The direction to descend has no penalty in it; the optimizer's weight decay adds it at
/// x.
#[derive(Clone, Debug, PartialEq)]
pub struct Decayed<O> {
    /// What is made of the sum.
    pub inner: O,
    /// λ ≥ 0, as a rule the optimizer's weight decay.
    pub weight_decay: f64,
    /// Which parameters decay.
    pub on: Select,
}

impl<O: Offset> Offset for Decayed<O> {
    fn offset(&mut self, f: &dyn Objective, params: &Params, batch: &Batch, g: &ParamVec) -> Result<ParamVec> {
        let decayed = g.map(params, |param, g| match self.on.holds(param) {
            true => g + param.var.as_detached_tensor().affine(self.weight_decay, 0.)?,
            false => Ok(g.clone()),
        });
        self.inner.offset(f, params, batch, &decayed?)
    }

    fn state(&mut self, params: &Params, state: &mut State) -> Result<()> {
        self.inner.state(params, &mut state.part("inner"))
    }

    fn check(&self, params: &Params) -> Result<()> {
        Range::AT_LEAST_0.check("weight_decay", self.weight_decay)?;
        self.on.check(params)?;
        self.inner.check(params)
    }

    fn name(&self) -> String {
        format!("Decayed({})", self.inner.name())
    }
}

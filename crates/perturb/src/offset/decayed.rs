//! Weight decay inside the ascent gradient.

use candle_core::Result;
use msharp_core::{BatchLoss, Component, Cost, Offset, ParamVec, Params, Range, Select, parts};

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

impl<O: Offset> Component for Decayed<O> {
    parts!(inner);

    fn own_check(&self, params: &Params) -> Result<()> {
        Range::AT_LEAST_0.check("weight_decay", self.weight_decay)?;
        self.on.check(params)
    }
}

impl<O: Offset> Offset for Decayed<O> {
    fn offset(&mut self, loss: BatchLoss, g: &ParamVec) -> Result<ParamVec> {
        let decayed = g.map(loss.params, |param, g| match self.on.holds(param) {
            true => g + param.var.as_detached_tensor().affine(self.weight_decay, 0.)?,
            false => Ok(g.clone()),
        });
        self.inner.offset(loss, &decayed?)
    }

    fn cost(&self, samples: usize) -> Cost {
        self.inner.cost(samples)
    }
}

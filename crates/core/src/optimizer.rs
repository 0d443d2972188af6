//! The trait of optimizers.

use crate::{Component, ParamVec, Params};
use candle_core::Result;

/// Steps parameters along a direction. The learning rate is an argument: an optimizer has no schedule.
pub trait Optimizer: Component {
    /// x ← x − lr · (what this optimizer makes of `grads`).
    fn step(&mut self, params: &Params, grads: &ParamVec, lr: f64) -> Result<()>;
}

impl<O: Optimizer + ?Sized> Optimizer for Box<O> {
    fn step(&mut self, params: &Params, grads: &ParamVec, lr: f64) -> Result<()> {
        (**self).step(params, grads, lr)
    }
}

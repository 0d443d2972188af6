//! A random direction: random weight perturbation, which needs no pass at x.

use crate::Scale;
use candle_core::Result;
use msharp_core::{Ascent, BatchLoss, Component, Cost, Direction, Key, ParamVec, Params};

/// z ~ N(0, I), or T z with the size T of the parameters; a function of the batch's key.
///
/// With [`Raw`](crate::Raw) of radius σ that is RWP. Cost: no pass, so that a rule with it makes one forward and one
/// backward pass, at x + ε; it reports no losses at x, and running statistics move at x + ε. On a GPU the numbers are
/// drawn by the host.
///
/// Reference: RWP (Bisla et al., AISTATS 2022; filter-wise: Li et al. 2022).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Random {
    /// T; none is 1.
    pub scale: Option<Scale>,
}

impl Random {
    /// T z for the stream of `key`.
    pub(crate) fn draw(&self, params: &Params, key: Key) -> Result<ParamVec> {
        let z = ParamVec::gaussian(params, key.fold_name("random direction"))?;
        match self.scale {
            None => Ok(z),
            Some(scale) => z.map(params, |param, z| z.broadcast_mul(&scale.of(param)?)),
        }
    }
}

impl Component for Random {}

impl Ascent for Random {
    type Uphill = Direction;

    fn ascend(&mut self, loss: BatchLoss) -> Result<Direction> {
        Ok(Direction(self.draw(loss.params, loss.batch.key)?))
    }

    fn cost(&self, _: usize) -> Cost {
        Cost::passes(0.)
    }
}

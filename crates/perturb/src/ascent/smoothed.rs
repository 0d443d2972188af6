//! The gradient at randomly moved weights: R-SAM.

use super::Random;
use candle_core::Result;
use msharp_core::{Ascent, BatchLoss, Component, Direction, ParamVec, Params, Range};

/// n + ∇f_γ(x + n) for noise n = σ T z, z ~ N(0, I).
///
/// With [`L2`](crate::L2) the noise is within ρ: the pass that is descended is at x + ε alone. One forward and
/// one backward pass, at x + n; it reports no losses at x, and running statistics move at x + ε. On a GPU the noise is
/// drawn by the host.
///
/// Reference: R-SAM (Liu et al., NeurIPS 2022), with weight 1 for the gradient. Its text was not at hand when this was
/// written, and implementations differ in where the noise is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Smoothed {
    /// σ ≥ 0.
    pub sigma: f64,
    /// T z.
    pub noise: Random,
}

impl Smoothed {
    /// What σ may be.
    pub const SIGMA: Range = Range::AT_LEAST_0;
}

impl Component for Smoothed {
    fn own_check(&self, _: &Params) -> Result<()> {
        Self::SIGMA.check("sigma", self.sigma)
    }
}

impl Ascent for Smoothed {
    type Uphill = Direction;

    fn ascend(&mut self, loss: BatchLoss) -> Result<Direction> {
        let noise: ParamVec = self.noise.draw(loss.params, loss.batch.key)?.scale(self.sigma)?;
        Ok(Direction(noise.add_scaled(1., &loss.gradient_at(&noise)?.grads)?))
    }
}

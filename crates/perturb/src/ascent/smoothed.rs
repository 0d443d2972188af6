//! The gradient at randomly moved weights: R-SAM.

use super::Random;
use candle_core::Result;
use msharp_core::{Ascent, Batch, Gradient, Measures, Objective, ParamVec, Params, Range, gradient_at};

/// n + ∇f_γ(x + n) for noise n = σ T z, z ~ N(0, I).
///
/// With [`L2`](crate::L2) the noise is inside the ball: the pass that is descended is at x + ε alone. One forward and
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

impl Ascent for Smoothed {
    fn ascend(&mut self, f: &dyn Objective, params: &Params, batch: &Batch) -> Result<Gradient> {
        let noise: ParamVec = self.noise.draw(params, batch.key)?.scale(self.sigma)?;
        let grads = noise.add_scaled(1., &gradient_at(f, params, batch, Some(&noise), None)?.grads)?;
        Ok(Gradient { losses: None, grads, measures: Measures::new() })
    }

    fn at_x(&self) -> bool {
        false
    }

    fn check(&self, _: &Params) -> Result<()> {
        Self::SIGMA.check("sigma", self.sigma)
    }
}

//! Samples weighted in proportion to their gradient norms: δ-SAM.

use super::reweighted;
use candle_core::{Result, Tensor};
use msharp_core::{
    Ascent, BatchLoss, Component, Cost, GradNormEstimator, Gradient, Measures, Reweighted, Temperature, parts, reweight,
};

/// Added to each norm, so that equal weights are the limit of norms that vanish.
const TINY: f64 = 1e-300;

/// g̃ = Σ pᵢ ∇ℓᵢ(x) with pᵢ = ‖∇ℓᵢ(x)‖ / Σⱼ‖∇ℓⱼ(x)‖: towards each sample's own perturbation, without temperature.
///
/// The published rule estimates the norms by the change of each loss along one random perturbation of the weights,
/// |ℓᵢ(x + δz) − ℓᵢ(x)|, as a one-probe finite difference does; the scale of z cancels. Any estimator serves here.
///
/// Cost and what is reported: as [`Gibbs`](crate::Gibbs).
///
/// Reference: δ-SAM (Zhou, Liu, Zhang, Chen, EMNLP 2022, arXiv 2112.08772). Only its abstract and summaries were at
/// hand when this was written: that weights are proportional to the norm, and not to a power of it, is taken from them.
#[derive(Clone, Debug)]
pub struct Proportional<E> {
    /// Where ‖∇ℓᵢ‖ comes from.
    pub estimator: E,
}

impl<E: GradNormEstimator> Component for Proportional<E> {
    parts!(estimator);
}

impl<E: GradNormEstimator> Ascent for Proportional<E> {
    type Uphill = Gradient;

    fn ascend(&mut self, loss: BatchLoss) -> Result<Gradient> {
        reweighted::ascend(&mut self.estimator, loss, &|norms: &Tensor| {
            let norms = (norms + TINY)?;
            let weights = norms.broadcast_div(&norms.sum_all()?)?; // [b]
            let m_eff = weights.sqr()?.sum_all()?.recip()?;
            let Reweighted { quantiles: [q10, q50, q90], .. } = reweight(&norms, Temperature::Raw(0.))?;
            Ok((weights, Measures::from([("m_eff", m_eff), ("norm_q10", q10), ("norm_q50", q50), ("norm_q90", q90)])))
        })
    }

    fn cost(&self, samples: usize) -> Cost {
        self.estimator.cost_of_weighted(samples)
    }
}

//! Samples weighted by the softmax of their gradient norms: RW-SAM.

use super::reweighted;
use candle_core::{Result, Tensor};
use msharp_core::{
    Ascent, BatchLoss, Component, Cost, GradNormEstimator, Gradient, Measures, Params, Reweighted, Temperature, parts,
    reweight,
};

/// g̃ = Σ pᵢ ∇ℓᵢ(x) with the Gibbs weights pᵢ ∝ exp(λ‖∇ℓᵢ(x)‖).
///
/// Cost: the estimator's passes, whose clean losses are shared, and one backward. With one finite-difference probe that
/// is 2 forwards and 1 backward; with ghost norms, whose backward serves both, 1 forward and 1 backward. It reports
/// `m_eff` = 1/Σpᵢ², the quantiles `norm_q10`, `norm_q50`, `norm_q90` of the estimated norms, and what the estimator
/// reports.
///
/// With several ranks the weights are normalised over the samples of all. Inside [`Micro`](crate::Micro) they are
/// normalised within each micro-batch (m-RW-SAM).
///
/// Reference: RW-SAM (Luo et al., NeurIPS 2025).
#[derive(Clone, Debug)]
pub struct Gibbs<E> {
    /// λ, and what it is relative to.
    pub temperature: Temperature,
    /// Where ‖∇ℓᵢ‖ comes from.
    pub estimator: E,
}

impl<E: GradNormEstimator> Component for Gibbs<E> {
    parts!(estimator);

    fn own_check(&self, _: &Params) -> Result<()> {
        self.temperature.check()
    }
}

impl<E: GradNormEstimator> Ascent for Gibbs<E> {
    type Uphill = Gradient;

    fn ascend(&mut self, loss: BatchLoss) -> Result<Gradient> {
        let temperature = self.temperature;
        reweighted::ascend(&mut self.estimator, loss, &|norms: &Tensor| {
            let Reweighted { weights, effective_size, quantiles: [q10, q50, q90] } = reweight(norms, temperature)?;
            let named = [("m_eff", effective_size), ("norm_q10", q10), ("norm_q50", q50), ("norm_q90", q90)];
            Ok((weights, Measures::from(named)))
        })
    }

    fn cost(&self, samples: usize) -> Cost {
        self.estimator.cost_of_weighted(samples)
    }
}

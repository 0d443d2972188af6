//! The gradient of a batch whose samples are reweighted by the Gibbs weights of their gradient norms: RW-SAM.

use candle_core::{Result, Tensor};
use msharp_core::{
    Ascent, Batch, Estimate, GradNormEstimator, Gradient, Measures, Objective, Params, Reweighted, State, Temperature,
    backward, gradient_at, keeping_buffers, reweight,
};

/// g̃ = Σ pᵢ ∇ℓᵢ(x) with pᵢ ∝ exp(λ‖∇ℓᵢ(x)‖).
///
/// Cost: the estimator's passes, whose clean losses are shared, and one backward. With one finite-difference probe that
/// is 2 forwards and 1 backward. It reports `m_eff` = 1/Σpᵢ², the quantiles `norm_q10`, `norm_q50`, `norm_q90` of the
/// estimated norms, and what the estimator reports.
///
/// Inside [`Micro`](crate::Micro) the weights are normalised within each micro-batch (m-RW-SAM).
///
/// Reference: RW-SAM (Luo et al., NeurIPS 2025).
#[derive(Clone, Debug)]
pub struct Gibbs<E> {
    /// Where ‖∇ℓᵢ‖ comes from.
    pub estimator: E,
    /// λ, and what it is relative to.
    pub temperature: Temperature,
}

impl<E: GradNormEstimator> Gibbs<E> {
    /// Where the graph of the whole batch is too large: norms, then losses and gradient, piece by piece. One forward
    /// more.
    fn ascend_in_pieces(
        &mut self,
        f: &dyn Objective,
        params: &Params,
        pieces: &[Batch],
        whole: &Batch,
    ) -> Result<Gradient> {
        let (mut norms, mut measures) = (Vec::new(), Measures::new());
        for piece in pieces {
            let estimate = keeping_buffers(params, || self.estimator.estimate(f, params, piece))?;
            norms.push(estimate.norms);
            measures = estimate.measures; // those of the last piece
        }
        let (weights, of_weights) = self.weigh(&Tensor::cat(&norms, 0)?)?;
        measures.extend(of_weights);
        Ok(Gradient { measures, ..gradient_at(f, params, whole, None, Some(&weights))? })
    }

    /// The weights, `[b]`, and what is reported about them.
    fn weigh(&self, norms: &Tensor) -> Result<(Tensor, Measures)> {
        let Reweighted { weights, effective_size, quantiles: [q10, q50, q90] } = reweight(norms, self.temperature)?;
        let named = [("m_eff", effective_size), ("norm_q10", q10), ("norm_q50", q50), ("norm_q90", q90)];
        Ok((weights, Measures::from(named)))
    }
}

impl<E: GradNormEstimator> Ascent for Gibbs<E> {
    fn ascend(&mut self, f: &dyn Objective, params: &Params, batch: &Batch) -> Result<Gradient> {
        let pieces = f.pieces(batch)?;
        if pieces.len() > 1 {
            return self.ascend_in_pieces(f, params, &pieces, batch);
        }
        let Estimate { losses, norms, mut measures } = self.estimator.estimate(f, params, batch)?;
        let (weights, of_weights) = self.weigh(&norms)?;
        measures.extend(of_weights);
        let grads = backward(&losses, Some(&weights), params)?;
        Ok(Gradient { losses: Some(losses.detach()), grads, measures })
    }

    fn state(&mut self, params: &Params, state: &mut State) -> Result<()> {
        self.estimator.state(params, &mut state.part("estimator"))
    }

    fn check(&self, params: &Params) -> Result<()> {
        self.temperature.check()?;
        self.estimator.check(params)
    }

    fn name(&self) -> String {
        format!("Gibbs({})", self.estimator.name())
    }
}

//! The gradient of a batch whose samples are weighted by a function of their gradient norms.

use candle_core::{Result, Tensor};
use msharp_core::{BatchLoss, Estimate, GradNormEstimator, Gradient, Measures};

/// The weights `[B]` of norms f64 `[B]`, of the samples of all ranks, and what is reported about them.
pub type Weigh<'a> = &'a dyn Fn(&Tensor) -> Result<(Tensor, Measures)>;

/// Σ pᵢ ∇ℓᵢ(x) for the weights p that `weigh` makes of the estimated norms. The passes of the estimator, whose clean
/// losses are shared, and one backward.
pub fn ascend(estimator: &mut impl GradNormEstimator, loss: BatchLoss, weigh: Weigh) -> Result<Gradient> {
    if loss.pieces()?.len() > 1 {
        return ascend_in_pieces(estimator, loss, weigh);
    }
    let Estimate { losses, norms, mut measures } = estimator.estimate(loss)?;
    let all = loss.gathered(&norms)?;
    let (weights, of_weights) = weigh(&all.values)?;
    measures.extend(of_weights);
    let grads = loss.backward(&losses, Some(&all.own(&weights)?))?;
    Ok(Gradient { losses: Some(losses.detach()), grads, measures })
}

/// Where the graph of the whole batch is too large: norms, then losses and gradient, piece by piece. One forward more.
fn ascend_in_pieces(estimator: &mut impl GradNormEstimator, loss: BatchLoss, weigh: Weigh) -> Result<Gradient> {
    let (mut norms, mut measures) = (Vec::new(), Measures::new());
    for piece in &loss.pieces()? {
        let estimate = loss.params.keeping_buffers(|| estimator.estimate(loss.of(piece)))?;
        norms.push(estimate.norms);
        measures = estimate.measures; // those of the last piece
    }
    let all = loss.gathered(&Tensor::cat(&norms, 0)?)?;
    let (weights, of_weights) = weigh(&all.values)?;
    measures.extend(of_weights);
    Ok(Gradient { measures, ..loss.weighted_gradient(&all.own(&weights)?)? })
}

//! The gradient of a batch whose samples are weighted by a function of their gradient norms.

use candle_core::{Result, Tensor};
use msharp_core::{BatchLoss, GradNormEstimator, Gradient, Measures, Weigh};

/// Σ pᵢ ∇ℓᵢ(x) for the weights p that `weigh` makes of the estimated norms, by the passes of the estimator.
pub fn ascend(estimator: &mut impl GradNormEstimator, loss: BatchLoss, weigh: Weigh) -> Result<Gradient> {
    if loss.pieces()?.len() > 1 { ascend_in_pieces(estimator, loss, weigh) } else { estimator.weighted(loss, weigh) }
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

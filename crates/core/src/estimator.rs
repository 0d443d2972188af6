//! The trait of estimators of per-sample gradient norms.

use crate::{BatchLoss, Component, Cost, Gradient, Measures};
use candle_core::{Result, Tensor};

/// Per-sample losses, and the estimated norms of their gradients.
#[derive(Clone, Debug)]
pub struct Estimate {
    /// `[b]`: ℓᵢ at x, the graph still open, so that an ascent needs no second forward pass.
    pub losses: Tensor,
    /// `[b]`: the estimate of ‖∇ℓᵢ‖ in f64, detached.
    pub norms: Tensor,
    /// What the estimator reports about itself.
    pub measures: Measures,
}

/// The weights `[B]` of norms f64 `[B]`, of the samples of all ranks, and what is reported about them.
pub type Weigh<'a> = &'a dyn Fn(&Tensor) -> Result<(Tensor, Measures)>;

/// An estimator of ‖∇ℓᵢ(x)‖ for every sample of a batch.
///
/// Under batch normalisation ℓᵢ depends on the other samples, through the shared statistics; the norm is that of this
/// ℓᵢ.
pub trait GradNormEstimator: Component {
    /// Losses and norms. The clean pass at x is part of it, and moves running statistics as in any training step.
    fn estimate(&mut self, loss: BatchLoss) -> Result<Estimate>;

    /// Σ pᵢ ∇ℓᵢ(x) for the weights p that `weigh` makes of the norms, of all ranks. By default one backward more than
    /// the estimate, whose clean losses are shared.
    fn weighted(&mut self, loss: BatchLoss, weigh: Weigh) -> Result<Gradient> {
        let Estimate { losses, norms, mut measures } = self.estimate(loss)?;
        let all = loss.gathered(&norms)?;
        let (weights, of_weights) = weigh(&all.values)?;
        measures.extend(of_weights);
        let weights = all.own(&weights)?;
        let grads = loss.backward(&losses, Some(&weights))?;
        Ok(Gradient { losses: Some(losses.detach()), grads, measures, weights: Some(weights) })
    }

    /// Whether the norms are those of whole gradients, or unbiased in the square, so that a variance follows from them;
    /// not those of some layers' parts, or of no gradient. True by default.
    fn is_of_whole_gradients(&self) -> bool {
        true
    }

    /// The norms alone, `[b]`: buffers are put back. It counts as one more estimate for an estimator that has state.
    fn norms(&mut self, loss: BatchLoss) -> Result<Tensor> {
        loss.params.keeping_buffers(|| Ok(self.estimate(loss)?.norms))
    }

    /// The mean cost of an estimate on a batch of `samples`, the forward pass at x included. One forward by default.
    fn cost(&self, _samples: usize) -> Cost {
        Cost { forward: 1., backward: 0. }
    }

    /// The mean cost of a [weighted](Self::weighted) gradient. That of an estimate and one backward by default.
    fn cost_of_weighted(&self, samples: usize) -> Cost {
        self.cost(samples) + Cost { forward: 0., backward: 1. }
    }
}

impl<E: GradNormEstimator + ?Sized> GradNormEstimator for Box<E> {
    fn estimate(&mut self, loss: BatchLoss) -> Result<Estimate> {
        (**self).estimate(loss)
    }

    fn weighted(&mut self, loss: BatchLoss, weigh: Weigh) -> Result<Gradient> {
        (**self).weighted(loss, weigh)
    }

    fn is_of_whole_gradients(&self) -> bool {
        (**self).is_of_whole_gradients()
    }

    fn cost(&self, samples: usize) -> Cost {
        (**self).cost(samples)
    }

    fn cost_of_weighted(&self, samples: usize) -> Cost {
        (**self).cost_of_weighted(samples)
    }
}

//! The trait of estimators of per-sample gradient norms.

use crate::{BatchLoss, Component, Cost, Measures};
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

/// An estimator of ‖∇ℓᵢ(x)‖ for every sample of a batch.
///
/// Under batch normalisation ℓᵢ depends on the other samples, through the shared statistics; the norm is that of this
/// ℓᵢ.
pub trait GradNormEstimator: Component {
    /// Losses and norms. The clean pass at x is part of it, and moves running statistics as in any training step.
    fn estimate(&mut self, loss: BatchLoss) -> Result<Estimate>;

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
}

impl<E: GradNormEstimator + ?Sized> GradNormEstimator for Box<E> {
    fn estimate(&mut self, loss: BatchLoss) -> Result<Estimate> {
        (**self).estimate(loss)
    }

    fn is_of_whole_gradients(&self) -> bool {
        (**self).is_of_whole_gradients()
    }

    fn cost(&self, samples: usize) -> Cost {
        (**self).cost(samples)
    }
}

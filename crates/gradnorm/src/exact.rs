//! One backward pass for each sample.

use candle_core::{Result, Tensor};
use msharp_core::{BatchLoss, Component, Cost, Estimate, GradNormEstimator, Measures, ParamVec};

/// ‖∇ℓᵢ(x)‖ by b backward passes over one graph.
///
/// **Bias, variance.** None but rounding, which is that of the backward pass. **Cost.** 1 forward, b backwards, each
/// over the whole batch's graph; memory of one graph and one gradient. No randomness, no state.
///
/// **Under batch normalisation** that is the gradient of ℓᵢ *through the shared statistics*, which a pass over the
/// sample alone would not give.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Exact;

impl Component for Exact {}

impl GradNormEstimator for Exact {
    fn estimate(&mut self, loss: BatchLoss) -> Result<Estimate> {
        let losses = loss.losses()?; // [b]
        let norm = |i: usize| ParamVec::collect(loss.params, &losses.get(i)?.backward()?)?.norm();
        let norms: Vec<f64> = (0..loss.batch.len()).map(norm).collect::<Result<_>>()?;
        Ok(Estimate { norms: Tensor::new(norms, losses.device())?, losses, measures: Measures::new() })
    }

    fn cost(&self, samples: usize) -> Cost {
        Cost { forward: 1., backward: samples as f64 }
    }
}

//! The closed form of the last layer's gradient.

use candle_core::Result;
use msharp_core::{Batch, Estimate, GradNormEstimator, Measures, Objective, Params};

/// ‖∇ℓᵢ‖ restricted to the last layer's weight and bias: ‖pᵢ − yᵢ‖ √(‖hᵢ‖² + 1) for features h, probabilities p and
/// targets y, from the one forward pass that an ascent makes anyway. Exact for these parameters.
///
/// **Bias.** It is below ‖∇ℓᵢ‖, which the other layers add to, by a factor that differs from sample to sample and moves
/// in training; a weight that depends on norms relative to each other does not mind a common one. **Variance.** None:
/// no randomness, no state. **Cost.** 1 forward, that of the ascent; nothing is added. No variance of all parameters
/// follows from it ([`Noise`](crate::Noise)).
///
/// **Under batch normalisation** the last layer's gradient of ℓᵢ is that of sample i alone: its features hold the
/// shared statistics as they are, and how ℓᵢ moves through those of other samples is a matter of the layers before.
///
/// The losses must be our [`cross_entropy`](msharp_ops::cross_entropy) of our [`linear`](msharp_ops::linear) layer, as
/// those of every model of msharp-models are. On a GPU it is the one that works in bfloat16: nothing small is
/// subtracted from anything large.
///
/// Reference: the last-layer bound of importance sampling (Katharopoulos, Fleuret, ICML 2018).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LastLayer;

impl GradNormEstimator for LastLayer {
    fn estimate(&mut self, f: &dyn Objective, _params: &Params, batch: &Batch) -> Result<Estimate> {
        let (losses, norms) = msharp_ops::last_layer_norms(|| f.losses(batch, true))?; // [b] both
        Ok(Estimate { losses, norms, measures: Measures::new() })
    }
}

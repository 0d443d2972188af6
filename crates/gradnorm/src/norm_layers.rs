//! The norms of the parts of the gradients that belong to normalisation layers.

use crate::error::unmeasurable;
use crate::ghost::measure;
use candle_core::Result;
use msharp_core::{BatchLoss, Component, Cost, Estimate, GradNormEstimator, Role, Select};

/// ‖∂ℓᵢ/∂(γ, β)‖ over the scales and shifts of all normalisation layers, by one backward pass that computes no gradient
/// of a parameter. 1 forward, whose graph serves the ascent, and 1 backward; 3 in the first estimate.
///
/// **Bias.** Downwards: all other layers are missing. In transformers the noise scale of these layers predicts that of
/// the whole network well, which is what the weights of a rule, a function of ratios of norms, need. **Variance.**
/// None. **State, randomness.** None.
///
/// The layers must be those of [`msharp_ops`], with samples first in every activation. The first estimate
/// compares two samples with their own gradients. Under batch normalisation the norms are those of shares, as
/// [`Ghost`](crate::Ghost)'s; with group or layer normalisation they are those of ∇ℓᵢ.
///
/// # Errors
/// If no parameter has the role of a norm layer's; those of [`Ghost`](crate::Ghost).
///
/// Reference: Gray, Tiwari, Bergsma, Hestness, NeurIPS 2024, <https://arxiv.org/abs/2411.00999>.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NormLayers {
    /// Whether samples were compared with their gradients.
    pub checked: bool,
}

impl Component for NormLayers {}

impl GradNormEstimator for NormLayers {
    fn estimate(&mut self, loss: BatchLoss) -> Result<Estimate> {
        let norms =
            loss.params.subset(&Select::Role(Role::Norm)).and_then(|norms| measure(loss, &norms, &mut self.checked));
        let advice = "NormLayers cannot measure these losses; take Ghost, Exact or FiniteDifference";
        norms.map_err(unmeasurable("NormLayers", advice))
    }

    fn is_of_whole_gradients(&self) -> bool {
        false
    }

    fn cost(&self, _: usize) -> Cost {
        Cost::passes(1.)
    }
}

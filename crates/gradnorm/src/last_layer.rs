//! The closed form of the last layer's gradient.

use crate::against_exact::{compare, two_gradients};
use crate::error::unmeasurable;
use candle_core::{Error, Result, Tensor, TensorId};
use msharp_core::{BatchLoss, Component, Estimate, GradNormEstimator, Key, Measures, Params};
use msharp_ops::LastLayerNorms;

/// ‖∇ℓᵢ‖ restricted to the last layer's weight and bias: ‖pᵢ − yᵢ‖ √(‖hᵢ‖² + 1) for features h, probabilities p and
/// targets y, from the one forward pass that an ascent makes anyway. Exact for these parameters; of a frozen weight or
/// bias there is no part.
///
/// **Bias.** It is below ‖∇ℓᵢ‖, which the other layers add to, by a factor that differs from sample to sample and moves
/// in training; a weight that depends on norms relative to each other does not mind a common one. **Variance.** None:
/// no randomness. **Cost.** 1 forward, that of the ascent; nothing is added, but two backwards in the first estimate
/// (on the CPU), in which two samples are compared with their own gradients. No variance of all parameters follows from
/// it: [`Noise`](crate::Noise) refuses it.
///
/// **Under batch normalisation** the last layer's gradient of ℓᵢ is that of sample i alone: its features hold the
/// shared statistics as they are, and how ℓᵢ moves through those of other samples is a matter of the layers before.
///
/// On a GPU it is the one that works in bfloat16: nothing small is subtracted from anything large.
///
/// # Errors
/// The losses must be our [`cross_entropy`](msharp_ops::cross_entropy) of our [`linear`](msharp_ops::linear) layer as
/// it is, as those of every model of msharp-models are. Every other function of it (scaled, two tasks added, a penalty)
/// is an error; [`Ghost`](crate::Ghost) and [`Exact`](crate::Exact) measure those.
///
/// Reference: the last-layer bound of importance sampling (Katharopoulos, Fleuret, ICML 2018).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LastLayer {
    /// Whether samples were compared with their gradients.
    pub checked: bool,
}

impl Component for LastLayer {}

impl GradNormEstimator for LastLayer {
    fn estimate(&mut self, loss: BatchLoss) -> Result<Estimate> {
        let BatchLoss { params, batch, .. } = loss;
        let LastLayerNorms { losses, norms, of } =
            msharp_ops::last_layer_norms(&params.refs(), || loss.losses()).map_err(named)?; // [b] both
        if !self.checked && params.device().is_cpu() {
            Self::compare(&losses, &norms, params, &of, batch.key).map_err(named)?;
            self.checked = true;
        }
        Ok(Estimate { losses, norms, measures: Measures::new() })
    }

    fn is_of_whole_gradients(&self) -> bool {
        false
    }
}

impl LastLayer {
    /// The part of two samples against their gradients, over the parameters called `of` together.
    fn compare(losses: &Tensor, norms: &Tensor, params: &Params, of: &[TensorId], key: Key) -> Result<()> {
        let last = params.iter().filter(|param| of.contains(&param.var.id())).cloned();
        let last = Params::with_roles(last.map(|param| (param.name, param.var, Some(param.role))))?;
        for (sample, gradient) in two_gradients(losses, norms, &last, key)? {
            let (measured, exact) = (norms.get(sample)?.to_scalar()?, gradient.norm()?);
            compare("the last layer", sample, measured, exact, exact)?;
        }
        Ok(())
    }
}

fn named(error: Error) -> Error {
    unmeasurable("LastLayer", "LastLayer cannot measure these losses; take Ghost or Exact")(error)
}

//! Directional derivatives of the samples of a batch, from differences of their losses.

use crate::dispatch::on_device;
use candle_core::{DType, Result, Tensor, bail};

/// Losses on both sides of a step.
#[derive(Clone, Debug)]
pub struct Slope {
    /// `[b]`: ℓᵢ ahead.
    pub ahead: Tensor,
    /// `[b]`: ℓᵢ behind.
    pub behind: Tensor,
    /// δ, f64 `[]`.
    pub delta: Tensor,
    /// How many δ lie between the two: 1, or 2 for a central difference.
    pub sides: f64,
}

/// √( 1/K Σₖ ((aheadₖ − behindₖ)/(sides δₖ))² ) of each sample, f64 `[b]` on the device of the losses. The differences
/// are of nearly equal numbers, so they are taken in f64. Not differentiable.
///
/// `Err` without any slope, or if shapes differ.
pub fn rms_slopes(slopes: &[Slope]) -> Result<Tensor> {
    let Some(&[b]) = slopes.first().map(|slope| slope.ahead.dims()) else {
        bail!("rms_slopes: expected at least one slope, of losses [b]")
    };
    for Slope { ahead, behind, delta, .. } in slopes {
        if ahead.dims() != [b] || behind.dims() != [b] || delta.elem_count() != 1 || delta.dtype() != DType::F64 {
            let sizes = [ahead, behind, delta].map(|tensor| tensor.dims().to_vec());
            bail!("rms_slopes: expected losses [{b}] and one δ in f64, got {sizes:?}");
        }
    }
    on_device!(&slopes[0].ahead, rms_slopes(slopes))
}

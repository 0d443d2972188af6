//! Directional derivatives of the samples of a batch, from differences of their losses.

use candle_core::{DType, Device, Result, Tensor, bail};

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
    #[cfg(feature = "cuda")]
    if let Some(gpu) = crate::cuda::Gpu::of(&slopes[0].ahead)? {
        return crate::cuda::samples::rms_slopes(&gpu, slopes);
    }
    let host = |losses: &Tensor| losses.detach().to_dtype(DType::F64)?.to_vec1::<f64>();
    let mut squares = vec![0.; b];
    for slope in slopes {
        let width = slope.delta.reshape(())?.to_scalar::<f64>()? * slope.sides;
        for (square, (ahead, behind)) in squares.iter_mut().zip(host(&slope.ahead)?.iter().zip(host(&slope.behind)?)) {
            *square += ((ahead - behind) / width).powi(2);
        }
    }
    let norms: Vec<f64> = squares.iter().map(|square| (square / slopes.len() as f64).sqrt()).collect();
    Tensor::from_vec(norms, b, &Device::Cpu)
}

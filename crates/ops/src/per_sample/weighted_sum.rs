//! From the losses of samples to the loss of a batch.

use crate::dispatch::on_device;
use crate::graph::Recorded;
use candle_core::{DType, Result, Tensor, bail};

/// Σ wᵢ ℓᵢ of `losses` `[b]`, their mean where there are no `weights` f64 `[b]`, which are constants: `[]`, summed in
/// f64.
///
/// `Err` if the shapes or element types do not fit.
pub fn weighted_sum(losses: &Tensor, weights: Option<&Tensor>) -> Result<Tensor> {
    let &[b] = losses.dims() else { bail!("weighted_sum: expected losses [b], got {:?}", losses.dims()) };
    if let Some(weights) = weights
        && (weights.dims(), weights.dtype()) != (&[b], DType::F64)
    {
        bail!("weighted_sum: losses [{b}] need f64 weights [{b}], got {:?} {:?}", weights.dtype(), weights.dims());
    }
    let losses = &losses.input()?;
    let weights = weights.map(|weights| weights.detach().contiguous()).transpose()?;
    on_device!(losses, weighted_sum(losses, weights))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn sums_and_gradients_are_the_weights() -> Result<()> {
        let losses = Var::new(&[1f32, 2., 6.], &Device::Cpu)?;
        let weights = Tensor::new(&[0.5f64, 0.25, 0.25], &Device::Cpu)?;
        let sum = weighted_sum(&losses, Some(&weights))?;
        assert_eq!(sum.to_scalar::<f32>()?, 2.5);
        let gradient = |sum: Tensor| sum.affine(2., 0.)?.backward()?.get(&losses).expect("a gradient").to_vec1::<f32>();
        assert_eq!(gradient(sum)?, [1., 0.5, 0.5]);
        let mean = weighted_sum(&losses, None)?;
        assert_eq!(mean.to_scalar::<f32>()?, 3.);
        assert_eq!(gradient(mean)?, [2. / 3.; 3]);
        assert!(weighted_sum(&losses, Some(&weights.narrow(0, 0, 2)?)).is_err());
        assert!(!crate::no_grad(|| weighted_sum(&losses, None))?.track_op());
        Ok(())
    }
}

//! Whether an objective is a function of the parameters, the batch and its key.

use crate::{Batch, Objective, ParamVec, Params, losses_at, uncounted};
use candle_core::{DType, Result, bail};

/// Two evaluations may differ by so much of the largest loss, for what sums in an order of its own.
const ROUNDING: f64 = 1e-5;

/// Evaluates the losses twice at the parameters as they are, in training mode, and compares. Two forward passes without
/// a graph, [uncounted]; buffers are put back. A host-device synchronisation on a GPU.
///
/// Every rule compares what it evaluates at two points. Where two evaluations at *one* point differ, as with candle's
/// own `Dropout`, the difference that a finite difference divides by its step is that of two random draws.
///
/// # Errors
/// If they differ by more than rounding.
pub fn check_repeatable(f: &dyn Objective, params: &Params, batch: &Batch) -> Result<()> {
    let zero = ParamVec::zeros(params)?;
    let losses = || losses_at(f, params, batch, &zero)?.to_dtype(DType::F64)?.to_vec1::<f64>();
    let (once, again) = uncounted(|| Ok::<_, candle_core::Error>((losses()?, losses()?)))?;
    let largest = once.iter().chain(&again).map(|loss| loss.abs()).fold(0., f64::max);
    let apart = once.iter().zip(&again).map(|(a, b)| (a - b).abs()).fold(0., f64::max);
    // Losses that are not finite are the trainer's business.
    if largest.is_finite() && apart > ROUNDING * largest {
        bail!(
            "two evaluations of the losses at one point, of one batch under one key, differ by {apart:.1e} (the largest \
             loss is {largest:.1e}): the objective draws random numbers that are no function of the batch's key, as \
             candle's Dropout does; expected the same losses, since a rule compares those at two points"
        )
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Key;
    use candle_core::{Device, Tensor, Var};
    use std::cell::Cell;

    #[test]
    fn a_second_draw_at_the_same_point_is_found_and_a_drawn_key_is_fine() -> Result<()> {
        let x = Var::new(&[2f32], &Device::Cpu)?;
        let params = Params::new([("x".to_owned(), x.clone())])?;
        let inputs = Tensor::new(&[1f32, 2., 3.], &Device::Cpu)?;
        let batch = Batch::new(inputs.clone(), inputs, Key::new(0));
        let dropout = candle_nn::Dropout::new(0.5);
        let calls = Cell::new(0);
        let dropped = |batch: &Batch, train: bool| {
            calls.set(calls.get() + 1);
            let masked = dropout.forward(&batch.inputs.broadcast_as((64, 3))?.contiguous()?, train)?.mean(0)?;
            masked.broadcast_mul(&x)?.sqr()
        };
        let error = check_repeatable(&dropped, &params, &batch).unwrap_err().to_string();
        assert!(error.contains("no function of the batch's key") && error.contains("Dropout"), "{error}");
        assert_eq!(calls.get(), 2);
        let keyed = |batch: &Batch, _: bool| {
            let noise = ParamVec::gaussian(&params, batch.key)?.tensors()[0].clone();
            batch.inputs.broadcast_mul(&x)?.broadcast_add(&noise)?.sqr()
        };
        check_repeatable(&keyed, &params, &batch)?;
        let undefined = |batch: &Batch, _: bool| batch.inputs.broadcast_mul(&x)?.affine(f64::NAN, 0.);
        check_repeatable(&undefined, &params, &batch)
    }
}

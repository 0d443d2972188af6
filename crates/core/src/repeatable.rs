//! Whether an objective is a function of the parameters, the batch and its key.

use crate::{Batch, Length, Objective, ParamVec, Params, losses_at, uncounted};
use candle_core::{DType, Result, bail};

/// Two evaluations of a sample's loss may differ by so much of it, for what sums in an order of its own.
const ROUNDING: f64 = 1e-5;

/// How far from the parameters they are compared, relative to ‖x‖: where a branch or a head is 0, nothing that is drawn
/// before it can be seen.
const AWAY: f64 = 0.01;

/// Evaluates the losses twice at one point near the parameters, in training mode, and compares. Two forward passes
/// without a graph, [uncounted]; parameters and buffers are put back. A host-device synchronisation on a GPU.
///
/// Every rule compares what it evaluates at two points. Where two evaluations at *one* point differ, as with candle's
/// own `Dropout`, the difference that a finite difference divides by its step is that of two random draws.
///
/// # Errors
/// If the losses of a sample differ by more than rounding.
pub fn check_repeatable(f: &dyn Objective, params: &Params, batch: &Batch) -> Result<()> {
    let z = ParamVec::rademacher(params, batch.key.fold_name("repeatable"))?;
    let away = match params.norm()? {
        0. => z.scale(AWAY)?,
        _ => z.scale_to(Length::Relative(AWAY, &params.each()))?.0,
    };
    let losses = || losses_at(f, params, batch, &away)?.to_dtype(DType::F64)?.to_vec1::<f64>();
    let (once, again) = uncounted(|| Ok::<_, candle_core::Error>((losses()?, losses()?)))?;
    let largest = once.iter().map(|loss| loss.abs()).fold(0., f64::max);
    // Losses that are not finite are the trainer's business.
    let differ = |(a, b): &(&f64, &f64)| (*a - *b).abs() > ROUNDING * a.abs().max(b.abs()) + 1e-9 * largest;
    if let Some((a, b)) = once.iter().zip(&again).find(differ) {
        bail!(
            "two evaluations of the losses at one point, of one batch under one key, differ ({a:.6e} and {b:.6e} of one \
             sample): the objective draws random numbers that are no function of the batch's key, as candle's Dropout \
             does, or remembers earlier calls; expected the same losses, since a rule compares those at two points"
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
        // Behind a head that is still 0 all losses agree at the parameters themselves.
        let head = Var::zeros(1, DType::F32, &Device::Cpu)?;
        let both = Params::new([("head".to_owned(), head.clone()), ("x".to_owned(), x.clone())])?;
        let hidden = |batch: &Batch, train: bool| dropped(batch, train)?.broadcast_mul(&head);
        assert!(check_repeatable(&hidden, &both, &batch).is_err());
        assert_eq!(head.to_vec1::<f32>()?, [0.]);
        let keyed = |batch: &Batch, _: bool| {
            let noise = ParamVec::gaussian(&params, batch.key)?.tensors()[0].clone();
            batch.inputs.broadcast_mul(&x)?.broadcast_add(&noise)?.sqr()
        };
        check_repeatable(&keyed, &params, &batch)?;
        let undefined = |batch: &Batch, _: bool| batch.inputs.broadcast_mul(&x)?.affine(f64::NAN, 0.);
        check_repeatable(&undefined, &params, &batch)
    }
}

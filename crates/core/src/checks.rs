//! Whether an objective is what a rule needs: one loss for each sample, a gradient for each parameter, and a function
//! of the parameters, the batch and its key.

use crate::{BatchLoss, Error, ParamVec, Rescale, uncounted};
use candle_core::{DType, Result};

/// Two evaluations of a sample's loss may differ by so much of it, for what sums in an order of its own.
const ROUNDING: f64 = 1e-5;

/// How far from the parameters they are compared, relative to ‖x‖: where a branch or a head is 0, nothing that is drawn
/// before it can be seen.
const AWAY: f64 = 0.01;

/// Samples whose gradient is taken to see whether each parameter has one.
const SAMPLES: usize = 2;

impl BatchLoss<'_> {
    /// Checks the objective, as `fit` of msharp-train does before the first step: losses are `[b]`, two evaluations
    /// under one key [agree](Self::check_repeatable), and each parameter receives a gradient. Two forward passes, and
    /// one forward and one backward over two samples, [uncounted]; parameters and buffers are put back.
    ///
    /// # Errors
    /// [`Error::EmptyBatch`], [`Error::LossShape`], [`Error::NotRepeatable`] or [`Error::NoGradient`].
    pub fn check(&self) -> Result<()> {
        self.check_repeatable()?;
        let few = self.batch.narrow(0, self.batch.len().min(SAMPLES), self.batch.key)?;
        uncounted(|| self.params.keeping_buffers(|| self.of(&few).gradient())).map(drop)
    }

    /// Evaluates the losses twice at one point near the parameters, in training mode, and compares. Two forward passes
    /// without a graph, [uncounted]; parameters and buffers are put back. A host-device synchronisation on a GPU.
    ///
    /// Every rule compares what it evaluates at two points. Where two evaluations at *one* point differ, as with
    /// candle's own `Dropout`, the difference that a finite difference divides by its step is that of two random draws.
    ///
    /// # Errors
    /// [`Error::NotRepeatable`], if the losses of a sample differ by more than rounding.
    pub fn check_repeatable(&self) -> Result<()> {
        let params = self.params;
        let z = ParamVec::rademacher(params, self.batch.key.fold_name("repeatable"))?;
        let away = match params.norm()? {
            0. => z.scale(AWAY)?,
            _ => z.scale_to(Rescale::Relative(AWAY, &params.refs()))?.0,
        };
        let losses = || self.losses_at(&away)?.to_dtype(DType::F64)?.to_vec1::<f64>();
        let (once, again) = uncounted(|| Ok::<_, candle_core::Error>((losses()?, losses()?)))?;
        let largest = once.iter().map(|loss| loss.abs()).fold(0., f64::max);
        // Losses that are not finite are the trainer's business.
        let differ = |(a, b): &(&f64, &f64)| (*a - *b).abs() > ROUNDING * a.abs().max(b.abs()) + 1e-9 * largest;
        match once.iter().zip(&again).find(differ) {
            Some((once, again)) => Err(Error::NotRepeatable { once: *once, again: *again }.into()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Batch, Key, Params};
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
        let error = BatchLoss::new(&dropped, &params, &batch).check_repeatable().unwrap_err().to_string();
        assert!(error.contains("no function of the batch's key") && error.contains("Dropout"), "{error}");
        assert_eq!(calls.get(), 2);
        // Behind a head that is still 0 all losses agree at the parameters themselves.
        let head = Var::zeros(1, DType::F32, &Device::Cpu)?;
        let both = Params::new([("head".to_owned(), head.clone()), ("x".to_owned(), x.clone())])?;
        let hidden = |batch: &Batch, train: bool| dropped(batch, train)?.broadcast_mul(&head);
        assert!(BatchLoss::new(&hidden, &both, &batch).check_repeatable().is_err());
        assert_eq!(head.to_vec1::<f32>()?, [0.]);
        let keyed = |batch: &Batch, _: bool| {
            let noise = ParamVec::gaussian(&params, batch.key)?.tensors()[0].clone();
            batch.inputs.broadcast_mul(&x)?.broadcast_add(&noise)?.sqr()
        };
        BatchLoss::new(&keyed, &params, &batch).check_repeatable()?;
        let undefined = |batch: &Batch, _: bool| batch.inputs.broadcast_mul(&x)?.affine(f64::NAN, 0.);
        BatchLoss::new(&undefined, &params, &batch).check_repeatable()
    }

    #[test]
    fn dropout_by_the_seed_of_the_batchs_key_is_repeatable() -> Result<()> {
        let x = Var::new(&[2f32], &Device::Cpu)?;
        let params = Params::new([("x".to_owned(), x.clone())])?;
        let inputs = Tensor::ones((64, 3), DType::F32, &Device::Cpu)?;
        let batch = Batch::new(inputs.clone(), inputs, Key::new(0));
        let dropped = |batch: &Batch, train: bool| {
            let seed = batch.key.fold_name("dropout").seed();
            msharp_ops::dropout(&batch.inputs.broadcast_mul(&x)?, 0.5, seed, train)?.sum(1)?.sqr()
        };
        let losses = dropped(&batch, true)?.to_vec1::<f32>()?;
        assert!(losses.iter().any(|loss| *loss != losses[0]), "something is dropped");
        BatchLoss::new(&dropped, &params, &batch).check()
    }

    #[test]
    fn a_parameter_that_the_losses_do_not_use_is_named_before_the_first_step() -> Result<()> {
        let var = |value: f32| Var::new(&[value], &Device::Cpu);
        let (used, unused) = (var(2.)?, var(1.)?);
        let params = Params::new([("used".to_owned(), used.clone()), ("unused".to_owned(), unused)])?;
        let inputs = Tensor::new(&[1f32, 2., 3.], &Device::Cpu)?;
        let batch = Batch::new(inputs.clone(), inputs, Key::new(0));
        let f = |batch: &Batch, _: bool| batch.inputs.broadcast_mul(&used)?.sqr();
        let error = BatchLoss::new(&f, &params, &batch).check().unwrap_err();
        assert_eq!(Error::of(&error), Some(&Error::NoGradient { parameter: "unused".to_owned() }));
        let mean = |batch: &Batch, train: bool| f(batch, train)?.mean_keepdim(0);
        let error = BatchLoss::new(&mean, &params, &batch).check().unwrap_err();
        assert_eq!(Error::of(&error), Some(&Error::LossShape { found: vec![1], samples: Some(3) }));
        BatchLoss::new(&f, &Params::new([("used".to_owned(), used.clone())])?, &batch).check()
    }
}

//! Loss and accuracy over a set.

use crate::Classifier;
use candle_core::{D, DType, Device, Result, Tensor, bail};
use candle_nn::ModuleT;
use msharp_core::{Batch, DataSource};

/// What a classifier does on a set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// The mean cross-entropy, without label smoothing; NaN where a sample's logits are not finite.
    pub loss: f64,
    /// The share of samples whose largest logit is that of their label, in [0, 1]; a sample whose logits are not all
    /// finite is classified wrongly.
    pub accuracy: f64,
    /// How many samples.
    pub samples: usize,
    /// How many of them have a logit that is not finite.
    pub not_finite: usize,
}

/// Evaluates a classifier over epoch 0 of `data`, in evaluation mode and without a graph. One forward pass over the
/// set.
///
/// # Errors
/// If there is no sample.
pub fn evaluate<M: ModuleT>(classifier: &Classifier<M>, data: &dyn DataSource) -> Result<Evaluation> {
    evaluate_logits(|batch| classifier.logits(&batch.inputs, false), data)
}

/// As [`evaluate`], of any function from a batch to logits `[b, k]`: for a model that is no candle `ModuleT`, or that
/// needs the batch's key.
///
/// # Errors
/// If there is no sample, or as `logits`.
pub fn evaluate_logits(logits: impl Fn(&Batch) -> Result<Tensor>, data: &dyn DataSource) -> Result<Evaluation> {
    let (mut loss, mut correct, mut samples, mut not_finite) = (0f64, 0, 0, 0);
    for batch in data.epoch(0) {
        let batch = batch?;
        batch.check()?;
        let logits = msharp_ops::no_grad(|| logits(&batch))?.detach().to_device(&Device::Cpu)?;
        let targets = batch.targets.to_device(&Device::Cpu)?; // [b], and logits [b, k]
        let losses = msharp_ops::cross_entropy(&logits, &targets, 0.)?; // [b]
        loss += losses.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>()?;
        let largest = logits.argmax(D::Minus1)?.to_vec1::<u32>()?;
        let finite = finite_rows(&logits)?;
        let hits = largest.iter().zip(targets.to_vec1::<u32>()?).zip(&finite);
        correct += hits.filter(|((largest, target), is_finite)| **is_finite && **largest == *target).count();
        not_finite += finite.iter().filter(|is_finite| !**is_finite).count();
        samples += batch.len();
    }
    if samples == 0 {
        bail!("cannot evaluate over a data source without batches")
    }
    let loss = if not_finite == 0 { loss / samples as f64 } else { f64::NAN };
    Ok(Evaluation { loss, accuracy: correct as f64 / samples as f64, samples, not_finite })
}

/// Whether all logits of each sample are finite, `[b]`; logits `[b, k]`.
pub fn finite_rows(logits: &Tensor) -> Result<Vec<bool>> {
    let rows = logits.to_dtype(DType::F64)?.to_vec2::<f64>()?;
    Ok(rows.iter().map(|row| row.iter().all(|x| x.is_finite())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use msharp_core::{Batches, Key};

    struct One(Tensor);

    impl DataSource for One {
        fn steps(&self) -> usize {
            1
        }

        fn samples(&self) -> usize {
            self.0.dims()[0]
        }

        fn epoch_from(&self, _: usize, _: usize) -> Batches<'_> {
            let targets = Tensor::zeros(self.samples(), DType::U32, &Device::Cpu);
            Box::new(std::iter::once(targets.map(|targets| Batch::new(self.0.clone(), targets, Key::new(0)))))
        }
    }

    #[derive(Clone)]
    struct Identity;

    impl ModuleT for Identity {
        fn forward_t(&self, xs: &Tensor, _: bool) -> Result<Tensor> {
            Ok(xs.clone())
        }
    }

    /// Of logits that are no numbers the first class is the largest, which is the label here.
    #[test]
    fn logits_that_are_not_finite_are_wrong_and_counted() -> Result<()> {
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        let logits = Tensor::new(&[[2f32, 1.], [nan, nan], [inf, 0.], [0., 1.], [3., 0.]], &Device::Cpu)?;
        let found = evaluate(&Classifier::new(Identity), &One(logits.clone()))?;
        assert_eq!((found.accuracy, found.samples, found.not_finite), (0.4, 5, 2));
        assert!(found.loss.is_nan());
        let of_batch = evaluate_logits(|batch| batch.inputs.affine(-1., 0.), &One(logits.narrow(0, 3, 2)?))?;
        assert_eq!(of_batch.accuracy, 0.5, "the other of the two is right now");
        let found = evaluate(&Classifier::new(Identity), &One(logits.narrow(0, 3, 2)?))?;
        assert_eq!((found.accuracy, found.not_finite), (0.5, 0));
        assert!(found.loss.is_finite());
        Ok(())
    }
}

//! Loss and accuracy over a set.

use crate::Classifier;
use candle_core::{D, DType, Device, Result, bail};
use candle_nn::ModuleT;
use msharp_core::DataSource;

/// What a classifier does on a set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// The mean cross-entropy, without label smoothing.
    pub loss: f64,
    /// The share of samples whose largest logit is that of their label, in [0, 1].
    pub accuracy: f64,
    /// How many samples.
    pub samples: usize,
}

/// Evaluates over epoch 0 of `data`, in evaluation mode and without a graph. One forward pass over the set.
///
/// # Errors
/// If there is no sample.
pub fn evaluate<M: ModuleT>(classifier: &Classifier<M>, data: &dyn DataSource) -> Result<Evaluation> {
    let (mut loss, mut correct, mut samples) = (0f64, 0f64, 0);
    for batch in data.epoch(0) {
        let batch = batch?;
        let logits =
            msharp_ops::no_grad(|| classifier.logits(&batch.inputs, false))?.detach().to_device(&Device::Cpu)?;
        let targets = batch.targets.to_device(&Device::Cpu)?; // [b], and logits [b, k]
        let losses = msharp_ops::cross_entropy(&logits, &targets, 0.)?; // [b]
        loss += losses.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>()?;
        let hits = logits.argmax(D::Minus1)?.eq(&targets)?;
        correct += hits.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>()?;
        samples += batch.len();
    }
    if samples == 0 {
        bail!("cannot evaluate over a data source without batches")
    }
    Ok(Evaluation { loss: loss / samples as f64, accuracy: correct / samples as f64, samples })
}

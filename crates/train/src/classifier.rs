//! A model with the cross-entropy of its logits.

use candle_core::{Result, Tensor};
use candle_nn::ModuleT;
use msharp_core::{Batch, Objective};

/// The objective of a classifier: ℓᵢ is the cross-entropy of sample i.
///
/// The model is candle's own trait, from inputs `[b, …]` to logits `[b, k]`; the targets are class indices, u32 `[b]`.
#[derive(Clone, Debug)]
pub struct Classifier<M> {
    /// Inputs to logits.
    pub model: M,
    /// ε in [0, 1): the target distribution is (1 − ε) on the label plus ε/k on every class, as in PyTorch.
    pub label_smoothing: f64,
}

impl<M: ModuleT> Objective for Classifier<M> {
    fn losses(&self, batch: &Batch, train: bool) -> Result<Tensor> {
        let logits = self.model.forward_t(&batch.inputs, train)?; // [b, k]
        msharp_ops::cross_entropy(&logits, &batch.targets, self.label_smoothing) // [b]
    }
}

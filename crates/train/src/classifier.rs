//! A model with the cross-entropy of its logits.

use candle_core::{Result, Tensor};
use candle_nn::ModuleT;
use msharp_core::{Batch, Objective, Precision, with_precision};

/// The objective of a classifier: ℓᵢ is the cross-entropy of sample i.
///
/// The model is candle's own trait, from inputs `[b, …]` to logits `[b, k]`; the targets are class indices, u32 `[b]`,
/// or distributions over the classes, `[b, k]`, as Mixup makes them.
#[derive(Clone, Debug)]
pub struct Classifier<M> {
    /// Inputs to logits.
    pub model: M,
    /// ε in [0, 1): the target distribution is (1 − ε) on the label plus ε/k on every class, as in PyTorch.
    pub label_smoothing: f64,
    /// The precision of a GPU's products in the model; the losses are f32 in each. Ignored on the CPU.
    pub precision: Precision,
}

impl<M> Classifier<M> {
    /// Without label smoothing, in f32.
    pub fn new(model: M) -> Self {
        Self { model, label_smoothing: 0., precision: Precision::F32 }
    }
}

impl<M: ModuleT> Classifier<M> {
    /// Inputs to logits, `[b, k]`.
    pub fn logits(&self, inputs: &Tensor, train: bool) -> Result<Tensor> {
        with_precision(self.precision, || self.model.forward_t(inputs, train))
    }
}

impl<M: ModuleT> Objective for Classifier<M> {
    fn losses(&self, batch: &Batch, train: bool) -> Result<Tensor> {
        let logits = self.logits(&batch.inputs, train)?; // [b, k]
        msharp_ops::cross_entropy(&logits, &batch.targets, self.label_smoothing) // [b]
    }
}

//! The one thing that a problem must provide: the loss of every sample.

use crate::Batch;
use candle_core::{Result, Tensor};

/// Per-sample losses, the narrow waist: mean, weighted and micro-batch losses, per-sample gradient norms and their
/// variance all derive from it.
///
/// Closures implement it:
///
/// ```
/// use candle_core::{Device, Result, Tensor, Var};
/// use msharp_core::{Batch, Key, Objective};
/// let w = Var::new(&[[1f32], [2.]], &Device::Cpu)?;
/// let squares = |batch: &Batch, _train: bool| (batch.inputs.matmul(&w)?.squeeze(1)? - &batch.targets)?.sqr();
/// let inputs = Tensor::new(&[[1f32, 1.], [0., 1.]], &Device::Cpu)?;
/// let batch = Batch { inputs, targets: Tensor::new(&[0f32, 0.], &Device::Cpu)?, key: Key::new(0) };
/// assert_eq!(squares.losses(&batch, true)?.to_vec1::<f32>()?, [9., 4.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub trait Objective {
    /// ℓᵢ(x) for every sample i, `[b]`, with the graph that leads to it; no mean, no weights.
    ///
    /// `train` means batch statistics and running averages in norm layers, and dropout. All randomness is a function
    /// of `batch.key`, so that both passes of a rule see the same.
    fn losses(&self, batch: &Batch, train: bool) -> Result<Tensor>;
}

impl<F: Fn(&Batch, bool) -> Result<Tensor>> Objective for F {
    fn losses(&self, batch: &Batch, train: bool) -> Result<Tensor> {
        self(batch, train)
    }
}

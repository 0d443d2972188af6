//! The one thing that a problem must provide: the loss of every sample.

use crate::Batch;
use candle_core::{Result, Tensor, bail};

/// The loss of every sample. Mean, weighted and micro-batch losses, per-sample gradient norms and their variance all
/// derive from it.
///
/// Closures implement it:
///
/// ```
/// use candle_core::{Device, Result, Tensor, Var};
/// use msharp_core::{Batch, Key, Objective};
/// let w = Var::new(&[[1f32], [2.]], &Device::Cpu)?;
/// let squares = |batch: &Batch, _train: bool| (batch.inputs.matmul(&w)?.squeeze(1)? - &batch.targets)?.sqr();
/// let inputs = Tensor::new(&[[1f32, 1.], [0., 1.]], &Device::Cpu)?;
/// let batch = Batch::new(inputs, Tensor::new(&[0f32, 0.], &Device::Cpu)?, Key::new(0));
/// assert_eq!(squares.losses(&batch, true)?.to_vec1::<f32>()?, [9., 4.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub trait Objective {
    /// ℓᵢ(x) for every sample i, `[b]`, with the graph that leads to it; no mean, no weights.
    ///
    /// `train` means batch statistics and running averages in norm layers, and dropout. All randomness is a function of
    /// `batch.key`, so that both passes of a rule see the same: [`dropout`](msharp_ops::dropout) takes the seed of a
    /// [`Key`](crate::Key).
    fn losses(&self, batch: &Batch, train: bool) -> Result<Tensor>;

    /// The most samples that one pass may take, if there is a limit: larger batches then go through in pieces, whose
    /// gradients are accumulated. See [`Accumulated`].
    fn max_samples(&self) -> Option<usize> {
        None
    }

    /// What goes through together: the batch itself, or pieces of it.
    ///
    /// # Errors
    /// If the batch is empty.
    fn pieces(&self, batch: &Batch) -> Result<Vec<Batch>> {
        batch.check()?;
        match self.max_samples() {
            Some(0) => bail!("gradients are accumulated over pieces of at least one sample, `max_samples` is 0"),
            Some(size) => batch.chunks(size),
            None => Ok(vec![batch.clone()]),
        }
    }
}

/// Gradient accumulation: an objective whose batches go through in pieces of at most `max_samples` samples.
///
/// Memory is that of a piece, and a rule computes what it would have computed on the whole batch, up to rounding: the
/// pieces of m-SAM are its *micro-batches*, each with a perturbation of its own; these only save memory. Under batch
/// normalisation each piece is its own normalisation batch, and moves the running statistics.
#[derive(Clone, Copy)]
pub struct Accumulated<'a> {
    /// The losses.
    pub objective: &'a dyn Objective,
    /// At least 1.
    pub max_samples: usize,
}

impl Objective for Accumulated<'_> {
    fn losses(&self, batch: &Batch, train: bool) -> Result<Tensor> {
        self.objective.losses(batch, train)
    }

    fn max_samples(&self) -> Option<usize> {
        Some(self.objective.max_samples().map_or(self.max_samples, |most| most.min(self.max_samples)))
    }
}

impl<F: Fn(&Batch, bool) -> Result<Tensor>> Objective for F {
    fn losses(&self, batch: &Batch, train: bool) -> Result<Tensor> {
        self(batch, train)
    }
}

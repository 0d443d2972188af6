//! The mean gradient of the batch.

use msharp_core::{Ascent, BatchLoss, Component, Gradient};

/// g = ∇f_γ(x), the gradient of the batch mean. One forward and one backward pass.
///
/// Reference: SAM (Foret et al., ICLR 2021), whose perturbation is that of the mini-batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mean;

impl Component for Mean {}

impl Ascent for Mean {
    type Uphill = Gradient;

    fn ascend(&mut self, loss: BatchLoss) -> candle_core::Result<Gradient> {
        loss.gradient()
    }

    fn is_mean(&self) -> bool {
        true
    }
}

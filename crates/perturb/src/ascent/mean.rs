//! The mean gradient of the batch.

use msharp_core::{Ascent, Batch, Gradient, Objective, Params, gradient_at};

/// g = ∇f_γ(x), the gradient of the batch mean. One forward and one backward pass.
///
/// Reference: SAM (Foret et al., ICLR 2021), whose perturbation is that of the mini-batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mean;

impl Ascent for Mean {
    fn ascend(&mut self, f: &dyn Objective, params: &Params, batch: &Batch) -> candle_core::Result<Gradient> {
        gradient_at(f, params, batch, None, None)
    }
}

//! No perturbation at all.

use candle_core::Result;
use msharp_core::{Batch, Gradient, Objective, Params, Perturbation, gradient_at};

/// ∇f_γ(x): what SGD descends. One forward and one backward pass.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Plain;

impl Perturbation for Plain {
    fn gradient(&mut self, f: &dyn Objective, params: &Params, batch: &Batch) -> Result<Gradient> {
        gradient_at(f, params, batch, None, None)
    }
}

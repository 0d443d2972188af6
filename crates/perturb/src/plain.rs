//! No perturbation at all.

use candle_core::Result;
use msharp_core::{BatchLoss, Component, Cost, Gradient, Perturbation};

/// ∇f_γ(x): what SGD descends. One forward and one backward pass.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Plain;

impl Component for Plain {}

impl Perturbation for Plain {
    fn gradient(&mut self, loss: BatchLoss) -> Result<Gradient> {
        loss.gradient()
    }

    fn goes_together(&self, _: BatchLoss) -> Result<bool> {
        Ok(true)
    }

    fn together(&mut self, loss: BatchLoss, size: usize) -> Result<Gradient> {
        loss.gradient_in_micro_batches(size)
    }

    fn cost(&self, _: usize) -> Cost {
        Cost::passes(1.)
    }
}

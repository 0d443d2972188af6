//! The simplest way to combine two gradients: the second alone.

use candle_core::Result;
use msharp_core::{Combine, Component, ParamVec, Passes, Uphill};

/// The gradient s at x + ε alone, as SAM descends.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Descend;

impl Component for Descend {}

impl<U: Uphill> Combine<U> for Descend {
    fn combine(&mut self, passes: &mut Passes<U>) -> Result<ParamVec> {
        passes.sharp()
    }

    fn is_sharp_alone(&self) -> bool {
        true
    }
}

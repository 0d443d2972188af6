//! The simplest way to combine two gradients: forget the first.

use candle_core::Result;
use msharp_core::{Combine, ParamVec, Passes};

/// The gradient s at x + ε alone, as SAM descends.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Descend;

impl Combine for Descend {
    fn combine(&mut self, passes: &mut Passes) -> Result<ParamVec> {
        passes.sharp()
    }
}

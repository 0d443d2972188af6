//! The sharp direction at the length of the clean gradient: Stable SAM.

use candle_core::Result;
use msharp_core::{Combine, Component, ParamVec, Passes, Rescale};

/// ‖g‖ s/‖s‖, for g at x and s at x + ε: a large ρ cannot make steps longer.
///
/// Reference: SSAM (Tan et al. 2024).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stable;

impl Component for Stable {}

impl Combine for Stable {
    fn combine(&mut self, passes: &mut Passes) -> Result<ParamVec> {
        let sharp = passes.sharp()?;
        Ok(sharp.scale_to(Rescale::Relative(1., &passes.clean().refs()))?.0)
    }
}

//! Between the raw gradient and the L2 ball.

use candle_core::Result;
use msharp_core::{Batch, Length, Objective, Offset, ParamVec, Params};

/// ε = ρ (1 − l + l/‖g‖) g: USAM for l = 0, SAM for l = 1.
///
/// Reference: Unified SAM (Oikonomou, Loizou 2025).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unified {
    /// ρ ≥ 0.
    pub rho: f64,
    /// l from 0 to 1: how much is normalised.
    pub l: f64,
}

impl Offset for Unified {
    fn offset(&mut self, _: &dyn Objective, _: &Params, _: &Batch, g: &ParamVec) -> Result<ParamVec> {
        g.scale_to(Length::Of(self.rho * self.l))?.0.add_scaled(self.rho * (1. - self.l), g)
    }
}

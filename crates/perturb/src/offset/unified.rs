//! Between the gradient itself and the gradient rescaled to length ρ.

use crate::L2;
use candle_core::Result;
use msharp_core::{BatchLoss, Component, Offset, ParamVec, Params, Range, Rescale};

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

impl Unified {
    /// What l may be.
    pub const L: Range = Range::SHARE;
}

impl Component for Unified {
    fn own_check(&self, _: &Params) -> Result<()> {
        L2::RHO.check("rho", self.rho)?;
        Self::L.check("l", self.l)
    }
}

impl Offset for Unified {
    fn offset(&mut self, _: BatchLoss, g: &ParamVec) -> Result<ParamVec> {
        g.scale_to(Rescale::Of(self.rho * self.l))?.0.add_scaled(self.rho * (1. - self.l), g)
    }

    fn factors(&self, _: BatchLoss, squares: &[f64]) -> Result<Option<Vec<f64>>> {
        let length = squares.iter().sum::<f64>().sqrt();
        Ok(Some(vec![self.rho * (self.l / (length + 1e-12) + 1. - self.l); squares.len()]))
    }
}

//! The gradient itself, unnormalised: USAM.

use crate::L2;
use candle_core::Result;
use msharp_core::{BatchLoss, Component, Offset, ParamVec, Params};

/// ε = ρ g.
///
/// Reference: USAM (Andriushchenko & Flammarion, ICML 2022); its SDE is closed in form (Luo et al., NeurIPS 2025).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Raw {
    /// ρ ≥ 0, a step size rather than a radius.
    pub rho: f64,
}

impl Component for Raw {
    fn own_check(&self, _: &Params) -> Result<()> {
        L2::RHO.check("rho", self.rho)
    }
}

impl Offset for Raw {
    fn offset(&mut self, _: BatchLoss, g: &ParamVec) -> Result<ParamVec> {
        g.scale(self.rho)
    }

    fn factors(&self, _: BatchLoss, squares: &[f64]) -> Result<Option<Vec<f64>>> {
        Ok(Some(vec![self.rho; squares.len()]))
    }
}

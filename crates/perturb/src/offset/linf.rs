//! The sign of the gradient, times ρ.

use crate::L2;
use candle_core::Result;
use msharp_core::{BatchLoss, Component, Offset, ParamVec, Params};

/// ε = ρ sign(g), the maximiser of ⟨g, ε⟩ over |εⱼ| ≤ ρ; where gⱼ = 0, εⱼ = 0.
///
/// Reference: SAM with p = ∞ (Foret et al., ICLR 2021, eq. 2); element-wise adaptive with
/// [`Adaptive`](crate::Adaptive).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Linf {
    /// ρ ≥ 0: how far each parameter moves.
    pub rho: f64,
}

impl Component for Linf {
    fn own_check(&self, _: &Params) -> Result<()> {
        L2::RHO.check("rho", self.rho)
    }
}

impl Offset for Linf {
    fn offset(&mut self, loss: BatchLoss, g: &ParamVec) -> Result<ParamVec> {
        g.map(loss.params, |_, g| g.sign())?.scale(self.rho)
    }
}

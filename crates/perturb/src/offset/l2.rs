//! The gradient, rescaled to length ρ.

use candle_core::Result;
use msharp_core::{BatchLoss, Component, Offset, ParamVec, Params, Range, Rescale};

/// ε = ρ g/‖g‖, the maximiser of ⟨g, ε⟩ over ‖ε‖ ≤ ρ; ‖·‖ is over all parameters together.
///
/// ‖g‖ + 10⁻¹² divides, so a zero gradient gives ε = 0.
///
/// Reference: SAM (Foret et al., ICLR 2021, eq. 2).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct L2 {
    /// ρ ≥ 0, the radius.
    pub rho: f64,
}

impl L2 {
    /// What ρ may be, here and in every other offset.
    pub const RHO: Range = Range::AT_LEAST_0;
}

impl Component for L2 {
    fn own_check(&self, _: &Params) -> Result<()> {
        Self::RHO.check("rho", self.rho)
    }
}

impl Offset for L2 {
    fn offset(&mut self, _: BatchLoss, g: &ParamVec) -> Result<ParamVec> {
        Ok(g.scale_to(Rescale::Of(self.rho))?.0)
    }

    fn factors(&self, _: BatchLoss, squares: &[f64]) -> Result<Option<Vec<f64>>> {
        let length = squares.iter().sum::<f64>().sqrt();
        Ok(Some(vec![self.rho / (length + 1e-12); squares.len()]))
    }
}

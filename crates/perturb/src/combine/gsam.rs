//! Surrogate gap: GSAM.

use candle_core::Result;
use msharp_core::{Combine, Component, ParamVec, Params, Passes, Range};

/// s − α g⊥, for the part g⊥ of the gradient at x that is orthogonal to s, the one at x + ε: it lowers f(x + ε) − f(x)
/// without changing f(x + ε) to first order.
///
/// Reference: GSAM (Zhuang et al., ICLR 2022), which also lets ρ follow the learning rate:
/// [`RhoSchedule::ByLearningRate`](crate::RhoSchedule).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gsam {
    /// α ≥ 0.
    pub alpha: f64,
}

impl Gsam {
    /// What α may be.
    pub const ALPHA: Range = Range::AT_LEAST_0;
}

impl Component for Gsam {
    fn own_check(&self, _: &Params) -> Result<()> {
        Self::ALPHA.check("alpha", self.alpha)
    }
}

impl Combine for Gsam {
    fn combine(&mut self, passes: &mut Passes) -> Result<ParamVec> {
        let sharp = passes.sharp()?;
        let g = passes.clean();
        let orthogonal = g.add_scaled(-1., &sharp.nearest_to(g)?)?;
        sharp.add_scaled(-self.alpha, &orthogonal)
    }
}

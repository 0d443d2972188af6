//! A weighted mean of two gradients: the penalty on the gradient norm, and WSAM.

use candle_core::{Result, bail};
use msharp_core::{Combine, Component, ParamVec, Params, Passes, Range};

/// (1 − α) g + α s, for g at x and s at x + ε.
///
/// α = 1 is SAM; α = λ/ρ penalises the gradient norm, λ‖∇f‖, with a Hessian-vector product by one difference (PGN);
/// α = γ/(1 − γ) is WSAM, which exceeds 1 for γ > ½. WSAM is here in its coupled form: the published default applies
/// the difference s − g after the optimizer, which is the same for SGD without momentum.
///
/// Reference: PGN (Zhao et al., ICML 2022); WSAM (Yue et al., KDD 2023).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Blend {
    /// α.
    pub alpha: f64,
}

impl Blend {
    /// What α may be.
    pub const ALPHA: Range = Range::AT_LEAST_0;
    /// What γ may be, of which α = γ/(1 − γ) makes WSAM.
    pub const GAMMA: Range = Range::BELOW_1;

    /// WSAM, α = γ/(1 − γ).
    pub fn wsam(gamma: f64) -> Self {
        Self { alpha: gamma / (1. - gamma) }
    }
}

impl Component for Blend {
    fn own_check(&self, _: &Params) -> Result<()> {
        if !Self::ALPHA.holds(self.alpha) {
            bail!(
                "alpha is {}; expected {}, which α = γ/(1 − γ) is for γ in WSAM {}",
                self.alpha,
                Self::ALPHA,
                Self::GAMMA
            )
        }
        Ok(())
    }
}

impl Combine for Blend {
    fn combine(&mut self, passes: &mut Passes) -> Result<ParamVec> {
        let sharp = passes.sharp()?;
        passes.clean().scale(1. - self.alpha)?.add_scaled(self.alpha, &sharp)
    }
}

//! The second pass only where the gradient is long: AE-SAM.

use candle_core::Result;
use msharp_core::{Combine, Component, ParamVec, Params, Passes, Range, State};

/// s at x + ε where ‖g‖² ≥ μ + c σ, and g at x elsewhere, for moving averages μ of ‖g‖² and σ² of (‖g‖² − μ)².
///
/// c goes linearly from `early` at the beginning of the run to `late` at its end, so that the second pass becomes more
/// frequent. Reports `sharp_steps`, 1 or 0. Cost: the pass at x + ε in such steps; a host-device synchronisation on a
/// GPU in each. State: μ and σ². Errors: a batch without a training point.
///
/// Reference: AE-SAM (Jiang et al., ICLR 2023).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AeSam {
    /// c at the beginning, 1 as published (λ₂).
    pub early: f64,
    /// c at the end, −1 as published (λ₁).
    pub late: f64,
    /// δ: how much of the averages a step keeps, 0.9 as published.
    pub delta: f64,
    /// μ
    mean: f64,
    /// σ²
    variance: f64,
}

impl AeSam {
    /// Before the first step: μ = 0, σ² = e⁻¹⁰.
    pub fn new(early: f64, late: f64, delta: f64) -> Self {
        Self { early, late, delta, mean: 0., variance: (-10f64).exp() }
    }
}

impl Default for AeSam {
    /// The published constants.
    fn default() -> Self {
        Self::new(1., -1., 0.9)
    }
}

impl Component for AeSam {
    fn own_state(&mut self, _: &Params, state: &mut State) -> Result<()> {
        state.number("mean", &mut self.mean)?;
        state.number("variance", &mut self.variance)
    }

    fn own_check(&self, _: &Params) -> Result<()> {
        Range::FINITE.check("early", self.early)?;
        Range::FINITE.check("late", self.late)?;
        Range::BELOW_1.check("delta", self.delta)
    }
}

impl Combine for AeSam {
    fn combine(&mut self, passes: &mut Passes) -> Result<ParamVec> {
        let measured = passes.clean().squared_norm()?;
        let squared = measured.to_scalar::<f64>()?;
        let average = |old: f64, new: f64| self.delta * old + (1. - self.delta) * new;
        let mean = average(self.mean, squared);
        let variance = average(self.variance, (squared - mean).powi(2));
        let progress = passes.batch().training_point()?.progress;
        let c = (1. - progress) * self.early + progress * self.late;
        let is_steep = squared >= mean + c * variance.sqrt();
        passes.measure("sharp_steps", measured.affine(0., f64::from(is_steep))?);
        let direction = if is_steep { passes.sharp()? } else { passes.clean().clone() };
        if squared.is_finite() {
            (self.mean, self.variance) = (mean, variance); // a step that failed may be tried again
        }
        Ok(direction)
    }
}

//! The sharp part of the gradient, kept for some steps: LookSAM.

use candle_core::Result;
use msharp_core::{Combine, Length, ParamVec, Params, Passes, State};

/// Every k-th step, the first included, descends s at x + ε, and keeps its part v = s − ⟨s, g⟩g/‖g‖² orthogonal to g at
/// x. Those between descend g + α ‖g‖ v/‖v‖, without the second pass.
///
/// Cost: the pass at x + ε in every k-th step. State: v and the number of steps.
///
/// Reference: LookSAM (Liu et al., CVPR 2022). Norms are over all parameters, as published; implementations that take
/// them tensor by tensor differ.
#[derive(Clone, Debug)]
pub struct Look {
    /// k ≥ 1, 5 as published; 1 is SAM.
    pub every: usize,
    /// α, 0.7 as published.
    pub alpha: f64,
    /// v, once there was a step.
    pub v: Option<ParamVec>,
    /// The number of steps made.
    pub step: f64,
}

impl Look {
    /// No step was made yet.
    pub fn new(every: usize, alpha: f64) -> Self {
        Self { every, alpha, v: None, step: 0. }
    }
}

impl Combine for Look {
    fn combine(&mut self, passes: &mut Passes) -> Result<ParamVec> {
        let due = (self.step as usize).is_multiple_of(self.every.max(1));
        let direction = match &self.v {
            Some(v) if !due => {
                let g = passes.clean()?;
                g.add_scaled(self.alpha, &v.scale_to(Length::Relative(1., &g.each()))?.0)?
            }
            _ => {
                let sharp = passes.sharp()?;
                self.v = Some(sharp.add_scaled(-1., &passes.clean()?.nearest_to(&sharp)?)?);
                sharp
            }
        };
        self.step += 1.; // a step that failed may be tried again
        Ok(direction)
    }

    fn state(&mut self, params: &Params, state: &mut State) -> Result<()> {
        state.vector("v", params, &mut self.v)?;
        state.number("step", &mut self.step)
    }
}

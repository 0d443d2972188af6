//! The sharp part of the gradient, kept for some steps: LookSAM.

use candle_core::Result;
use msharp_core::{Combine, Length, ParamVec, Params, Passes, Range, State, at_least_1};

/// Every k-th step, the first included, descends s at x + ε, and keeps its part v = s − ⟨s, g⟩g/‖g‖² orthogonal to g at
/// x. Those between descend g + α ‖g‖ v/‖v‖, without the second pass.
///
/// Cost: the pass at x + ε in every k-th step. Inside [`Micro`](crate::Micro) a step is the optimizer's, and v the mean
/// over its micro-batches. State: v and the number of steps.
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
    /// The number of optimizer steps made: micro-batches of one step are all in it.
    pub step: f64,
}

impl Look {
    /// What α may be.
    pub const ALPHA: Range = Range::AT_LEAST_0;

    /// No step was made yet.
    pub fn new(every: usize, alpha: f64) -> Self {
        Self { every, alpha, v: None, step: 0. }
    }
}

impl Combine for Look {
    fn combine(&mut self, passes: &mut Passes) -> Result<ParamVec> {
        let (due, part) = ((self.step as usize).is_multiple_of(self.every), passes.batch().part);
        let direction = match &self.v {
            Some(v) if !due => {
                let g = passes.clean()?;
                g.add_scaled(self.alpha, &v.scale_to(Length::Relative(1., &g.each()))?.0)?
            }
            _ => {
                let sharp = passes.sharp()?;
                let v = sharp.add_scaled(-1., &passes.clean()?.nearest_to(&sharp)?)?;
                self.v = Some(match &self.v {
                    Some(mean) if !part.first => mean.add_scaled(part.share, &v)?,
                    _ => v.scale(part.share)?,
                });
                sharp
            }
        };
        // A step that failed may be tried again; one in micro-batches is made when its last one is.
        self.step += f64::from(u8::from(part.last));
        Ok(direction)
    }

    fn state(&mut self, params: &Params, state: &mut State) -> Result<()> {
        state.vector("v", params, &mut self.v)?;
        state.number("step", &mut self.step)
    }

    fn check(&self, _: &Params) -> Result<()> {
        at_least_1("k", self.every)?;
        Self::ALPHA.check("alpha", self.alpha)
    }
}

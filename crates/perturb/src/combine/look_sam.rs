//! The sharp part of the gradient, kept for some steps: LookSAM.

use candle_core::Result;
use msharp_core::{Combine, Component, Cost, ParamVec, Params, Passes, Range, Rescale, State, at_least_1};

/// Every k-th step, the first included, descends s at x + ε, and keeps its part v = s − ⟨s, g⟩g/‖g‖² orthogonal to g at
/// x. Those between descend g + α ‖g‖ v/‖v‖, without the second pass.
///
/// Cost: the pass at x + ε in every k-th step. Inside [`Micro`](crate::Micro) a step is the optimizer's, and v the mean
/// over its micro-batches. State: v and the number of steps.
///
/// Reference: LookSAM (Liu et al., CVPR 2022). Norms are over all parameters, as published; implementations that take
/// them tensor by tensor differ.
#[derive(Clone, Debug)]
pub struct LookSam {
    /// k ≥ 1, 5 as published; 1 is SAM.
    pub k: usize,
    /// α, 0.7 as published.
    pub alpha: f64,
    /// v, once there was a step.
    v: Option<ParamVec>,
    /// Optimizer steps made: the micro-batches of a step count once.
    step: u64,
}

impl LookSam {
    /// What α may be.
    pub const ALPHA: Range = Range::AT_LEAST_0;

    /// Before the first step.
    pub fn new(k: usize, alpha: f64) -> Self {
        Self { k, alpha, v: None, step: 0 }
    }
}

impl Component for LookSam {
    fn own_state(&mut self, params: &Params, state: &mut State) -> Result<()> {
        state.vector("v", params, &mut self.v)?;
        state.count("step", &mut self.step)
    }

    fn own_check(&self, _: &Params) -> Result<()> {
        at_least_1("k", self.k)?;
        Self::ALPHA.check("alpha", self.alpha)
    }
}

impl Combine for LookSam {
    fn combine(&mut self, passes: &mut Passes) -> Result<ParamVec> {
        let (due, part) = (self.step.is_multiple_of(self.k as u64), passes.batch().part);
        let direction = match &self.v {
            Some(v) if !due => {
                let g = passes.clean();
                g.add_scaled(self.alpha, &v.scale_to(Rescale::Relative(1., &g.refs()))?.0)?
            }
            _ => {
                let sharp = passes.sharp()?;
                let v = sharp.add_scaled(-1., &passes.clean().nearest_to(&sharp)?)?;
                self.v = Some(match &self.v {
                    Some(mean) if !part.first => mean.add_scaled(part.share, &v)?,
                    _ => v.scale(part.share)?,
                });
                sharp
            }
        };
        // A step that failed may be tried again; one in micro-batches is made when its last one is.
        self.step += u64::from(part.last);
        Ok(direction)
    }

    fn cost(&self, _: usize) -> Cost {
        Cost::passes(1. / self.k as f64)
    }
}

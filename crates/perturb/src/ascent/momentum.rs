//! The moving average of what was descended: MSAM, which needs no pass at x.

use candle_core::Result;
use msharp_core::{Ascent, BatchLoss, Component, Cost, Direction, ParamVec, Params, Range, State};

/// −v for v ← μ v + d, d being the direction that the rule returned in each step before.
///
/// Cost: no pass, so that a rule with it makes one forward and one backward pass, at x + ε; it reports no losses at x,
/// and running statistics move at x + ε. State: v, 0 at first.
///
/// The published rule looks along −v, *ahead* in the direction of descent, and v is the optimizer's momentum buffer.
/// Here it is the rule's own, so that any optimizer steps with the result; with SGD of the same μ, without dampening
/// and weight decay, the two are one.
///
/// Reference: MSAM (Becker, Altrock, Risse 2024).
#[derive(Clone, Debug)]
pub struct Momentum {
    /// μ, from 0 to below 1.
    pub mu: f64,
    /// v, once there was a step.
    v: Option<ParamVec>,
}

impl Momentum {
    /// What μ may be.
    pub const MU: Range = Range::BELOW_1;

    /// Before the first step.
    pub fn new(mu: f64) -> Self {
        Self { mu, v: None }
    }
}

impl Component for Momentum {
    fn own_state(&mut self, params: &Params, state: &mut State) -> Result<()> {
        state.vector("v", params, &mut self.v)
    }

    fn own_check(&self, _: &Params) -> Result<()> {
        Self::MU.check("mu", self.mu)
    }
}

impl Ascent for Momentum {
    type Uphill = Direction;

    fn ascend(&mut self, loss: BatchLoss) -> Result<Direction> {
        Ok(Direction(match &self.v {
            Some(v) => v.scale(-1.)?,
            None => ParamVec::zeros(loss.params)?,
        }))
    }

    fn learn(&mut self, direction: &ParamVec) -> Result<()> {
        self.v = Some(match &self.v {
            Some(v) => direction.add_scaled(self.mu, v)?,
            None => direction.clone(),
        });
        Ok(())
    }

    fn cost(&self, _: usize) -> Cost {
        Cost::passes(0.)
    }
}

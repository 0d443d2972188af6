//! The batch-specific part of the gradient: Friendly SAM.

use candle_core::Result;
use msharp_core::{BatchLoss, Component, Cost, Offset, ParamVec, Params, Range, State, parts};

/// The offset of g − σ m, for the moving average m ← λ m + (1 − λ) g.
///
/// m stands for the full gradient, and what is left of g for the noise of the batch. State: m, 0 at first.
///
/// Reference: F-SAM (Li et al., CVPR 2024). The published code takes m from before its update and starts with g; for
/// σ = 1 only the start makes a difference to a direction.
#[derive(Clone, Debug)]
pub struct Friendly<O> {
    /// What is made of the difference.
    pub inner: O,
    /// σ, 1 as published.
    pub sigma: f64,
    /// λ from 0 to below 1: how much of the average is kept.
    pub lambda: f64,
    /// The average, once there was a step.
    mean: Option<ParamVec>,
}

impl<O> Friendly<O> {
    /// Before the first step.
    pub fn new(inner: O, sigma: f64, lambda: f64) -> Self {
        Self { inner, sigma, lambda, mean: None }
    }
}

impl Friendly<()> {
    /// What σ may be.
    pub const SIGMA: Range = Range::AT_LEAST_0;
    /// What λ may be.
    pub const LAMBDA: Range = Range::BELOW_1;
}

impl<O: Offset> Component for Friendly<O> {
    parts!(inner);

    fn own_state(&mut self, params: &Params, state: &mut State) -> Result<()> {
        state.vector("mean", params, &mut self.mean)
    }

    fn own_check(&self, _: &Params) -> Result<()> {
        Friendly::SIGMA.check("sigma", self.sigma)?;
        Friendly::LAMBDA.check("lambda", self.lambda)
    }
}

impl<O: Offset> Offset for Friendly<O> {
    fn offset(&mut self, loss: BatchLoss, g: &ParamVec) -> Result<ParamVec> {
        let fresh = g.scale(1. - self.lambda)?;
        let mean = match &self.mean {
            Some(mean) => fresh.add_scaled(self.lambda, mean)?,
            None => fresh,
        };
        let noise = g.add_scaled(-self.sigma, &mean)?;
        let epsilon = self.inner.offset(loss, &noise)?;
        self.mean = Some(mean);
        Ok(epsilon)
    }

    fn cost(&self, samples: usize) -> Cost {
        self.inner.cost(samples)
    }
}

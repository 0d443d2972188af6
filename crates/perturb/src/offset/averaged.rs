//! A moving average of the gradient: VaSSO.

use candle_core::Result;
use msharp_core::{BatchLoss, Component, Cost, Offset, ParamVec, Params, Range, State, parts};

/// The offset of d ← (1 − θ) d + θ g, whose noise is less than that of g. The opposite of
/// [`Friendly`](crate::Friendly).
///
/// State: d, the first gradient at first.
///
/// Reference: VaSSO (Li, Giannakis, NeurIPS 2023).
#[derive(Clone, Debug)]
pub struct Averaged<O> {
    /// What is made of the average.
    pub inner: O,
    /// θ from above 0 to 1: how much of the new gradient is taken.
    pub theta: f64,
    /// The average, once there was a step.
    mean: Option<ParamVec>,
}

impl<O> Averaged<O> {
    /// Before the first step.
    pub fn new(inner: O, theta: f64) -> Self {
        Self { inner, theta, mean: None }
    }
}

impl Averaged<()> {
    /// What θ may be.
    pub const THETA: Range = Range::SHARE_ABOVE_0;
}

impl<O: Offset> Component for Averaged<O> {
    parts!(inner);

    fn own_state(&mut self, params: &Params, state: &mut State) -> Result<()> {
        state.vector("mean", params, &mut self.mean)
    }

    fn own_check(&self, _: &Params) -> Result<()> {
        Averaged::THETA.check("theta", self.theta)
    }
}

impl<O: Offset> Offset for Averaged<O> {
    fn offset(&mut self, loss: BatchLoss, g: &ParamVec) -> Result<ParamVec> {
        let mean = match &self.mean {
            Some(mean) => mean.scale(1. - self.theta)?.add_scaled(self.theta, g)?,
            None => g.clone(),
        };
        let epsilon = self.inner.offset(loss, &mean)?;
        self.mean = Some(mean);
        Ok(epsilon)
    }

    fn cost(&self, samples: usize) -> Cost {
        self.inner.cost(samples)
    }
}

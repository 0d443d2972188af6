//! Gradients of bounded length, at a defined point: what is clipped is what goes into an offset or comes out of a rule.

use candle_core::Result;
use msharp_core::{BatchLoss, Component, Cost, Gradient, Offset, ParamVec, Params, Perturbation, Range, parts};

/// Around an offset, the ascent gradient that goes *into* it is shortened to `max_norm`: of use for USAM, whose ε grows
/// with it. Around a rule, the direction that comes *out of* it is, before the optimizer sees it: what is called
/// gradient clipping in training.
///
/// Shorter ones stay as they are. Norms are over all parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clipped<T> {
    /// What is clipped before or after.
    pub inner: T,
    /// The length, > 0.
    pub max_norm: f64,
}

impl Clipped<()> {
    /// What the length may be.
    pub const MAX_NORM: Range = Range::ABOVE_0;
}

impl<T: Component> Component for Clipped<T> {
    parts!(inner);

    fn own_check(&self, _: &Params) -> Result<()> {
        Clipped::MAX_NORM.check("the length to clip to", self.max_norm)
    }
}

impl<O: Offset> Offset for Clipped<O> {
    fn offset(&mut self, loss: BatchLoss, g: &ParamVec) -> Result<ParamVec> {
        self.inner.offset(loss, &g.clipped(self.max_norm)?)
    }

    fn factors(&self, loss: BatchLoss, squares: &[f64]) -> Result<Option<Vec<f64>>> {
        let length = squares.iter().sum::<f64>().sqrt();
        let own = 1. / (length / self.max_norm).max(1.);
        let clipped: Vec<f64> = squares.iter().map(|square| own * own * square).collect();
        let factors = self.inner.factors(loss, &clipped)?;
        Ok(factors.map(|factors| factors.into_iter().map(|c| own * c).collect()))
    }

    fn cost(&self, samples: usize) -> Cost {
        self.inner.cost(samples)
    }
}

impl<P: Perturbation> Perturbation for Clipped<P> {
    fn gradient(&mut self, loss: BatchLoss) -> Result<Gradient> {
        Clipped::MAX_NORM.check("the length to clip to", self.max_norm)?;
        let step = self.inner.gradient(loss)?;
        Ok(Gradient { grads: step.grads.clipped(self.max_norm)?, ..step })
    }

    fn cost(&self, samples: usize) -> Cost {
        self.inner.cost(samples)
    }
}

//! Several ascent steps.

use candle_core::Result;
use msharp_core::{Batch, BatchLoss, Component, Cost, Offset, ParamVec, Params, Part, at_least_1, parts};

/// ε = ε₁ + … + ε_K: the first is what `inner` makes of g, and each further one what it makes of the mean gradient at
/// the point reached. With steps of radius ρ/K the end is within ρ.
///
/// A moving average inside advances K times a step: put it around this.
///
/// Cost: K − 1 forwards and backwards besides those of the rule.
///
/// Reference: SAM with several inner steps (Foret et al., ICLR 2021, appendix; Andriushchenko, Flammarion, ICML 2022).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Steps<O> {
    /// One step.
    pub inner: O,
    /// K ≥ 1.
    pub steps: usize,
}

impl<O: Offset> Component for Steps<O> {
    parts!(inner);

    fn own_check(&self, _: &Params) -> Result<()> {
        at_least_1("the number of ascent steps", self.steps)
    }
}

impl<O: Offset> Offset for Steps<O> {
    fn offset(&mut self, loss: BatchLoss, g: &ParamVec) -> Result<ParamVec> {
        // What counts optimizer steps in `inner` counts one, with the last of these.
        let of = |k: usize| {
            let whole = loss.batch.part;
            let part = Part { first: whole.first && k == 0, last: whole.last && k + 1 == self.steps, ..whole };
            Batch { part, ..loss.batch.clone() }
        };
        let mut epsilon = self.inner.offset(loss.of(&of(0)), g)?;
        for k in 1..self.steps {
            let g = loss.gradient_at(&epsilon)?.grads;
            epsilon = epsilon.add_scaled(1., &self.inner.offset(loss.of(&of(k)), &g)?)?;
        }
        Ok(epsilon)
    }

    fn cost(&self, samples: usize) -> Cost {
        Cost::passes(self.steps as f64 - 1.) + self.steps as f64 * self.inner.cost(samples)
    }
}

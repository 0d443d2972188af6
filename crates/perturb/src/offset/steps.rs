//! Several ascent steps.

use candle_core::Result;
use msharp_core::{Batch, Objective, Offset, ParamVec, Params, Part, State, at_least_1, gradient_at};

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

impl<O: Offset> Offset for Steps<O> {
    fn offset(&mut self, f: &dyn Objective, params: &Params, batch: &Batch, g: &ParamVec) -> Result<ParamVec> {
        // What counts optimizer steps in `inner` counts one, with the last of these.
        let of = |k: usize| {
            let Part { first, last, share } = batch.part;
            Batch { part: Part { first: first && k == 0, last: last && k + 1 == self.steps, share }, ..batch.clone() }
        };
        let mut epsilon = self.inner.offset(f, params, &of(0), g)?;
        for k in 1..self.steps {
            let g = gradient_at(f, params, batch, Some(&epsilon), None)?.grads;
            epsilon = epsilon.add_scaled(1., &self.inner.offset(f, params, &of(k), &g)?)?;
        }
        Ok(epsilon)
    }

    fn state(&mut self, params: &Params, state: &mut State) -> Result<()> {
        self.inner.state(params, &mut state.part("inner"))
    }

    fn check(&self, params: &Params) -> Result<()> {
        at_least_1("the number of ascent steps", self.steps)?;
        self.inner.check(params)
    }

    fn name(&self) -> String {
        format!("Steps({})", self.inner.name())
    }
}

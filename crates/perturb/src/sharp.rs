//! The two passes, written once.

use candle_core::Result;
use msharp_core::{Ascent, Batch, Combine, Gradient, Objective, Offset, Params, Passes, Perturbation, State};

/// A rule as a sentence: ascend, displace, take the gradient there, combine.
///
/// Cost: the ascent's passes, and one forward and one backward at x + ε in the steps in which the combination asks for
/// them. It reports the mean loss at x + ε as `sharp_loss`. State: that of its words. Running statistics of
/// norm layers move in the ascent's pass at x and not in the displaced one.
#[derive(Clone, Debug)]
pub struct Sharp<A, O, C = crate::Descend> {
    /// Where the ascent gradient comes from.
    pub ascent: A,
    /// How it becomes an offset ε.
    pub offset: O,
    /// How the ascent gradient and the one at x + ε combine.
    pub combine: C,
}

impl<A: Ascent, O: Offset, C: Combine> Perturbation for Sharp<A, O, C> {
    fn gradient(&mut self, f: &dyn Objective, params: &Params, batch: &Batch) -> Result<Gradient> {
        self.check(params)?;
        let uphill = self.ascent.ascend(f, params, batch)?;
        let mut passes = Passes::new(f, params, batch, uphill, self.ascent.at_x(), &mut self.offset);
        let direction = self.combine.combine(&mut passes)?;
        let step = passes.finish(direction);
        self.ascent.learn(&step.grads)?;
        Ok(step)
    }

    fn state(&mut self, params: &Params, state: &mut State) -> Result<()> {
        self.ascent.state(params, &mut state.part("ascent"))?;
        self.offset.state(params, &mut state.part("offset"))?;
        self.combine.state(params, &mut state.part("combine"))
    }

    fn check(&self, params: &Params) -> Result<()> {
        self.ascent.check(params)?;
        self.offset.check(params)?;
        self.combine.check(params)
    }

    fn name(&self) -> String {
        format!("{} × {} × {}", self.ascent.name(), self.offset.name(), self.combine.name())
    }
}

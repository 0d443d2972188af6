//! The two passes, written once.

use candle_core::Result;
use msharp_core::{Ascent, Batch, Combine, Gradient, Objective, Offset, Params, Perturbation, State, gradient_at};

/// A rule as a sentence: ascend, displace, take the mean gradient there, combine.
///
/// Cost: the ascent's passes, and one forward and one backward at x + ε. State: that of its words. Running statistics of
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
        let Gradient { losses, grads: g, measures } = self.ascent.ascend(f, params, batch)?;
        let epsilon = self.offset.offset(params, &g)?;
        let sharp = gradient_at(f, params, batch, Some(&epsilon), None)?.grads;
        Ok(Gradient { losses, grads: self.combine.combine(g, sharp)?, measures })
    }

    fn state(&mut self, params: &Params, state: &mut State) -> Result<()> {
        self.ascent.state(params, &mut state.part("ascent"))?;
        self.offset.state(params, &mut state.part("offset"))?;
        self.combine.state(params, &mut state.part("combine"))
    }
}

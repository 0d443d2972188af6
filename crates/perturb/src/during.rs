//! A rule during a part of the run, and the plain gradient before and after.

use crate::Plain;
use candle_core::Result;
use msharp_core::{Batch, Gradient, Objective, Params, Perturbation, State};

/// The rule `inner` while the [progress](msharp_core::Moment) of the run is in `start..end`; else the plain gradient.
///
/// Cost: that of `inner`, or 1 forward and 1 backward. State: that of `inner`.
///
/// Reference: SAM at the end of training only is nearly as good (Andriushchenko, Flammarion, ICML 2022, §4.2).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct During<P> {
    /// The rule.
    pub inner: P,
    /// The share of the run before it.
    pub start: f64,
    /// The share of the run at its end; 1 is the end of the run.
    pub end: f64,
}

impl<P: Perturbation> Perturbation for During<P> {
    fn gradient(&mut self, f: &dyn Objective, params: &Params, batch: &Batch) -> Result<Gradient> {
        if (self.start..self.end).contains(&batch.moment.progress) {
            return self.inner.gradient(f, params, batch);
        }
        Plain.gradient(f, params, batch)
    }

    fn state(&mut self, params: &Params, state: &mut State) -> Result<()> {
        self.inner.state(params, &mut state.part("inner"))
    }
}

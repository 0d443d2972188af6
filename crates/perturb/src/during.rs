//! A rule during a part of the run, and the plain gradient before and after.

use crate::Plain;
use candle_core::{Result, bail};
use msharp_core::{Batch, Gradient, Objective, Params, Perturbation, Range, State};

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

impl<P> During<P> {
    fn check_part(&self) -> Result<()> {
        let Self { start, end, .. } = *self;
        if !(Range::SHARE.holds(start) && Range::SHARE.holds(end) && start < end) {
            bail!("a part of the run is from {start} to {end}; expected 0 ≤ start < end ≤ 1")
        }
        Ok(())
    }
}

impl<P: Perturbation> Perturbation for During<P> {
    fn gradient(&mut self, f: &dyn Objective, params: &Params, batch: &Batch) -> Result<Gradient> {
        self.check_part()?;
        if (self.start..self.end).contains(&batch.moment.progress) {
            return self.inner.gradient(f, params, batch);
        }
        Plain.gradient(f, params, batch)
    }

    fn state(&mut self, params: &Params, state: &mut State) -> Result<()> {
        self.inner.state(params, &mut state.part("inner"))
    }

    fn check(&self, params: &Params) -> Result<()> {
        self.check_part()?;
        self.inner.check(params)
    }

    fn name(&self) -> String {
        format!("During({})", self.inner.name())
    }
}

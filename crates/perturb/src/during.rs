//! A rule during a part of the run, and the plain gradient before and after.

use crate::Plain;
use candle_core::{Result, bail};
use msharp_core::{BatchLoss, Component, Cost, Gradient, Params, Perturbation, Range, parts};

/// The rule `inner` while the [progress](msharp_core::TrainingPoint) of the run is in `start..end`; else the plain
/// gradient.
///
/// Cost: that of `inner`, or 1 forward and 1 backward. State: that of `inner`. Errors: a batch without a training
/// point.
///
/// Reference: SAM at the end of training only is nearly as good (Andriushchenko, Flammarion, ICML 2022, §4.2;
/// late-phase SAM: Zhou et al. 2024, arXiv 2410.10373).
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

    fn is_due(&self, loss: BatchLoss) -> Result<bool> {
        self.check_part()?;
        Ok((self.start..self.end).contains(&loss.batch.training_point()?.progress))
    }
}

impl<P: Perturbation> Component for During<P> {
    parts!(inner);

    fn own_check(&self, _: &Params) -> Result<()> {
        self.check_part()
    }
}

impl<P: Perturbation> Perturbation for During<P> {
    fn gradient(&mut self, loss: BatchLoss) -> Result<Gradient> {
        if self.is_due(loss)? { self.inner.gradient(loss) } else { Plain.gradient(loss) }
    }

    fn goes_together(&self, loss: BatchLoss) -> Result<bool> {
        self.inner.goes_together(loss)
    }

    fn together(&mut self, loss: BatchLoss, size: usize) -> Result<Gradient> {
        if self.is_due(loss)? { self.inner.together(loss, size) } else { Plain.together(loss, size) }
    }

    fn cost(&self, samples: usize) -> Cost {
        let share = self.end - self.start;
        share * self.inner.cost(samples) + (1. - share) * Plain.cost(samples)
    }
}

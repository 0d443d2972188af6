//! A radius that changes during training.

use candle_core::Result;
use msharp_core::{BatchLoss, Component, Cost, Offset, ParamVec, Range, TrainingPoint, parts};
use std::f64::consts::PI;

/// A factor on ε, a function of the [`TrainingPoint`] of the batch. Without state: a resumed run goes on exactly.
/// Several
/// [`Steps`](crate::Steps) go around it, so that each step shrinks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scheduled<O> {
    /// The offset at full radius.
    pub inner: O,
    /// How the radius changes.
    pub schedule: RhoSchedule,
}

/// How ρ changes; two of them one inside the other multiply.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RhoSchedule {
    /// Not at all.
    Constant,
    /// From `least` ρ at learning rate 0 to ρ at the base learning rate, linearly; `least` = 0 is proportional to it.
    ///
    /// Reference: GSAM (Zhuang et al., ICLR 2022).
    ByLearningRate {
        /// From 0 to 1.
        least: f64,
    },
    /// Along half a cosine from ρ at the beginning to `end` ρ.
    Cosine {
        /// ≥ 0.
        end: f64,
    },
    /// Linearly from 0 during the first `share` of the run; ρ after it.
    WarmUp {
        /// From 0 to 1.
        share: f64,
    },
}

impl RhoSchedule {
    /// # Errors
    /// If a share is not from 0 to 1, the share of a warm-up is 0, or an end is below 0.
    pub fn check(&self) -> Result<()> {
        match *self {
            RhoSchedule::Constant => Ok(()),
            RhoSchedule::ByLearningRate { least } => Range::SHARE.check("least", least),
            RhoSchedule::Cosine { end } => Range::AT_LEAST_0.check("end", end),
            RhoSchedule::WarmUp { share } => Range::SHARE_ABOVE_0.check("share", share),
        }
    }

    /// What ρ is multiplied with.
    pub fn factor(&self, TrainingPoint { progress, lr_factor, .. }: TrainingPoint) -> f64 {
        match self {
            RhoSchedule::Constant => 1.,
            RhoSchedule::ByLearningRate { least } => least + (1. - least) * lr_factor,
            RhoSchedule::Cosine { end } => end + (1. - end) * 0.5 * (1. + (PI * progress).cos()),
            RhoSchedule::WarmUp { share } if progress < *share => progress / share,
            RhoSchedule::WarmUp { .. } => 1.,
        }
    }
}

impl<O: Offset> Component for Scheduled<O> {
    parts!(inner);

    fn own_check(&self, _: &msharp_core::Params) -> Result<()> {
        self.schedule.check()
    }
}

impl<O: Offset> Offset for Scheduled<O> {
    fn offset(&mut self, loss: BatchLoss, g: &ParamVec) -> Result<ParamVec> {
        self.inner.offset(loss, g)?.scale(self.schedule.factor(loss.batch.training_point()?))
    }

    fn factors(&self, loss: BatchLoss, squares: &[f64]) -> Result<Option<Vec<f64>>> {
        let factor = self.schedule.factor(loss.batch.training_point()?);
        let factors = self.inner.factors(loss, squares)?;
        Ok(factors.map(|factors| factors.into_iter().map(|c| factor * c).collect()))
    }

    fn cost(&self, samples: usize) -> Cost {
        self.inner.cost(samples)
    }
}

//! When in a training run a batch comes: what schedules are functions of.

/// Where training stands. A schedule that is a function of it needs no state, and resumes exactly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    /// The share of all steps that were made before this one, from 0 to below 1.
    pub progress: f64,
    /// The learning rate of this step, relative to the base rate.
    pub lr: f64,
}

impl Default for Moment {
    /// The beginning, at the base rate: what a batch has whose trainer has no schedule.
    fn default() -> Self {
        Self { progress: 0., lr: 1. }
    }
}

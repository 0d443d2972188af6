//! How far a training run has come when a batch is used: what schedules are functions of.

/// Where a step stands in a training run. A schedule that is a function of it needs no state, and resumes exactly.
///
/// `Schedule::at` of msharp-train makes one for each step, and `fit` gives it to every batch. In a loop of your own:
/// `batch.at(schedule.at(step, steps))`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainingPoint {
    /// The share of all steps that were made before this one, from 0 to below 1.
    pub progress: f64,
    /// η, the learning rate of this step.
    pub lr: f64,
    /// η relative to the base learning rate.
    pub lr_factor: f64,
}

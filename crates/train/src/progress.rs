//! How far a run is, and what it measured so far: the part of a checkpoint that is not tensors.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where a run stands. It goes into checkpoints, so sums go on where they stopped.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Complete epochs.
    pub epoch: usize,
    /// Complete steps of the current epoch.
    pub step: usize,
    /// What an epoch is, once a step was made: a run goes on with the same.
    #[serde(default)]
    pub of: Option<Extent>,
    /// The best [score](crate::Observer::score) of an epoch so far, where one is asked for.
    #[serde(default)]
    pub best: Option<f64>,
    /// Over the current epoch, or over the one just completed when an observer is called.
    pub this_epoch: Tally,
    /// Over the whole run.
    pub whole_run: Tally,
}

/// The size of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// Batches.
    pub steps: usize,
    /// Samples.
    pub samples: usize,
}

/// Sums over steps. What is not finite enters none of them, and is counted: a sum can be written, read and gone on
/// with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// Steps taken.
    pub steps: usize,
    /// Samples in their batches.
    pub samples: usize,
    /// Samples that went through a forward pass.
    pub forward: u64,
    /// Samples that went through a backward pass.
    pub backward: u64,
    /// Wall time of the steps, in seconds.
    pub seconds: f64,
    /// Σ of the batches' mean losses, over the steps that had one and where it was read.
    pub loss_sum: f64,
    /// The number of those steps.
    pub loss_steps: usize,
    /// The steps whose loss was read and not finite.
    #[serde(default)]
    pub loss_not_finite: usize,
    /// Each measure, of the rule and of the observer, over the steps in which it was taken and read.
    pub measure_sums: BTreeMap<String, Sum>,
}

/// A sum over some of the steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sum {
    /// Σ of the values that are finite.
    pub sum: f64,
    /// Their number.
    pub steps: usize,
    /// The number of those that are not.
    #[serde(default)]
    pub not_finite: usize,
}

impl Sum {
    fn add(&mut self, value: f64) {
        match self.sum + value {
            sum if sum.is_finite() => (self.sum, self.steps) = (sum, self.steps + 1),
            _ => self.not_finite += 1,
        }
    }
}

/// One step, for an observer.
#[derive(Clone, Debug, PartialEq)]
pub struct StepReport {
    /// The epoch that it belongs to, from 0.
    pub epoch: usize,
    /// Its place in the epoch, from 0.
    pub step: usize,
    /// Steps in an epoch.
    pub steps: usize,
    /// Epochs in the run.
    pub epochs: usize,
    /// Whether the numbers of this step were read: the loss, the norm and the measures.
    pub read: bool,
    /// The mean loss of the batch at x, if it was read and the rule made a clean pass.
    pub loss: Option<f64>,
    /// ‖·‖ of the direction that the optimizer steps with, if it was read.
    pub grad_norm: Option<f64>,
    /// The learning rate.
    pub lr: f64,
    /// Samples in the batch.
    pub samples: usize,
    /// Samples that went forward, and backward.
    pub passes: (u64, u64),
    /// Wall time, the preparation of the batch included.
    pub seconds: f64,
    /// What the rule measured, if it was read.
    pub measures: BTreeMap<&'static str, f64>,
    /// What the observer measured before the step.
    pub observed: BTreeMap<&'static str, f64>,
}

impl Tally {
    /// Adds a step.
    pub fn add(&mut self, report: &StepReport) {
        self.steps += 1;
        self.samples += report.samples;
        self.forward += report.passes.0;
        self.backward += report.passes.1;
        self.seconds += if report.seconds.is_finite() { report.seconds } else { 0. };
        let mut loss = Sum { sum: self.loss_sum, steps: self.loss_steps, not_finite: self.loss_not_finite };
        report.loss.into_iter().for_each(|value| loss.add(value));
        (self.loss_sum, self.loss_steps, self.loss_not_finite) = (loss.sum, loss.steps, loss.not_finite);
        for (name, value) in report.measures.iter().chain(&report.observed) {
            self.measure_sums.entry((*name).to_owned()).or_default().add(*value);
        }
    }

    /// The mean loss of the batches, if the rule made clean passes.
    pub fn loss(&self) -> Option<f64> {
        (self.loss_steps > 0).then(|| self.loss_sum / self.loss_steps as f64)
    }

    /// The mean of each measure over the steps in which it was taken, read and finite; none of a measure that never
    /// was.
    pub fn measures(&self) -> BTreeMap<String, f64> {
        let finite = self.measure_sums.iter().filter(|(_, sum)| sum.steps > 0);
        finite.map(|(name, sum)| (name.clone(), sum.sum / sum.steps as f64)).collect()
    }

    /// In how many steps each measure was taken, read and not finite, where it was in any.
    pub fn not_finite(&self) -> BTreeMap<String, usize> {
        let some = self.measure_sums.iter().filter(|(_, sum)| sum.not_finite > 0);
        some.map(|(name, sum)| (name.clone(), sum.not_finite)).collect()
    }

    /// Forward and backward passes in an average step, each in units of one pass over the batch.
    pub fn passes(&self) -> (f64, f64) {
        let samples = self.samples.max(1) as f64;
        (self.forward as f64 / samples, self.backward as f64 / samples)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(value: f64) -> StepReport {
        StepReport {
            epoch: 0,
            step: 0,
            steps: 1,
            epochs: 1,
            read: true,
            loss: Some(value),
            grad_norm: None,
            lr: 0.1,
            samples: 2,
            passes: (2, 2),
            seconds: 0.5,
            measures: BTreeMap::from([("ratio", value)]),
            observed: BTreeMap::from([("observed", value)]),
        }
    }

    #[test]
    fn what_is_not_finite_is_counted_and_the_rest_can_be_read_back() {
        let mut tally = Tally::default();
        for value in [1., f64::INFINITY, 3., f64::NAN, f64::MAX, f64::MAX] {
            tally.add(&report(value)); // the second of two that large makes a sum that is not finite
        }
        let expected = Sum { sum: f64::MAX, steps: 3, not_finite: 3 };
        assert_eq!((tally.measure_sums["ratio"], tally.measure_sums["observed"]), (expected, expected));
        assert_eq!((tally.loss_steps, tally.loss_not_finite), (3, 3));
        assert_eq!(tally.not_finite()["ratio"], 3);
        let progress = Progress { whole_run: tally, ..Progress::default() };
        let text = serde_json::to_string(&progress).unwrap();
        assert_eq!(serde_json::from_str::<Progress>(&text).unwrap(), progress);

        let mut never = Tally::default();
        never.add(&report(f64::NAN));
        assert!(never.measures().is_empty() && never.loss().is_none());
    }
}

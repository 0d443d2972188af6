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
    /// Over the current epoch, or over the one just completed when an observer is told of it.
    pub this_epoch: Tally,
    /// Over the whole run.
    pub whole_run: Tally,
}

/// Sums over steps.
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
    /// Each measure, of the rule and of the observer, over the steps in which it was taken and read.
    pub measure_sums: BTreeMap<String, Sum>,
}

/// A sum over some of the steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sum {
    /// Σ of the values.
    pub sum: f64,
    /// Their number.
    pub steps: usize,
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
        self.seconds += report.seconds;
        self.loss_sum += report.loss.unwrap_or(0.);
        self.loss_steps += usize::from(report.loss.is_some());
        for (name, value) in report.measures.iter().chain(&report.observed) {
            let sum = self.measure_sums.entry((*name).to_owned()).or_default();
            (sum.sum, sum.steps) = (sum.sum + value, sum.steps + 1);
        }
    }

    /// The mean loss of the batches, if the rule made clean passes.
    pub fn loss(&self) -> Option<f64> {
        (self.loss_steps > 0).then(|| self.loss_sum / self.loss_steps as f64)
    }

    /// The mean of each measure over the steps in which it was taken and read.
    pub fn measures(&self) -> BTreeMap<String, f64> {
        self.measure_sums.iter().map(|(name, sum)| (name.clone(), sum.sum / sum.steps as f64)).collect()
    }

    /// Forward and backward passes in an average step, each in units of one pass over the batch.
    pub fn passes(&self) -> (f64, f64) {
        let samples = self.samples.max(1) as f64;
        (self.forward as f64 / samples, self.backward as f64 / samples)
    }
}

//! Results as rows: one JSON line for each run, complete enough to regenerate every table and figure from.

use crate::config::RunConfig;
use crate::host::Host;
use crate::rows;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// `toy`, `cifar10`, or `train` for a run of one's own.
    pub experiment: String,
    /// The preset, if the experiment has any.
    pub preset: String,
    /// Everything that decided what was computed.
    pub config: RunConfig,
    /// How it ended.
    pub outcome: Ending,
    /// What came out.
    pub metrics: Metrics,
    /// After each epoch that was evaluated; where a run starts at the end of another, also before the first.
    pub curve: Vec<EpochLine>,
    /// What it took.
    pub cost: Cost,
    /// On what.
    pub host: Host,
    /// With which program.
    pub revision: String,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// All epochs are done.
    Finished,
    /// The loss was not finite in this step (both from 0).
    Diverged {
        /// Its epoch.
        epoch: usize,
        /// Its place in the epoch.
        step: usize,
    },
}

/// What came out; of a run that diverged, nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Share of test images classified rightly after the last epoch.
    pub test_accuracy: Option<f64>,
    /// Mean cross-entropy on the test images after the last epoch.
    pub test_loss: Option<f64>,
    /// Mean training loss over the last epoch's batches, at x, in training mode.
    pub train_loss: Option<f64>,
    /// What was measured, means over the steps in which it was. By the rule: `m_eff`, `norm_q10`, `norm_q50`,
    /// `norm_q90`, `probe_ratio`, `probe_rounding`, `probe_noise`; with `--noise-every`, `noise_…` as
    /// [`Watch`](crate::watch::Watch) says.
    pub measures: BTreeMap<String, f64>,
    /// Trainable scalars.
    pub parameters: usize,
}

/// A point of the curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochLine {
    /// Complete epochs.
    pub epoch: usize,
    /// Mean training loss over the epoch, if the rule makes clean passes.
    pub train_loss: Option<f64>,
    /// Mean cross-entropy on the test images; none if it was not finite.
    pub test_loss: Option<f64>,
    /// Share of test images classified rightly.
    pub test_accuracy: f64,
    /// Seconds of training in the epoch.
    pub seconds: f64,
    /// Means of what was measured; at epoch 0 `train_accuracy`, the share of training images classified rightly.
    pub measures: BTreeMap<String, f64>,
}

/// What a run took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Steps taken.
    pub steps: usize,
    /// Forward passes over the batch in an average step, counted.
    pub forward: f64,
    /// Backward passes over the batch in an average step, counted.
    pub backward: f64,
    /// Seconds of training, without evaluation.
    pub seconds: f64,
    /// Training images a second.
    pub images_per_second: f64,
}

/// All rows of a file; none if it does not exist.
///
/// # Errors
/// Names the file and the line that is no row.
pub fn read(path: &Path) -> Result<Vec<Row>> {
    rows::read(path, "results")
}

/// Adds a row to a file, replacing one of the same configuration.
pub fn record(path: &Path, row: &Row) -> Result<()> {
    rows::record(path, read(path)?, row.clone(), |known, row| known.config == row.config)
}

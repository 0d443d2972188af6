//! `reproduce estimators`: the estimators of ‖∇ℓᵢ‖ against the truth, on networks at the beginning, early and late in
//! training.

mod answers;
mod comparison;
mod figures;
mod measure;
mod page;
mod pictures;
mod runs;
mod state;
mod truth;

pub use comparison::Comparison;
pub use page::summary;
pub use runs::{CellJob, Subject};

use super::{Experiment, Given, Preset};
use crate::config::DataName;
use crate::page::Page;
use crate::row::Row;
use anyhow::Result;

/// How close is each estimator to the exact norms, at which cost?
#[derive(Clone, Debug, Default)]
pub struct Estimators {
    /// The networks; where there are none, those of the preset.
    pub models: Vec<Subject>,
    /// The images; by default CIFAR-10, and the synthetic set in smoke size.
    pub data: Option<DataName>,
    /// Samples in a batch.
    pub batch: Option<usize>,
    /// Batches that are measured.
    pub batches: Option<usize>,
    /// Draws of the probes on each batch.
    pub draws: Option<usize>,
}

/// The one whose rows are committed.
pub static STANDARD: Estimators =
    Estimators { models: Vec::new(), data: None, batch: None, batches: None, draws: None };

impl Experiment for Estimators {
    type Job = CellJob;

    fn name(&self) -> &'static str {
        "estimators"
    }

    fn question(&self) -> &'static str {
        "How close is each gradient-norm estimator to exact norms, at which cost?"
    }

    /// What there is to measure has no published size.
    fn presets(&self) -> &'static [Preset] {
        &[Preset::Smoke, Preset::Laptop]
    }

    fn jobs(&self, preset: Preset, _: &Given) -> Result<Vec<CellJob>> {
        self.jobs_of(preset)
    }

    fn about(&self, _: Preset, _: &[CellJob]) -> String {
        String::new()
    }

    fn page(&self, rows: &[Row<Comparison>]) -> Result<Page> {
        Ok(page::page(rows))
    }
}

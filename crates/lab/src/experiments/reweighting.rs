//! `reproduce reweighting`.

mod page;
mod runs;

use super::{Experiment, Given, Preset};
use crate::config::RunConfig;
use crate::page::Page;
use crate::run::outcome::RunRow;
use anyhow::Result;

/// Why is RW-SAM not m-SAM? Exact norms, a weighted descent, and m-SAM with a shared one; shares runs with radius.
pub struct Reweighting;

impl Experiment for Reweighting {
    type Job = RunConfig;

    fn name(&self) -> &'static str {
        "reweighting"
    }

    fn question(&self) -> &'static str {
        "Why is RW-SAM not m-SAM? Exact norms, a weighted descent, a shared one"
    }

    fn jobs(&self, preset: Preset, _: &Given) -> Result<Vec<RunConfig>> {
        Ok(runs::configs(preset))
    }

    fn about(&self, _: Preset, jobs: &[RunConfig]) -> String {
        runs::about(&jobs[0])
    }

    fn page(&self, rows: &[RunRow]) -> Result<Page> {
        page::page(rows)
    }

    fn jobs_with(&self) -> &'static str {
        "radius"
    }
}

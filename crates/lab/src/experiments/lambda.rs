//! `reproduce lambda`.

mod page;
mod runs;

use super::{Experiment, Given, Preset};
use crate::config::RunConfig;
use crate::page::Page;
use crate::run::outcome::RunRow;
use anyhow::Result;

/// How much does RW-SAM depend on λ? As a number and as m_eff, with three estimates of the norms: the paper's Table 5.
pub struct Lambda;

impl Experiment for Lambda {
    type Job = RunConfig;

    fn name(&self) -> &'static str {
        "lambda"
    }

    fn question(&self) -> &'static str {
        "The paper's Table 5: RW-SAM over λ, with three estimates of the norms"
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

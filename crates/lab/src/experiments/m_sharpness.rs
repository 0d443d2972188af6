//! `reproduce m-sharpness`.

mod page;
mod runs;

use super::{Experiment, Given, Preset, perturbed};
use crate::config::RunConfig;
use crate::page::Page;
use crate::run::outcome::RunRow;
use anyhow::Result;

/// Does accuracy follow m for m-SAM, and m_eff for RW-SAM? With controls; shares runs with escape.
pub struct MSharpness;

impl Experiment for MSharpness {
    type Job = RunConfig;

    fn name(&self) -> &'static str {
        "m-sharpness"
    }

    fn question(&self) -> &'static str {
        "At one ρ, does accuracy follow m of m-SAM and m_eff of RW-SAM? Controls"
    }

    fn jobs(&self, preset: Preset, given: &Given) -> Result<Vec<RunConfig>> {
        Ok(runs::configs(preset, given.images.clone()))
    }

    fn about(&self, _: Preset, jobs: &[RunConfig]) -> String {
        runs::about(perturbed(jobs))
    }

    fn page(&self, rows: &[RunRow]) -> Result<Page> {
        page::page(runs::about(perturbed(rows.iter().map(|row| &row.content.config))), rows)
    }

    fn jobs_with(&self) -> &'static str {
        "escape"
    }
}

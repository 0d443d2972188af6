//! `reproduce label-noise`.

mod page;
mod runs;

use super::{Experiment, Given, Preset};
use crate::config::RunConfig;
use crate::page::Page;
use crate::run::outcome::RunRow;
use anyhow::Result;

/// Which rule resists how many wrong labels? Each at the ρ that `radius` found, with controls: the paper's Table 4.
pub struct LabelNoise;

impl Experiment for LabelNoise {
    type Job = RunConfig;

    fn name(&self) -> &'static str {
        "label-noise"
    }

    fn question(&self) -> &'static str {
        "The paper's Table 4: the rules with 20 to 80 % of wrong labels"
    }

    fn jobs(&self, preset: Preset, _: &Given) -> Result<Vec<RunConfig>> {
        Ok(runs::configs(preset))
    }

    fn about(&self, _: Preset, jobs: &[RunConfig]) -> String {
        runs::about(&jobs[0])
    }

    fn jobs_with(&self) -> &'static str {
        "radius"
    }

    fn page(&self, rows: &[RunRow]) -> Result<Page> {
        page::page(rows)
    }
}

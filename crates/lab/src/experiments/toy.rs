//! `reproduce toy`.

mod page;
mod runs;

use super::{Experiment, Given, Preset};
use crate::config::RunConfig;
use crate::page::Page;
use crate::run::outcome::RunRow;
use anyhow::Result;

/// Which rule resists wrong labels? SGD, SAM, m-SAM and RW-SAM on drawn images: two minutes, no download.
pub struct Toy;

impl Experiment for Toy {
    type Job = RunConfig;

    fn name(&self) -> &'static str {
        "toy"
    }

    fn question(&self) -> &'static str {
        "Which rule resists wrong labels? On drawn images: two minutes, no download"
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
}

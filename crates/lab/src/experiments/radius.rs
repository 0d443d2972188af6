//! `reproduce radius`.

mod page;
mod runs;

pub use page::by_rho;
pub use runs::{
    AROUND, at_best, base, compared, curve, grid, grid_seeds, is_compared, is_of_radius, seeds, whole_grid,
};

use super::{Experiment, Given, Preset};
use crate::config::RunConfig;
use crate::page::Page;
use crate::run::outcome::RunRow;
use anyhow::Result;

/// Is m-SAM more than SAM at a larger radius? Accuracy against ρ for each m and for RW-SAM, each at its best.
pub struct Radius;

impl Experiment for Radius {
    type Job = RunConfig;

    fn name(&self) -> &'static str {
        "radius"
    }

    fn question(&self) -> &'static str {
        "Is m-SAM more than SAM at a larger ρ? Each m over ρ, and at its best ρ"
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

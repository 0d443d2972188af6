//! `reproduce cost`.

mod page;

use super::cifar10::CIFAR10;
use super::{Experiment, Given, Preset, set_up_of_all};
use crate::config::RunConfig;
use crate::page::Page;
use crate::run::outcome::RunRow;
use anyhow::Result;

/// What do the rules cost, per step and until one test accuracy? No runs of its own.
pub struct Cost;

impl Experiment for Cost {
    type Job = RunConfig;

    fn name(&self) -> &'static str {
        "cost"
    }

    fn question(&self) -> &'static str {
        "What do the rules cost, per step and until one test accuracy? Runs of cifar10"
    }

    fn presets(&self) -> &'static [Preset] {
        &[Preset::Laptop, Preset::Paper]
    }

    fn jobs(&self, preset: Preset, given: &Given) -> Result<Vec<RunConfig>> {
        CIFAR10.jobs(preset, given)
    }

    fn about(&self, _: Preset, jobs: &[RunConfig]) -> String {
        about(jobs.last().unwrap_or(&jobs[0]))
    }

    fn page(&self, rows: &[RunRow]) -> Result<Page> {
        page::page(rows)
    }

    fn rows_of(&self) -> &'static str {
        "cifar10"
    }
}

/// Above the table.
fn about(config: &RunConfig) -> String {
    format!(
        "{} The runs of `cifar10`, each rule at its best ρ. m-SAM has its micro-batches all at once (docs/parallel-m-sam.md). \
         The time of a step is that of the shortest epoch, divided by its steps, since other work on a machine makes \
         epochs longer and never shorter; evaluation is not counted. Compare only rows of one machine. `cargo xtask bench m` measures steps alone, for \
         every m and beside PyTorch.",
        set_up_of_all(config)
    )
}

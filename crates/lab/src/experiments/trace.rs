//! `reproduce trace`.

mod page;

use super::cifar10::CIFAR10;
use super::{Experiment, Given, Preset, set_up_of_all};
use crate::config::RunConfig;
use crate::page::Page;
use crate::run::outcome::RunRow;
use anyhow::Result;

/// tr V at the end of the runs of cifar10: the paper's Table 6; no runs of its own.
pub struct Trace;

impl Experiment for Trace {
    type Job = RunConfig;

    fn name(&self) -> &'static str {
        "trace"
    }

    fn question(&self) -> &'static str {
        "The paper's Table 6: tr V at the end of the runs of cifar10"
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
        "{} The runs of `cifar10`, each rule at its best ρ. tr V is measured once an epoch on the first {} images of a \
         training batch, which are a normalisation batch of their own, from the gradient of each: n/(n − 1) · (mean \
         ‖gᵢ‖² − ‖mean gᵢ‖²). Where a network fits its images all gradients vanish, and tr V with them, so read it beside \
         the training loss.",
        set_up_of_all(config),
        config.measuring.noise_samples.unwrap_or(config.optimisation.batch_size)
    )
}

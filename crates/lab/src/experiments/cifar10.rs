//! `reproduce cifar10`.

mod page;
mod runs;

use super::{Experiment, Given, Preset};
use crate::config::RunConfig;
use crate::page::Page;
use crate::run::outcome::RunRow;
use anyhow::Result;

/// Test accuracy of SGD, SAM, m-SAM and RW-SAM on CIFAR-10: the paper's Table 1 (a).
pub struct Cifar10;

impl Experiment for Cifar10 {
    type Job = RunConfig;

    fn name(&self) -> &'static str {
        "cifar10"
    }

    fn question(&self) -> &'static str {
        "Test accuracy of SGD, SAM, m-SAM and RW-SAM on CIFAR-10: the paper's Table 1 (a)"
    }

    fn jobs(&self, preset: Preset, _: &Given) -> Result<Vec<RunConfig>> {
        Ok(runs::configs(preset))
    }

    fn about(&self, preset: Preset, _: &[RunConfig]) -> String {
        runs::about(preset).to_owned()
    }

    fn page(&self, rows: &[RunRow]) -> Result<Page> {
        page::page(rows)
    }
}

//! Another page on the runs of `cifar10`.

use super::CIFAR10;
use crate::config::RunConfig;
use crate::experiments::{Experiment, Given, Preset};
use crate::page::Page;
use crate::run::outcome::RunRow;
use anyhow::Result;

/// An experiment without runs of its own.
pub struct View {
    /// As it is typed.
    pub name: &'static str,
    /// The question, in a line.
    pub question: &'static str,
    /// What is said before the runs.
    pub about: fn(&[RunConfig]) -> String,
    /// The page.
    pub page: fn(&[RunRow]) -> Result<Page>,
}

impl Experiment for View {
    type Job = RunConfig;

    fn name(&self) -> &'static str {
        self.name
    }

    fn question(&self) -> &'static str {
        self.question
    }

    fn presets(&self) -> &'static [Preset] {
        &[Preset::Laptop, Preset::Paper] // a smoke run is too short for either page
    }

    fn jobs(&self, preset: Preset, given: &Given) -> Result<Vec<RunConfig>> {
        CIFAR10.jobs(preset, given)
    }

    fn about(&self, _: Preset, jobs: &[RunConfig]) -> String {
        (self.about)(jobs)
    }

    fn page(&self, rows: &[RunRow]) -> Result<Page> {
        (self.page)(rows)
    }

    fn rows_of(&self) -> &'static str {
        CIFAR10.name()
    }
}

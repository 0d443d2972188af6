//! `reproduce cifar10`, and what `cifar100` shares with it.

mod page;
mod runs;
mod view;

pub use runs::{M, Setting, WRN, is_compared, published, set_up_of_networks};
pub use view::View;

use super::{Experiment, Family, Given, Preset};
use crate::config::{DataName, RunConfig};
use crate::page::Page;
use crate::run::outcome::RunRow;
use anyhow::Result;
use msharp_models::Architecture;

/// Test accuracy of SGD, SAM, m-SAM and RW-SAM on CIFAR: the paper's Table 1.
pub struct Cifar {
    question: &'static str,
    setting: Setting,
}

impl Cifar {
    /// Of a setting.
    pub const fn new(question: &'static str, setting: Setting) -> Self {
        Self { question, setting }
    }
}

/// On CIFAR-10.
pub static CIFAR10: Cifar = Cifar::new(
    "The paper's Table 1 (a): SGD, SAM, m-SAM and RW-SAM on CIFAR-10",
    Setting {
        name: "cifar10",
        set: DataName::Cifar10,
        images: 2000,
        epochs: 120,
        published: runs::PUBLISHED,
        networks: &[(Architecture::ResNet8, 5), (Architecture::ResNet20, 3)],
        best: [(Family::Sam(64), 0.1), (Family::Sam(16), 0.05), (Family::Sam(4), 0.0125), (Family::probe(16), 0.2)],
    },
);

impl Experiment for Cifar {
    type Job = RunConfig;

    fn name(&self) -> &'static str {
        self.setting.name
    }

    fn question(&self) -> &'static str {
        self.question
    }

    fn jobs(&self, preset: Preset, _: &Given) -> Result<Vec<RunConfig>> {
        Ok(self.setting.configs(preset))
    }

    fn about(&self, preset: Preset, jobs: &[RunConfig]) -> String {
        runs::about(preset, jobs)
    }

    fn page(&self, rows: &[RunRow]) -> Result<Page> {
        page::page(&self.setting, rows)
    }
}

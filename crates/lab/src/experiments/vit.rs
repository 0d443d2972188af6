//! `reproduce vit`.

mod page;
mod runs;

use super::{Experiment, Given, Preset};
use crate::config::RunConfig;
use crate::page::Page;
use crate::run::outcome::RunRow;
use anyhow::Result;

/// Fine-tuning a pretrained vision transformer on CIFAR-10 and CIFAR-100: the paper's Table 2 (b).
pub struct Vit;

impl Experiment for Vit {
    type Job = RunConfig;

    fn name(&self) -> &'static str {
        "vit"
    }

    fn question(&self) -> &'static str {
        "The paper's Table 2 (b): fine-tuning a pretrained ViT on CIFAR-10 and -100"
    }

    fn takes(&self) -> &'static [&'static str] {
        &["init-weights"]
    }

    fn jobs(&self, preset: Preset, given: &Given) -> Result<Vec<RunConfig>> {
        runs::configs(preset, given.weights.as_ref())
    }

    fn about(&self, preset: Preset, jobs: &[RunConfig]) -> String {
        jobs.first().map_or(String::new(), |job| runs::about(preset, job))
    }

    fn page(&self, rows: &[RunRow]) -> Result<Page> {
        page::page(rows)
    }
}

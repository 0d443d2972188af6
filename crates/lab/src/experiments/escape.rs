//! `reproduce escape`.

mod page;
mod runs;

pub use page::{SEEN, contests};
pub use runs::{Minimum, about_start, configs, minimum};

use super::{Experiment, Given, Preset, perturbed};
use crate::config::RunConfig;
use crate::page::Page;
use crate::run::outcome::RunRow;
use anyhow::Result;

/// Which rule leaves a poor minimum, and how fast? The paper's Figure 1.
pub struct Escape;

impl Experiment for Escape {
    type Job = RunConfig;

    fn name(&self) -> &'static str {
        "escape"
    }

    fn question(&self) -> &'static str {
        "Which rule leaves a poor minimum, and how fast? The paper's Figure 1"
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
}

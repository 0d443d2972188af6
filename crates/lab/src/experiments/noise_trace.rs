//! `reproduce noise-trace`.

mod page;

use super::{Experiment, Given, Preset, escape, perturbed, set_up};
use crate::config::RunConfig;
use crate::page::Page;
use crate::run::outcome::RunRow;
use anyhow::Result;

/// How does tr V change in the runs of escape? The paper's Figure 2 and Table 6; no runs of its own.
pub struct NoiseTrace;

impl Experiment for NoiseTrace {
    type Job = RunConfig;

    fn name(&self) -> &'static str {
        "noise-trace"
    }

    fn question(&self) -> &'static str {
        "The paper's Figure 2: how tr V changes in the runs of escape"
    }

    fn jobs(&self, preset: Preset, given: &Given) -> Result<Vec<RunConfig>> {
        Ok(escape::configs(preset, given.images.clone()))
    }

    fn about(&self, _: Preset, jobs: &[RunConfig]) -> String {
        about(perturbed(jobs))
    }

    fn page(&self, rows: &[RunRow]) -> Result<Page> {
        page::page(about(perturbed(rows.iter().map(|row| &row.content.config))), rows)
    }

    fn rows_of(&self) -> &'static str {
        "escape"
    }
}

/// What was measured, above the table.
fn about(config: &RunConfig) -> String {
    let every = config.measuring.noise_every;
    format!(
        "The runs of `escape`. tr V is measured before every {}step on its batch, from exact norms of the samples' \
         gradients (`Ghost`, group normalisation): n/(n − 1) · (mean ‖gᵢ‖² − ‖mean gᵢ‖²). A point of the curve is the \
         mean over an epoch's measurements. Where a network has fitted its labels all gradients vanish, and tr V with \
         them: SGD, which stays there, is no measure for the rules that leave, and these are compared with each other. \
         (The paper's Table 6, with SGD above SAM, is of whole trainings.) {}",
        match every {
            1 => String::new(),
            2 => "second ".to_owned(),
            k => format!("{k}th "),
        },
        set_up(config)
    )
}

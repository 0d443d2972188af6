//! `reproduce exit-time`.

mod page;
mod runs;

use super::{Experiment, Given, Preset};
use crate::page::Page;
use crate::series::{SeriesJob, SeriesRow};
use anyhow::Result;

/// How long do algorithms and equations stay in a noisy well? No network.
pub struct ExitTime;

impl Experiment for ExitTime {
    type Job = SeriesJob;

    fn name(&self) -> &'static str {
        "exit-time"
    }

    fn question(&self) -> &'static str {
        "How long do algorithms and equations stay in a noisy well? No network"
    }

    fn jobs(&self, preset: Preset, _: &Given) -> Result<Vec<SeriesJob>> {
        Ok(runs::jobs(preset))
    }

    fn about(&self, _: Preset, _: &[SeriesJob]) -> String {
        String::new()
    }

    fn page(&self, rows: &[SeriesRow]) -> Result<Page> {
        page::page(rows)
    }
}

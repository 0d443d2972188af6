//! `reproduce drift`.

mod page;
mod runs;

use super::{Experiment, Given, Preset};
use crate::page::Page;
use crate::series::{SeriesJob, SeriesRow};
use anyhow::Result;

/// What does m do to the drift and the diffusion of the equations? No network.
pub struct Drift;

impl Experiment for Drift {
    type Job = SeriesJob;

    fn name(&self) -> &'static str {
        "drift"
    }

    fn question(&self) -> &'static str {
        "What does m do to the drift and the diffusion of the equations? No network"
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

//! `reproduce weak-error`.

mod page;
mod paths;
mod runs;

use super::{Experiment, Given, Preset};
use crate::page::Page;
use crate::series::{SeriesJob, SeriesRow};
use anyhow::Result;

/// Do the equations follow the algorithms, and to which orders in η and ρ? No network.
pub struct WeakError;

impl Experiment for WeakError {
    type Job = SeriesJob;

    fn name(&self) -> &'static str {
        "weak-error"
    }

    fn question(&self) -> &'static str {
        "Do the equations follow the algorithms, to which orders? No network"
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

//! The page of `vit`: a table for each data set, with the paper's values beside ours.

use super::runs::{PUBLISHED, about};
use crate::experiments::Preset;
use crate::page::{Page, accuracies};
use crate::run::outcome::RunRow;
use anyhow::Result;

/// Claims on each data set, the tables, and accuracy by epoch.
pub fn page(rows: &[RunRow]) -> Result<Page> {
    let about = about(Preset::of(&rows[0])?, &rows[0].content.config);
    Ok(accuracies::parts(about, rows, PUBLISHED).page("vit", rows))
}

//! The page of `imagenet`: the table, with the paper's values beside ours.

use super::runs::{PUBLISHED, about};
use crate::experiments::Preset;
use crate::page::{Page, accuracies};
use crate::run::outcome::RunRow;
use anyhow::Result;

/// Claims, the table, and accuracy by epoch.
pub fn page(rows: &[RunRow]) -> Result<Page> {
    let about = about(Preset::of(&rows[0])?).to_owned();
    Ok(accuracies::parts(about, rows, PUBLISHED).page("imagenet", rows))
}

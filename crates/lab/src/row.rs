//! Results as rows, one JSON line each: the same envelope for every experiment, and in it what is its own.

use crate::config::FORMAT;
use crate::config::record::check_format;
use crate::host::{Host, revision};
use crate::jsonl;
use anyhow::{Context, Result, bail};
use msharp_core::Range;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;

/// One result, of one run, series of numbers or cell of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row<C> {
    /// [`FORMAT`].
    pub format: u64,
    /// The experiment by name, or `train` for a run of one's own.
    pub experiment: String,
    /// The preset, if the experiment has any.
    pub preset: String,
    /// Made with which program.
    pub revision: String,
    /// On what.
    pub host: Host,
    /// In how many seconds.
    pub seconds: f64,
    /// The result.
    pub content: C,
}

/// What a row holds.
pub trait Content: Clone + PartialEq + Serialize + DeserializeOwned {
    /// Whether `other` is the result of the same job.
    fn is_same(&self, other: &Self) -> bool;

    /// # Errors
    /// If it is not whole, or has a number that cannot be.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Whether it is finished, and of how many points: a row does not replace one that holds more.
    fn extent(&self) -> (bool, usize) {
        (true, 0)
    }
}

impl<C> Row<C> {
    /// Made by this program on `host`, of no experiment.
    pub fn new(host: Host, seconds: f64, content: C) -> Self {
        let (experiment, preset) = ("train".to_owned(), String::new());
        Self { format: FORMAT, experiment, preset, revision: revision().to_owned(), host, seconds, content }
    }
}

/// All rows of a file; none if it does not exist.
///
/// # Errors
/// Names the file and the line that is no row, is of another format, is not whole, or has a number that cannot be.
pub fn read<C: Content>(path: &Path) -> Result<Vec<Row<C>>> {
    let one = |(i, value): (usize, Value)| of(value).with_context(|| format!("{} line {}", path.display(), i + 1));
    jsonl::read(path, "results")?.into_iter().enumerate().map(one).collect()
}

/// The only row of a file.
///
/// # Errors
/// As those of [`read`]; and if the file does not exist.
pub fn single<C: Content>(path: &Path) -> Result<Row<C>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).map_err(Into::into).and_then(of).with_context(|| path.display().to_string())
}

fn of<C: Content>(row: Value) -> Result<Row<C>> {
    check_format(row.get("format"))?;
    let row: Row<C> = serde_json::from_value(row).context("it is no row of results")?;
    Range::AT_LEAST_0.check("the number of seconds", row.seconds)?;
    row.content.check()?;
    Ok(row)
}

/// Whether every row of a file is of one of `experiments`.
///
/// # Errors
/// Names the file and the other experiment.
pub fn check_experiments(path: &Path, experiments: &[&str]) -> Result<()> {
    let all: Vec<Value> = jsonl::read(path, "results")?;
    let names = all.iter().filter_map(|row| row.get("experiment")?.as_str());
    if let Some(other) = names.into_iter().find(|name| !experiments.contains(name)) {
        bail!(
            "{} holds rows of {other}; expected rows of {}, or another --out",
            path.display(),
            experiments.join(" or ")
        )
    }
    Ok(())
}

/// Adds a row to a file, replacing one of the same job.
///
/// # Errors
/// If the row that is there holds more: it is kept.
pub fn record<C: Content>(path: &Path, row: &Row<C>) -> Result<()> {
    row.content.check()?;
    let known = read::<C>(path)?;
    let is_same = |known: &&Row<C>| known.content.is_same(&row.content);
    if let Some(fuller) = known.iter().filter(is_same).find(|known| known.content.extent() > row.content.extent()) {
        bail!(
            "{} already has a fuller row of this run ({} points of its curve, revision {}), which is kept; expected \
             another file for this one ({} points)",
            path.display(),
            fuller.content.extent().1,
            fuller.revision,
            row.content.extent().1
        )
    }
    jsonl::record(path, known, row.clone(), |known, row| known.content.is_same(&row.content))
}

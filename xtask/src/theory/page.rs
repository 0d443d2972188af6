//! Pages of results: made from rows and from nothing else.

use super::row::Row;
use super::{Theory, row};
use crate::experiments::{Experiment, typed};
use crate::paths;
use crate::rows;
use crate::screen::duration;
use anyhow::{Result, ensure};
use std::path::{Path, PathBuf};

/// A page, its pictures, and what of it the README says.
pub struct Page {
    /// Markdown.
    pub text: String,
    /// Names of files, and SVG.
    pub pictures: Vec<(String, String)>,
    /// Sentences.
    pub short: Vec<String>,
}

impl Page {
    /// The files that it is made of, in `folder`.
    pub fn files(&self, folder: &Path) -> Vec<(PathBuf, String)> {
        let page = (folder.join("README.md"), self.text.clone());
        let picture = |(name, svg): &(String, String)| (folder.join(name), svg.clone());
        [page].into_iter().chain(self.pictures.iter().map(picture)).collect()
    }
}

/// What the committed rows of these experiments make: the files, and a section of the README.
pub fn pages() -> Result<(Vec<(PathBuf, String)>, String)> {
    let (mut files, mut section) = (Vec::new(), String::new());
    for experiment in [Experiment::WeakError, Experiment::Drift, Experiment::ExitTime] {
        let name = typed(experiment);
        let folder = paths::results().join(&name);
        let path = folder.join("rows.jsonl");
        let (Some(theory), true) = (Theory::of(experiment), path.exists()) else { continue };
        let rows: Vec<Row> = rows::read(&path, "results")?;
        ensure!(!rows.is_empty(), "{} has no row", path.display());
        let page = theory.page(&rows)?;
        section.push_str(&format!("**[`cargo xtask reproduce {name}`](xtask/results/{name}/README.md)**\n\n"));
        page.short.iter().for_each(|line| section.push_str(&format!("- {line}\n")));
        section.push('\n');
        files.extend(page.files(&folder));
    }
    Ok((files, section))
}

/// The settings of a figure, each once: what decided its numbers.
pub fn settings(rows: &[Row], figure: &str) -> String {
    let mut all: Vec<&str> = Vec::new();
    for row in row::of(rows, figure) {
        if !all.contains(&row.setting.as_str()) {
            all.push(&row.setting);
        }
    }
    all.join("; ")
}

/// The last line of a page: how many rows, how long, on what, from which program.
pub fn colophon(rows: &[Row]) -> String {
    let Some(first) = rows.first() else { return String::new() };
    let revisions = rows.iter().map(|row| row.revision.as_str());
    let seconds: f64 = rows.iter().map(|row| row.seconds).sum();
    format!(
        "\n{} series, preset {}, {} on {}. This page and its pictures are made by `cargo xtask report` from \
         `rows.jsonl`.\n",
        rows.len(),
        first.preset,
        duration(seconds),
        first.host.with(revisions)
    )
}

//! The page of an experiment that is more than a table: what was done, what can be claimed, tables, pictures, on what.

use super::contest::Claim;
use super::view::{View, view};
use crate::experiments::{Experiment, Preset, typed};
use crate::row::Row;
use anyhow::Result;
use clap::ValueEnum;
use std::path::{Path, PathBuf};

/// The README's lines about a file of rows, and the files of its page: for each view of them one.
pub fn pages(
    results: &Path,
    name: &str,
    rows: &[Row],
    experiment: Experiment,
) -> Result<(String, Vec<(PathBuf, String)>)> {
    let (mut text, mut files) = (String::new(), Vec::new());
    for view in Experiment::value_variants().iter().filter(|other| other.rows() == experiment) {
        let (lines, page) = page(results, name, rows, *view)?;
        text.push_str(&lines);
        files.extend(page);
    }
    Ok((text, files))
}

fn page(results: &Path, name: &str, rows: &[Row], experiment: Experiment) -> Result<(String, Vec<(PathBuf, String)>)> {
    let first = &rows[0];
    let (typed, preset) = (typed(experiment), first.preset.as_str());
    let about = Preset::from_str(preset, true)
        .map(|preset| experiment.about(preset, &super::configs(rows)))
        .unwrap_or_default();
    let View { measure, claims, text, pictures } = view(experiment, rows)?;
    let command = format!("`cargo xtask reproduce {typed} --preset {preset}`");
    let list = |claims: &[&Claim]| claims.iter().map(|claim| format!("- {}\n", claim.text)).collect::<String>();
    let (decided, open): (Vec<&Claim>, Vec<&Claim>) = claims.iter().partition(|claim| claim.decided);
    let (told, left) = (list(&decided), open.len());
    let other = before(rows, experiment, &claims)?;
    let claims = list(&claims.iter().collect::<Vec<_>>());

    let file = match preset {
        "laptop" => "README.md".to_owned(),
        preset => format!("{preset}.md"),
    };
    let mut page = format!(
        "# {typed} · {preset}\n\nEverything on this page, its sentences included, is made by `cargo xtask report` from \
         [`{name}.jsonl`](../{name}.jsonl), whose rows {command} makes; a test fails when they drift \
         apart.\n\n{about}\n\n## What can be said\n\nA claim is made where the 95 % interval of the paired difference \
         excludes 0. Each interval stands for itself: of twenty, one misses by chance.\n\n{claims}{other}\n## The \
         table\n\n{text}"
    );
    let folder = results.join(&typed);
    let mut files = Vec::new();
    for picture in pictures {
        let svg = format!("{preset}-{}", picture.file);
        page.push_str(&format!("\n![{}]({svg})\n", picture.alt));
        files.push((folder.join(svg), picture.svg));
    }
    page.push_str(&format!("\n{}\n", super::provenance(rows)));
    files.push((folder.join(&file), page));
    let said = match (told.is_empty(), left) {
        (true, _) => format!("In none of the {left} comparisons a difference can be told.\n"),
        (false, 0) => format!("All comparisons are told apart:\n\n{told}"),
        (false, left) => format!("No difference can be told in {left} comparisons; in the others:\n\n{told}"),
    };
    let lines = format!(
        "### {typed} · {preset}\n\n{command}: [what was done, table and plot](xtask/results/{typed}/{file}). Compared \
         is {measure}; a difference is told where the 95 % interval of the differences paired by seed excludes 0. \
         {said}\n"
    );
    Ok((lines, files))
}

/// Of so many seeds the results had been seen when more were added: five had been meant, and there was time.
const SEEN: u64 = 3;

/// What the seeds that were seen first say otherwise than all of them; an interval that is looked at again misses more
/// often than it says, so a reader must know.
fn before(rows: &[Row], experiment: Experiment, claims: &[Claim]) -> Result<String> {
    let first: Vec<Row> = rows.iter().filter(|row| row.config.seed < SEEN).cloned().collect();
    if first.len() == rows.len() {
        return Ok(String::new());
    }
    let rule = |claim: &Claim| claim.text.split(':').next().unwrap_or_default().to_owned();
    let differs = |old: &&Claim| claims.iter().any(|new| rule(new) == rule(old) && new.decided != old.decided);
    let old = view(experiment, &first)?.claims;
    let otherwise: Vec<&Claim> = old.iter().filter(differs).collect();
    let said = match otherwise.is_empty() {
        true => "With those alone each verdict is the same.\n".to_owned(),
        false => {
            let all: String = otherwise.iter().map(|claim| format!("- {}\n", claim.text)).collect();
            format!("With those alone {} of {} comparisons read otherwise:\n\n{all}", otherwise.len(), claims.len())
        }
    };
    Ok(format!("\nThe seeds from the {}th on were added when {SEEN} had been seen. {said}", SEEN + 1))
}

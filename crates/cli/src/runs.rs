//! `runs`: what was trained.

use anyhow::{Context, Result, ensure};
use clap::Args;
use msharp_lab::config::RunConfig;
use msharp_lab::run::outcome::{Run, RunRow};
use msharp_lab::screen::duration;
use msharp_lab::{paths, row, shared};
use msharp_train::Checkpoint;
use std::path::{Path, PathBuf};

/// What to show before the flags.
const EXAMPLES: &str = "Examples:
  msharp runs                those in runs/
  msharp runs /scratch/sam   those in another folder";

/// Where to look.
#[derive(Args)]
#[command(before_help = EXAMPLES)]
pub struct RunsArgs {
    /// A folder of runs [default: runs/]
    folder: Option<PathBuf>,
}

/// A line for each run below the folder, in the order of their names.
pub fn runs(args: RunsArgs) -> Result<()> {
    let folder = args.folder.unwrap_or_else(paths::runs);
    let shown = folder.display();
    ensure!(folder.is_dir(), "{shown} is no folder; expected one of runs, such as the default, which `train` makes");
    let mut found = Vec::new();
    collect(&folder, 3, &mut found).with_context(|| format!("cannot read {shown}"))?;
    found.sort();
    if found.is_empty() {
        println!("there is no run in {shown}");
    }
    for run in found {
        let name = run.strip_prefix(&folder).unwrap_or(&run).display().to_string();
        println!("{name}\n    {}{}", line(&run), holder(&run));
    }
    Ok(())
}

/// The folders with a configuration, so deep at most.
fn collect(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if folder.join("config.json").is_file() {
        found.push(folder.to_owned());
    } else if depth > 0 {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                collect(&path, depth - 1, found)?;
            }
        }
    }
    Ok(())
}

fn line(run: &Path) -> String {
    let text = std::fs::read_to_string(run.join("config.json")).unwrap_or_default();
    let config: RunConfig = match serde_json::from_str(&text) {
        Ok(config) => config,
        Err(error) => return format!("config.json cannot be read: {error}"),
    };
    let about = format!("{} · {}", config.network_label(), config.rule_label_with_radius());
    let row = run.join("row.json");
    if row.exists() {
        let row: RunRow = match row::single(&row) {
            Ok(row) => row,
            Err(error) => return format!("{about} · {error:#}"),
        };
        let (seconds, Run { outcome, metrics, .. }) = (duration(row.seconds), &row.content);
        return match (outcome.fault(), metrics.test_accuracy) {
            (Some(fault), _) => format!("{about} · diverged: {fault}"),
            (None, Some(accuracy)) => {
                format!("{about} · {} accuracy {:.2} % · {seconds}", config.tested_on(), 100. * accuracy)
            }
            (None, None) => format!("{about} · {seconds}"),
        };
    }
    match Checkpoint::read(&run.join("checkpoint.safetensors")) {
        Ok(Checkpoint { progress, .. }) => {
            let epochs = config.optimisation.epochs;
            format!("{about} · stopped in epoch {} of {epochs}; --resume goes on", progress.epoch + 1)
        }
        Err(_) => format!("{about} · no checkpoint yet"),
    }
}

/// The process that has the lease of a run that is not over, where several share its folder.
fn holder(run: &Path) -> String {
    match shared::holder_of(run) {
        _ if run.join("row.json").exists() => String::new(),
        Ok(None) => String::new(),
        Ok(Some(holder)) => format!(" · taken by {holder}"),
        Err(error) => format!(" · {error:#}"),
    }
}

//! `train`: one run.

use crate::config::RunConfig;
use crate::datasets::Datasets;
use crate::machine::Machine;
use crate::row::Ending;
use crate::{interrupt, leftovers, paths, report, row, run};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use std::path::PathBuf;

/// One network, one rule, one data set.
#[derive(Args)]
pub struct TrainArgs {
    #[command(flatten)]
    config: RunConfig,
    #[command(flatten)]
    machine: Machine,
    /// The folder for checkpoint, logs, weights and row [default: runs/ and a name made of the flags]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Go on from the checkpoint in --out; repeat the other flags as they were
    #[arg(long)]
    resume: bool,
}

/// Trains, prints the result as a table, and leaves the row in the run's folder.
pub fn train(args: TrainArgs) -> Result<()> {
    let TrainArgs { config, machine, out, resume } = args;
    let config = config.settled()?.canonical();
    config.validate()?;
    let data_dir = machine.prepare()?;
    let is_named = out.is_some();
    let folder = out.unwrap_or_else(|| paths::runs().join(config.id()));
    let checkpoint = folder.join("checkpoint.safetensors");
    ensure!(
        resume || !checkpoint.exists(),
        "--out {} already holds a run; expected --resume to go on with it, or another folder",
        folder.display()
    );
    if resume && !checkpoint.exists() {
        leftovers::check(&folder, &config).with_context(|| format!("--resume needs {}", checkpoint.display()))?;
        let other = if is_named { None } else { nearest(&config) };
        let other = other.map_or(String::new(), |other| format!(" ({other})"));
        bail!("--resume needs {}, and there is none{other}; leave --resume out to start", checkpoint.display())
    }
    row::read(&folder.join("rows.jsonl"))?; // what cannot be added to is found out now
    interrupt::listen()?;
    let mut data = Datasets::new(&data_dir);
    match run::run(&config.rule_label(), &config, &folder, &mut data)? {
        None if checkpoint.exists() => {
            // In quotes where a shell would take it for two words.
            let shown = folder.display().to_string();
            let shown = if shown.contains(char::is_whitespace) { format!("{shown:?}") } else { shown };
            eprintln!("stopped; the same command with --resume --out {shown} goes on");
        }
        None => eprintln!("stopped before its own first step; the same command goes on from where its start stands"),
        Some(row) => {
            row::record(&folder.join("rows.jsonl"), &row)?;
            println!("{}", report::table(std::slice::from_ref(&row), &[]));
            let weights = if row.outcome == Ending::Finished { "weights, " } else { "" };
            println!("{weights}log and row are in {}", folder.display());
            if let Some(fault) = row.outcome.fault() {
                bail!("the run diverged: {fault}")
            }
        }
    }
    Ok(())
}

/// The run among those without `--out` that differs least from `config`: which folder, in what.
fn nearest(config: &RunConfig) -> Option<String> {
    let of = |folder: std::io::Result<std::fs::DirEntry>| {
        let folder = folder.ok()?.path();
        folder.join("checkpoint.safetensors").exists().then_some(())?;
        let text = std::fs::read_to_string(folder.join("config.json")).ok()?;
        let differences = serde_json::from_str::<RunConfig>(&text).ok()?.differences(config).ok()?;
        Some((differences, folder))
    };
    let all = std::fs::read_dir(paths::runs()).ok()?.filter_map(of);
    let (differences, folder) = all.min_by_key(|(differences, _)| differences.len())?;
    Some(format!(
        "a run is kept in a folder named by its flags; the one nearest to these, {}, differs in --{}",
        folder.display(),
        differences.join(", --")
    ))
}

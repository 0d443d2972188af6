//! `train`: one run.

use crate::config::RunConfig;
use crate::datasets::Datasets;
use crate::machine::Machine;
use crate::row::Ending;
use crate::{interrupt, paths, report, row, run};
use anyhow::{Result, ensure};
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
    config.validate()?;
    let data_dir = machine.prepare()?;
    let folder = out.unwrap_or_else(|| paths::runs().join(config.id()));
    let checkpoint = folder.join("checkpoint.safetensors");
    ensure!(
        resume || !checkpoint.exists(),
        "--out {} already holds a run; expected --resume to go on with it, or another folder",
        folder.display()
    );
    ensure!(
        !resume || checkpoint.exists(),
        "--resume needs {}, and there is none; leave --resume out to start",
        checkpoint.display()
    );
    interrupt::listen()?;
    let mut data = Datasets::new(&data_dir);
    match run::run(&config.rule_label(), &config, &folder, &mut data)? {
        None => eprintln!("stopped; the same command with --resume --out {} goes on", folder.display()),
        Some(row) => {
            row::record(&folder.join("rows.jsonl"), &row)?;
            println!("{}", report::table(std::slice::from_ref(&row), &[]));
            println!("weights, log and row are in {}", folder.display());
            if let Ending::Diverged { epoch, step } = row.outcome {
                anyhow::bail!("the run diverged: the loss was not finite in epoch {epoch}, step {step} (both from 0)")
            }
        }
    }
    Ok(())
}

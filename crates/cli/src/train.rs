//! `train`: one run.

use anyhow::{Context, Result, bail, ensure};
use clap::{ArgAction, Args};
use msharp_lab::config::RunConfig;
use msharp_lab::config::record::listed;
use msharp_lab::data::Datasets;
use msharp_lab::page::curves::ACCURACY;
use msharp_lab::ranks::{self, Agreed, Ranks};
use msharp_lab::resources::Resources;
use msharp_lab::run::outcome::{Ending, Run, RunRow};
use msharp_lab::run::{Site, leftovers};
use msharp_lab::screen::{columns, duration};
use msharp_lab::{interrupt, paths, row, run, weights};
use std::path::{Path, PathBuf};

/// What to show before the flags.
const EXAMPLES: &str = "Examples:
  msharp train                                            SAM on drawn images
  msharp train --data cifar10 --rule m-sam:m=16,rho=0.1   m-SAM on CIFAR-10
  msharp train --rule rw-sam:lambda=16 --epochs 5         RW-SAM at m_eff = 16
  msharp train --rule esam --resume                       go on after an interruption";

/// One network, one rule, one data set.
#[derive(Args)]
#[command(before_help = EXAMPLES, disable_help_flag = true)]
pub struct TrainArgs {
    #[command(flatten)]
    config: RunConfig,
    #[command(flatten)]
    resources: Resources,
    /// On several ranks: each perturbs by the gradient of its own samples, as m-SAM with --micro-batch of that many;
    /// otherwise the perturbation is of the whole batch
    #[arg(long, hide_short_help = true, help_heading = "Rule")]
    local_perturbation: bool,
    /// On several ranks: batch normalisation over the samples of all, as in one process; otherwise each rank normalises
    /// its own samples
    #[arg(long, hide_short_help = true, help_heading = "Machine")]
    sync_batch_norm: bool,
    /// The folder for checkpoint, logs, weights and row [default: runs/ and a name made of the flags]
    #[arg(long, help_heading = "Output")]
    out: Option<PathBuf>,
    /// Go on from the checkpoint in --out, which is written every 60 s and when the run is stopped; repeat the other
    /// flags as they were
    #[arg(long, help_heading = "Output")]
    resume: bool,
    /// Print the usual flags
    #[arg(short, long, action = ArgAction::HelpShort, help_heading = "Output")]
    help: Option<bool>,
    /// Print every flag: also those that change a rule, its start and what is measured
    #[arg(long, action = ArgAction::HelpLong, help_heading = "Output")]
    help_all: Option<bool>,
}

/// Trains, prints the result, and leaves the row in the run's folder.
pub fn train(args: TrainArgs) -> Result<()> {
    ranks::run(|ranks| train_on(ranks, args))
}

fn train_on(ranks: &Ranks, args: TrainArgs) -> Result<()> {
    let TrainArgs { config, resources, local_perturbation, sync_batch_norm, out, resume, .. } = args;
    let mut config = config.settled()?;
    if local_perturbation {
        config = ranks::with_local_perturbation(config, ranks.several().unwrap_or(1))?;
    }
    config.validate()?; // as it was typed: messages name the flags that were given
    let config = weights::resolved(config)?.canonical();
    config.validate()?;
    if sync_batch_norm {
        ranks::check_sync_batch_norm(&config, ranks.several().unwrap_or(1))?;
        ranks.sync_batch_norm();
    }
    resources.check_data(&config.data.set)?;
    resources.computing(|data_dir| run_in(ranks, out, resume, &config, &data_dir))
}

/// Runs `config` in the folder `out`, or in the one of its name.
fn run_in(ranks: &Ranks, out: Option<PathBuf>, resume: bool, config: &RunConfig, data_dir: &Path) -> Result<()> {
    let is_named = out.is_some();
    let folder = out.clone().unwrap_or_else(|| paths::runs().join(config.id()));
    let starts = out.unwrap_or_else(paths::runs);
    let checkpoint = folder.join("checkpoint.safetensors");
    ensure!(
        resume || !checkpoint.exists(),
        "--out {} already holds a run; expected --resume to go on with it, or another folder",
        folder.display()
    );
    if resume && !checkpoint.exists() {
        leftovers::check(&folder, config).with_context(|| format!("--resume needs {}", checkpoint.display()))?;
        let other = if is_named { None } else { nearest(config) };
        let other = other.map_or(String::new(), |other| format!(" ({other})"));
        bail!("--resume needs {}, and there is none{other}; leave --resume out to start", checkpoint.display())
    }
    row::read::<Run>(&folder.join("rows.jsonl"))?; // what cannot be added to is found out now
    interrupt::listen()?;
    let mut data = Datasets::new(data_dir);
    let site = Site { folder: &folder, starts: &starts, lease: None };
    match run::run(&config.rule_label(), config, &site, &mut data, ranks)? {
        None if !ranks.leads() => {}
        None if checkpoint.exists() => {
            let shown = folder.display().to_string();
            let out = if is_named {
                String::new() // the same command has it
            } else if shown.contains(char::is_whitespace) {
                format!(" --out {shown:?}") // a shell would take it for two words
            } else {
                format!(" --out {shown}")
            };
            eprintln!("stopped; the same command with --resume{out} goes on");
        }
        None => eprintln!("stopped before its own first step; the same command goes on from where its start stands"),
        Some(row) => {
            if ranks.leads() {
                row::record(&folder.join("rows.jsonl"), &row)?;
                show(&row, &folder);
            }
            if let Some(fault) = row.content.outcome.fault() {
                return Err(Agreed(format!("the run diverged: {fault}")).into());
            }
        }
    }
    Ok(())
}

/// What came out: a line for each number, and the curve.
fn show(row: &RunRow, folder: &Path) {
    let Run { config, metrics, cost, outcome, curve, .. } = &row.content;
    let line = |name: &str, text: String| println!("{name:16}{text}");
    line("rule", config.rule_label_with_radius());
    line("network", format!("{}, {} parameters", config.network_label(), metrics.parameters));
    if let Some(accuracy) = metrics.test_accuracy {
        let loss = metrics.test_loss.map_or(String::new(), |loss| format!(", cross-entropy {loss:.4}"));
        let name = if config.data.validation.is_some() { config.tested_on() } else { "test accuracy" };
        line(name, format!("{:.2} %{loss}", 100. * accuracy));
        if metrics.test_loss.is_none() {
            line("", "logits are not finite: the weights are of no use; try a smaller --lr".to_owned());
        }
    }
    if let Some(loss) = metrics.train_loss {
        line("training loss", format!("{loss:.4} (mean of the last epoch)"));
    }
    let last = curve.last().map(|line| &line.measures);
    for (name, of) in [
        ("train_accuracy", ""),
        ("train_accuracy_clean", " of the right labels"),
        ("train_accuracy_wrong", " of the wrong labels"),
    ] {
        if let Some(share) = last.and_then(|measures| measures.get(name)) {
            line("train accuracy", format!("{:.2} %{of}", 100. * share));
        }
    }
    for (name, value) in &metrics.measures {
        line(name, format!("{value:.4}"));
    }
    let (seconds, speed) = (duration(row.seconds), cost.images_per_second);
    line("cost", format!("{} steps of {:.2} + {:.2} passes", cost.steps, cost.forward, cost.backward));
    line("time", format!("{seconds} of training, {speed:.0} images/s"));
    if curve.len() > 1 {
        let (mut curve, name) =
            (ACCURACY.figure(std::slice::from_ref(row)), format!("{} accuracy", config.tested_on()));
        (curve.title, curve.y.name) = (name.clone(), format!("{name}, %"));
        println!("\n{}", curve.text(columns()));
    }
    let weights = if *outcome == Ending::Finished { "weights, " } else { "" };
    println!("{weights}log and row are in {}", folder.display());
}

/// The run among those without `--out` that differs least from `config`: which folder, in what.
fn nearest(config: &RunConfig) -> Option<String> {
    let of = |folder: std::io::Result<std::fs::DirEntry>| {
        let folder = folder.ok()?.path();
        folder.join("checkpoint.safetensors").exists().then_some(())?;
        let text = std::fs::read_to_string(folder.join("config.json")).ok()?;
        let differences = serde_json::from_str::<RunConfig>(&text).ok()?.differences(config);
        Some((differences, folder))
    };
    let all = std::fs::read_dir(paths::runs()).ok()?.filter_map(of);
    let (differences, folder) = all.min_by_key(|(differences, _)| differences.len())?;
    Some(format!(
        "a run is kept in a folder named by its flags; in the one nearest to these, {}, {}",
        folder.display(),
        listed(&differences)
    ))
}

//! `bench estimators`: the experiment `estimators`, with other networks, batches or draws than the committed ones.

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use msharp_lab::config::{DataName, DeviceName, PrecisionName};
use msharp_lab::experiments::Preset;
use msharp_lab::experiments::estimators::{Estimators, Subject};
use msharp_lab::paths;
use msharp_lab::ranks::Ranks;
use msharp_lab::reproduce::{Request, reproduce};
use msharp_lab::resources::Resources;
use msharp_lab::shared::SharedArgs;
use std::path::PathBuf;

/// What to show before the flags.
const EXAMPLES: &str = "Examples:
  cargo xtask bench estimators --preset smoke            does everything work?
  cargo xtask bench estimators --models resnet20:group   of a network of your choice";

/// What to measure, on what.
#[derive(Args)]
#[command(before_help = EXAMPLES)]
pub struct EstimatorsArgs {
    /// How much: smoke is seconds and means nothing, full is what the page is made of
    #[arg(long, default_value = "full")]
    preset: Size,
    /// The networks, each NETWORK or NETWORK:NORM [default: resnet8:group,resnet8:batch,vit-mini,resnet18:batch; smoke:
    /// the first]
    #[arg(long, value_delimiter = ',')]
    models: Vec<Subject>,
    /// The images [default: cifar10, and synthetic in smoke size]
    #[arg(long)]
    data: Option<DataName>,
    /// Samples in a batch [default: 64; 32 for networks of more than 2 million parameters; 8 in smoke size]
    #[arg(long)]
    batch: Option<usize>,
    /// Batches that are measured [default: 4; 2 for the large networks; 1 in smoke size]
    #[arg(long)]
    batches: Option<usize>,
    /// Draws of the probes on each batch [default: 12; 8 for the large networks; 2 in smoke size]
    #[arg(long)]
    draws: Option<usize>,
    #[command(flatten)]
    resources: Resources,
    #[command(flatten)]
    shared: SharedArgs,
    /// The folder for rows, plots and page [default: runs/bench-estimators]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Measure again what the rows already have
    #[arg(long, conflicts_with = "shared")]
    again: bool,
}

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Size {
    /// Seconds: does everything work?
    Smoke,
    /// Under half an hour on two cores
    Full,
}

/// Runs `bench estimators`.
pub fn estimators(args: EstimatorsArgs) -> Result<()> {
    let EstimatorsArgs { preset, models, data, batch, batches, draws, resources, shared, out, again } = args;
    let shared = shared.lease()?;
    let preset = if preset == Size::Smoke { Preset::Smoke } else { Preset::Laptop };
    let experiment = Estimators { models, data, batch, batches, draws };
    resources.check_experiment(&experiment, preset)?;
    let folder = out.unwrap_or_else(|| paths::runs().join("bench-estimators"));
    let rows = folder.join("rows.jsonl");
    if again && rows.exists() {
        std::fs::remove_file(&rows).with_context(|| format!("cannot remove {}", rows.display()))?;
    }
    resources.computing(|data_dir| {
        let request = Request {
            data: None,
            weights: None,
            preset,
            out: Some(folder),
            data_dir,
            device: DeviceName::Cpu,
            precision: PrecisionName::F32,
            record: false,
            only_missing: false,
            shared,
            ranks: &Ranks::alone(),
        };
        reproduce(&experiment, &request)
    })
}

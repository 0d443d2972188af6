//! `reproduce`: all jobs of an experiment, then its page.

use anyhow::Result;
use clap::Args;
use clap::builder::PossibleValue;
use clap::builder::PossibleValuesParser;
use msharp_lab::config::{DataName, DeviceName, PrecisionName, WeightsName};
use msharp_lab::experiments::{ALL, Preset, find};
use msharp_lab::ranks::{self, Ranks};
use msharp_lab::reproduce::Request;
use msharp_lab::resources::Resources;
use msharp_lab::shared::SharedArgs;
use std::path::PathBuf;

/// What to show before the flags.
const EXAMPLES: &str = "Examples:
  cargo xtask reproduce toy                            a minute or two, no download
  cargo xtask reproduce cifar10 --preset smoke         does everything work?
  cargo xtask reproduce escape --out /scratch/escape   the same command again goes on
  cargo xtask reproduce escape --shared                also on others that see the folder";

/// Which experiment, how much of it, and where to.
#[derive(Args)]
#[command(before_help = EXAMPLES)]
pub struct ReproduceArgs {
    /// The experiment
    #[arg(value_parser = experiments())]
    experiment: String,
    /// How much of it [default: laptop]
    #[arg(long, default_value = "laptop", hide_default_value = true)]
    preset: Preset,
    /// The folder for rows, checkpoints, logs and plots [default: runs/EXPERIMENT-PRESET]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Also put the rows among the committed results; after Ctrl-C those that are done
    #[arg(long)]
    record: bool,
    /// Leave out jobs of which the committed results have a row
    #[arg(long)]
    only_missing: bool,
    /// Pictures of yours, for imagenet: folder:PATH, tar:PATH or parquet:PATH
    #[arg(long)]
    data: Option<DataName>,
    /// Pretrained weights, for vit: FILE, or hub:REPO[/FILE] [default: timm's, from the hub]
    #[arg(long, value_name = "WEIGHTS")]
    init_weights: Option<WeightsName>,
    /// The device: cpu, or cuda, the first NVIDIA GPU, or of several ranks that of the local rank [default: cpu]
    #[arg(long, default_value = "cpu", hide_default_value = true, hide_possible_values = true)]
    #[arg(help_heading = "Machine")]
    device: DeviceName,
    /// The precision of a GPU's products: f32, tf32 or bf16 [default: f32, and bf16 on cuda]
    #[arg(long, default_value = "f32", default_value_if("device", "cuda", "bf16"), hide_default_value = true)]
    #[arg(help_heading = "Machine", hide_possible_values = true)]
    precision: PrecisionName,
    #[command(flatten)]
    resources: Resources,
    #[command(flatten)]
    shared: SharedArgs,
}

fn experiments() -> PossibleValuesParser {
    PossibleValuesParser::new(ALL.iter().map(|e| PossibleValue::new(e.name()).help(e.question())))
}

/// Runs what is not done yet, then prints the table and draws the plots.
pub fn reproduce(args: ReproduceArgs) -> Result<()> {
    let ReproduceArgs { experiment, preset, out, record, only_missing, data, init_weights: weights, .. } = args;
    let (device, precision) = (args.device, args.precision);
    let (resources, shared) = (args.resources, args.shared.lease()?);
    let experiment = find(&experiment)?;
    resources.check_experiment(experiment, preset)?;
    let on = |ranks: &Ranks| {
        resources.computing(|data_dir| {
            let own = Request {
                preset,
                out,
                data_dir,
                data,
                weights,
                device,
                precision,
                record,
                only_missing,
                shared,
                ranks,
            };
            experiment.reproduce(&own)
        })
    };
    // Processes that share the jobs are independent, also where one launcher has started them.
    if shared.is_some() { on(&Ranks::alone()) } else { ranks::run(on) }
}

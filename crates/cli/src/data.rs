//! `data`: downloading and verifying CIFAR.

use anyhow::Result;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use msharp_data::verify;
use msharp_lab::config::DataName;
use msharp_lab::{fetch, paths};
use std::path::PathBuf;

/// What to show before the flags.
const EXAMPLES: &str = "Examples:
  msharp data fetch cifar10                           into datasets/
  msharp data fetch cifar100 --data-dir /scratch/sets
  msharp data verify                                  are the files the published ones?";

/// Which data, and what to do with it.
#[derive(Args)]
#[command(before_help = EXAMPLES)]
pub struct DataArgs {
    #[command(subcommand)]
    command: DataCommand,
}

#[derive(Subcommand)]
enum DataCommand {
    /// Download a data set from the Hugging Face hub ($HF_ENDPOINT if set), verify it, and write the official files
    Fetch {
        /// The data set
        #[arg(value_parser = published(), value_name = "cifar10|cifar100")]
        name: DataName,
        /// Where to [default: datasets/]
        #[arg(long)]
        data_dir: Option<PathBuf>,
    },
    /// Check that the files hold exactly the published images and labels
    Verify {
        /// Where they are [default: datasets/]
        #[arg(long)]
        data_dir: Option<PathBuf>,
    },
}

/// The sets that have published files; the others are drawn, or somebody's own.
fn published() -> impl TypedValueParser<Value = DataName> {
    PossibleValuesParser::new(["cifar10", "cifar100"]).try_map(|name| name.parse::<DataName>())
}

/// Runs a subcommand.
pub fn data(args: DataArgs) -> Result<()> {
    let or_default = |folder: Option<PathBuf>| folder.unwrap_or_else(paths::datasets);
    match args.command {
        DataCommand::Fetch { name, data_dir } => fetch::download(&name, &or_default(data_dir)),
        DataCommand::Verify { data_dir } => {
            let folder = or_default(data_dir);
            println!("{}: {} verified", folder.display(), verify(&folder)?.join(", "));
            Ok(())
        }
    }
}

//! `data`: downloading and verifying CIFAR, and verifying pictures of one's own.

use anyhow::{Result, ensure};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use msharp_data::{find_broken, verify};
use msharp_lab::config::DataName;
use msharp_lab::data::pictures;
use msharp_lab::resources::computing;
use msharp_lab::{fetch, paths, screen};
use std::path::PathBuf;

/// What to show before the flags.
const EXAMPLES: &str = "Examples:
  msharp data fetch cifar10                           into datasets/
  msharp data fetch cifar100 --data-dir /scratch/sets
  msharp data verify                                  are the files the published ones?
  msharp data verify folder:photos                    can every picture be read?";

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
    /// Check that the files hold exactly the published images and labels; or that every picture of yours can be read
    Verify {
        /// Your own: folder:PATH, tar:PATH or parquet:PATH
        #[arg(conflicts_with = "data_dir")]
        set: Option<DataName>,
        /// Where CIFAR is [default: datasets/]
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
        DataCommand::Verify { set: Some(set), .. } => computing(None, || verify_pictures(&set)),
        DataCommand::Verify { set: None, data_dir } => {
            let folder = or_default(data_dir);
            println!("{}: {} verified", folder.display(), verify(&folder)?.join(", "));
            Ok(())
        }
    }
}

/// Decodes every picture, and lists those that cannot be read.
fn verify_pictures(set: &DataName) -> Result<()> {
    let (train, test) = pictures(set)?;
    let mut unreadable = 0;
    for part in [train, test] {
        let (n, bar) = (part.labels().len(), screen::bar(part.name()));
        if let Some(bar) = &bar {
            bar.set_length(n as u64);
        }
        let broken = find_broken(&*part, |_| bar.iter().for_each(|bar| bar.inc(1)));
        bar.iter().for_each(|bar| bar.finish_and_clear());
        unreadable += broken.len();
        broken.iter().for_each(|(_, error)| println!("{error}"));
        println!("{}: {} of {n} pictures can be read", part.name(), n - broken.len());
    }
    ensure!(unreadable == 0, "{unreadable} pictures cannot be read; expected none, or --skip-broken in training");
    Ok(())
}

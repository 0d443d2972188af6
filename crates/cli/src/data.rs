//! `data`: downloading and verifying CIFAR.

use anyhow::{Result, ensure};
use clap::{Args, Subcommand};
use msharp_data::verify;
use msharp_lab::config::DataName;
use msharp_lab::{fetch, paths};
use std::path::PathBuf;

/// Which data, and what to do with it.
#[derive(Args)]
pub struct DataArgs {
    #[command(subcommand)]
    command: DataCommand,
}

#[derive(Subcommand)]
enum DataCommand {
    /// Download a data set from the Hugging Face hub ($HF_ENDPOINT if set), verify it, and write the official files
    Fetch {
        /// The data set: cifar10 or cifar100
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

/// Runs a subcommand.
pub fn data(args: DataArgs) -> Result<()> {
    let or_default = |folder: Option<PathBuf>| folder.unwrap_or_else(paths::datasets);
    match args.command {
        DataCommand::Fetch { name, data_dir } => {
            ensure!(fetch::release(name).is_some(), "drawn sets are not downloaded; expected cifar10 or cifar100");
            fetch::download(name, &or_default(data_dir))
        }
        DataCommand::Verify { data_dir } => {
            let folder = or_default(data_dir);
            println!("{}: {} verified", folder.display(), verify(&folder)?.join(", "));
            Ok(())
        }
    }
}

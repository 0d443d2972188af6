//! `data`: downloading and verifying CIFAR.

use crate::config::{DataName, RunConfig};
use crate::paths;
use anyhow::{Context, Result};
use clap::{Args, Subcommand, ValueEnum};
use msharp_data::{Release, fetch, verify};
use std::path::{Path, PathBuf};

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
        /// The data set
        name: Fetchable,
        /// Where to [default: datasets/ in the workspace]
        #[arg(long)]
        data_dir: Option<PathBuf>,
    },
    /// Check that the files hold exactly the published images and labels
    Verify {
        /// Where they are [default: datasets/ in the workspace]
        #[arg(long)]
        data_dir: Option<PathBuf>,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Fetchable {
    /// CIFAR-10
    Cifar10,
    /// CIFAR-100
    Cifar100,
}

/// Runs a subcommand.
pub fn data(args: DataArgs) -> Result<()> {
    let or_default = |folder: Option<PathBuf>| folder.unwrap_or_else(paths::datasets);
    match args.command {
        DataCommand::Fetch { name: Fetchable::Cifar10, data_dir } => {
            download(&Release::cifar10(), &or_default(data_dir))
        }
        DataCommand::Fetch { name: Fetchable::Cifar100, data_dir } => {
            download(&Release::cifar100(), &or_default(data_dir))
        }
        DataCommand::Verify { data_dir } => {
            let folder = or_default(data_dir);
            println!("{}: {} verified", folder.display(), verify(&folder)?.join(", "));
            Ok(())
        }
    }
}

/// Downloads what the runs need and `folder` does not hold, and checks what it does hold.
///
/// # Errors
/// If files are there and are not the published ones: nothing of the user's is overwritten.
pub fn fetch_if_absent(configs: &[RunConfig], folder: &Path) -> Result<()> {
    for (name, release) in [(DataName::Cifar10, Release::cifar10()), (DataName::Cifar100, Release::cifar100())] {
        if !configs.iter().any(|config| config.data == name) {
            continue;
        }
        match release.is_complete(folder) {
            true => release.verify(folder)?,
            false => download(&release, folder)?,
        }
    }
    Ok(())
}

fn download(release: &Release, folder: &Path) -> Result<()> {
    fetch(release, folder, None, None, |line| eprintln!("{line}")).with_context(|| {
        let instead = release.found_instead(folder).map_or(String::new(), |instead| format!(" ({instead})"));
        format!("cannot get {}{instead}; --data-dir names a folder that has {} already", release.name, release.folder)
    })
}

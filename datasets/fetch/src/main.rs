//! `msharp-fetch`: CIFAR and published weights from the Hugging Face hub, verified. A program of its own, because its
//! HTTP client and its Parquet reader are 230 crates that nothing else of the workspace needs.

mod weights;

use anyhow::{Context, Result};
use clap::{Args, Parser};
use msharp_data::{Release, fetch};
use std::path::PathBuf;
use std::process::ExitCode;

/// Download from the Hugging Face hub ($HF_ENDPOINT if set) and verify.
#[derive(Parser)]
#[command(version)]
enum Command {
    /// The official files of CIFAR-10
    Cifar10(Destination),
    /// The official files of CIFAR-100
    Cifar100(Destination),
    /// A file of published weights, with the config.json beside it, into the cache of the hub's own tools; prints its
    /// path
    Weights {
        /// The models, ORG/NAME
        repo: String,
        /// The file
        #[arg(default_value = "model.safetensors")]
        file: String,
        /// The cache
        #[arg(long)]
        cache_dir: PathBuf,
    },
}

#[derive(Args)]
struct Destination {
    /// Where to
    #[arg(long, default_value = "datasets")]
    data_dir: PathBuf,
}

fn main() -> ExitCode {
    let say = |line: &str| eprintln!("{line}");
    let images = |release: Release, to: Destination| Ok(fetch(&release, &to.data_dir, None, None, say)?);
    let result = match Command::parse() {
        Command::Cifar10(to) => images(Release::cifar10(), to),
        Command::Cifar100(to) => images(Release::cifar100(), to),
        Command::Weights { repo, file, cache_dir } => weights_of(&repo, &file, cache_dir, say),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // candle appends a backtrace where it is asked for, which a person need not see here
            let text = format!("{error:#}");
            eprintln!("error: {}", text.lines().next().unwrap_or("the download failed"));
            ExitCode::FAILURE
        }
    }
}

/// The configuration first: where the weights are, it has been asked for.
fn weights_of(repo: &str, file: &str, cache: PathBuf, say: impl Fn(&str)) -> Result<()> {
    let hub = weights::Hub::of_environment(cache);
    let config = file.rsplit_once('/').map_or("config.json".to_owned(), |(folder, _)| format!("{folder}/config.json"));
    hub.fetch(repo, &config, &say)?;
    let path = hub.fetch(repo, file, &say)?.with_context(|| format!("the hub has no {file} of {repo}"))?;
    println!("{}", path.display());
    Ok(())
}

//! `msharp-fetch`: CIFAR from the Hugging Face hub, verified. A program of its own, because its HTTP client and its
//! Parquet reader are 230 crates that nothing else of the workspace needs.

use clap::{Parser, ValueEnum};
use msharp_data::{Release, fetch};
use std::path::PathBuf;
use std::process::ExitCode;

/// Download a data set from the Hugging Face hub ($HF_ENDPOINT if set), verify it, and write the official files.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// The data set
    name: Name,
    /// Where to
    #[arg(long, default_value = "datasets")]
    data_dir: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Name {
    /// CIFAR-10
    Cifar10,
    /// CIFAR-100
    Cifar100,
}

fn main() -> ExitCode {
    let Args { name, data_dir } = Args::parse();
    let release = match name {
        Name::Cifar10 => Release::cifar10(),
        Name::Cifar100 => Release::cifar100(),
    };
    match fetch(&release, &data_dir, None, None, |line| eprintln!("{line}")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // candle appends a backtrace where it is asked for, which a person need not see here
            let text = error.to_string();
            eprintln!("error: {}", text.lines().next().unwrap_or("the download failed"));
            ExitCode::FAILURE
        }
    }
}

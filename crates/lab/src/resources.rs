//! What a command uses of its machine: threads, and where CIFAR is.

use crate::paths;
use anyhow::{Context, Result, ensure};
use clap::Args;
use std::path::PathBuf;

/// What does not change a result.
#[derive(Args)]
#[command(next_help_heading = "Machine")]
pub struct Resources {
    /// Where CIFAR is, and where it is downloaded to [default: datasets/]
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Threads that compute; the result has the same bits for any number [default: all cores]
    #[arg(long)]
    threads: Option<usize>,
}

impl Resources {
    /// Sets the number of threads, and says where CIFAR is.
    ///
    /// # Errors
    /// If there can be no such number of threads.
    pub fn prepare(self) -> Result<PathBuf> {
        set_threads(self.threads)?;
        Ok(self.data_dir.unwrap_or_else(paths::datasets))
    }
}

/// Sets the number of computing threads of this process.
///
/// # Errors
/// If it is none from 1 to 1024.
pub fn set_threads(threads: Option<usize>) -> Result<()> {
    let Some(threads) = threads else { return Ok(()) };
    ensure!((1..=1024).contains(&threads), "--threads is {threads}; expected at least 1, at most 1024");
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().context("cannot start --threads threads")
}

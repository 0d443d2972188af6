//! The machine that a command runs on: its threads, and where it keeps CIFAR.

use crate::paths;
use anyhow::{Context, Result, ensure};
use clap::Args;
use std::path::PathBuf;

/// What does not change a result.
#[derive(Args)]
pub struct Machine {
    /// Where CIFAR is; `cargo xtask data fetch` puts it into datasets/ in the workspace, the default
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Threads that compute; the result has the same bits for any number [default: all cores]
    #[arg(long)]
    threads: Option<usize>,
}

impl Machine {
    /// Sets the number of threads, and says where CIFAR is.
    pub fn prepare(self) -> Result<PathBuf> {
        set_threads(self.threads)?;
        Ok(self.data_dir.unwrap_or_else(paths::datasets))
    }
}

/// Sets the number of computing threads of this process.
pub fn set_threads(threads: Option<usize>) -> Result<()> {
    let Some(threads) = threads else { return Ok(()) };
    ensure!((1..=1024).contains(&threads), "--threads is {threads}; expected at least 1, at most 1024");
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().context("cannot start --threads threads")
}

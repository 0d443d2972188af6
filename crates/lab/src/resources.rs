//! What a command uses of its machine: threads, and where CIFAR is.

use crate::config::{DataName, typed};
use crate::experiments::{AnyExperiment, Preset};
use crate::{fetch, paths};
use anyhow::{Result, ensure};
use clap::Args;
use msharp_ops::on_threads;
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
    /// # Errors
    /// If --data-dir is given, and `set` is drawn.
    pub fn check_data(&self, set: &DataName) -> Result<()> {
        ensure!(
            self.data_dir.is_none() || fetch::release(set).is_some(),
            "--data-dir is where CIFAR is, and --data is {set}; expected none, or --data cifar10 or cifar100"
        );
        Ok(())
    }

    /// # Errors
    /// If --data-dir is given, and a preset of `experiment` reads no files.
    pub fn check_experiment(&self, experiment: &dyn AnyExperiment, preset: Preset) -> Result<()> {
        ensure!(
            self.data_dir.is_none() || experiment.reads_files(preset)?,
            "--data-dir is where CIFAR is, which {} does not read at --preset {}; expected none",
            experiment.name(),
            typed(preset)
        );
        Ok(())
    }

    /// Runs `f`, which gets the folder of CIFAR, as [`computing`] does.
    ///
    /// # Errors
    /// Those of [`computing`].
    pub fn computing<T: Send>(self, f: impl FnOnce(PathBuf) -> Result<T> + Send) -> Result<T> {
        let data_dir = self.data_dir.unwrap_or_else(paths::datasets);
        computing(self.threads, || f(data_dir))
    }
}

/// Runs `f` on the first of `threads` computing threads, or of one per core: see [`on_threads`].
///
/// # Errors
/// If there can be no such number of threads, or `f` fails.
pub fn computing<T: Send>(threads: Option<usize>, f: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    if let Some(threads) = threads {
        ensure!((1..=1024).contains(&threads), "--threads is {threads}; expected at least 1, at most 1024");
    }
    on_threads(threads.unwrap_or(0), f)?
}

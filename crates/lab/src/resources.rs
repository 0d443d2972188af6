//! What a command uses of its machine: threads, and where CIFAR is.

use crate::paths;
use anyhow::{Context, Result, ensure};
use clap::Args;
use rayon::ThreadPoolBuilder;
use std::path::PathBuf;

/// Bytes of the stack of a computing thread: as much as a main thread has.
const STACK: usize = 8 << 20;

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
    /// Runs `f`, which gets the folder of CIFAR, as [`computing`] does.
    ///
    /// # Errors
    /// Those of [`computing`].
    pub fn computing<T: Send>(self, f: impl FnOnce(PathBuf) -> Result<T> + Send) -> Result<T> {
        let data_dir = self.data_dir.unwrap_or_else(paths::datasets);
        computing(self.threads, || f(data_dir))
    }
}

/// Runs `f` on one of the computing threads of this process, of which there are `threads`, or one per core.
///
/// There an op begins at once. From any other thread each op would wait until a computing thread wakes up: a third of
/// the time of a small network.
///
/// # Errors
/// If there can be no such number of threads, or `f` fails.
pub fn computing<T: Send>(threads: Option<usize>, f: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    if let Some(threads) = threads {
        ensure!((1..=1024).contains(&threads), "--threads is {threads}; expected at least 1, at most 1024");
    }
    let pool = ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0)).stack_size(STACK);
    pool.build_global().context("cannot start the computing threads")?;
    rayon::scope(|_| f())
}

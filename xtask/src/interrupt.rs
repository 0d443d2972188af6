//! Ctrl-C asks the run to save and return; a second one ends the process at once, and the
//! next run goes on from the last checkpoint, a minute of training back at most.

use anyhow::{Context, Result};
use std::sync::atomic::{AtomicBool, Ordering};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Listens from now on, to SIGINT and SIGTERM.
pub fn listen() -> Result<()> {
    ctrlc::set_handler(|| {
        if REQUESTED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        eprintln!("saving a checkpoint; once more to leave at once");
    })
    .context("cannot listen for Ctrl-C")
}

/// Whether the user asked to stop.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

//! Ctrl-C asks the run to save and return; a second one ends the process at once, and the next run goes on from the
//! last checkpoint, a minute of training back at most.

use anyhow::{Context, Result};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

static REQUESTED: OnceLock<Instant> = OnceLock::new();

/// Wrappers such as `timeout` deliver one interruption twice; within so short a time it counts once.
const ONE_INTERRUPTION: Duration = Duration::from_millis(500);

/// Listens from now on, to SIGINT and SIGTERM.
pub fn listen() -> Result<()> {
    ctrlc::set_handler(|| match REQUESTED.get() {
        Some(first) if first.elapsed() > ONE_INTERRUPTION => std::process::exit(130),
        Some(_) => {}
        None => {
            let _ = REQUESTED.set(Instant::now()); // signals are handled one after another: nobody else sets it
            crate::screen::say("saving a checkpoint; once more to leave at once");
        }
    })
    .context("cannot listen for Ctrl-C")
}

/// Whether the user asked to stop.
pub fn requested() -> bool {
    REQUESTED.get().is_some()
}

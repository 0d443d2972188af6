//! The jobs of an experiment, done by any number of processes on any number of machines that see one folder.
//!
//! In the folder `shared` of the experiment's folder, `KEY.N` says who does the job of that key (see [`lease`]),
//! `KEY.json` is the row of a job that is done, written once, and `NAME.plan` lists the jobs, so that all processes do
//! the same. A job is taken over from its last checkpoint. The files of a run are written right after its lease is
//! renewed.

pub mod lease;
pub mod numbers;
mod plan;
mod rows;

pub use plan::{Plan, starts};
pub use rows::{gather, rows};

use anyhow::{Result, ensure};
use clap::Args;
use numbers::Holder;
use std::path::Path;
use std::time::Duration;

/// Whether several processes do the jobs.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct SharedArgs {
    /// Share the jobs with every process that runs this command on the same --out, on any machine
    #[arg(long, help_heading = "Machine")]
    shared: bool,
    /// A shared job whose process has not been seen for so long is taken over [default: 120]
    #[arg(long, value_name = "SECONDS", default_value_t = 120., hide_default_value = true, requires = "shared")]
    #[arg(help_heading = "Machine")]
    lease: f64,
}

impl SharedArgs {
    /// The time of a lease, where jobs are shared.
    ///
    /// # Errors
    /// If it is too short to be renewed over a network, or not finite.
    pub fn lease(&self) -> Result<Option<Duration>> {
        let Self { shared, lease } = *self;
        ensure!((1. ..=86_400.).contains(&lease), "--lease is {lease}; expected at least 1, at most 86400 seconds");
        Ok(shared.then(|| Duration::from_secs_f64(lease)))
    }
}

/// Who does the job whose files are in `run`, a folder in that of an experiment; none if nobody does.
///
/// # Errors
/// Names the file that cannot be read.
pub fn holder_of(run: &Path) -> Result<Option<Holder>> {
    match (run.parent(), run.file_name().and_then(|name| name.to_str())) {
        (Some(folder), Some(name)) => numbers::holder_of(&folder.join("shared"), name),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::numbers::advance;
    use super::*;

    #[test]
    fn the_holder_of_a_run_is_that_of_its_lease() {
        let folder = tempfile::tempdir().unwrap();
        let (run, shared) = (folder.path().join("resnet8-sgd"), folder.path().join("shared"));
        assert_eq!(holder_of(&run).unwrap(), None);
        std::fs::create_dir(&shared).unwrap();
        let own = Holder::this(Duration::from_secs(60));
        assert!(advance(&shared, "resnet8-sgd", 4, &own).unwrap());
        assert_eq!(holder_of(&run).unwrap(), Some(own));
        assert_eq!(holder_of(&folder.path().join("resnet8-sam")).unwrap(), None);
    }
}

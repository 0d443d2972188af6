//! What an experiment is made of: jobs, and the place where they are done.

use crate::config::{DataName, DeviceName, PrecisionName, typed};
use crate::data::{self, Datasets};
use crate::ranks::Ranks;
use crate::row::{Content, Row};
use crate::shared::lease::Lease;
use anyhow::{Result, ensure};
use std::path::{Path, PathBuf};

/// One piece of work of an experiment, done in one go and recorded as one row.
pub trait Job: Sized {
    /// What it makes.
    type Content: Content;

    /// Whether several ranks can do it together; otherwise it is for one process.
    const IS_FOR_RANKS: bool = false;

    /// Of which of several like it, for people.
    fn title(&self) -> String;

    /// A name for files, of no other job.
    fn key(&self) -> String;

    /// The name of what one process does in one go: itself, or all jobs that share a computation.
    fn group(&self) -> String {
        self.key()
    }

    /// The jobs that must be done before it, since it starts from what they leave, in their order; none is a result.
    fn before(&self) -> Vec<Self> {
        Vec::new()
    }

    /// Whether what others start from is there.
    fn is_made(&self, _place: &Place) -> bool {
        false
    }

    /// Whether `found` is its result.
    fn is_of(&self, found: &Self::Content) -> bool;

    /// The same on another device.
    ///
    /// # Errors
    /// If it is no work for a device.
    fn on(self, device: DeviceName, precision: PrecisionName) -> Result<Self> {
        for (flag, is_default, given) in [
            ("device", device == DeviceName::Cpu, typed(device)),
            ("precision", precision == PrecisionName::F32, typed(precision)),
        ] {
            ensure!(is_default, "--{flag} is {given}, and this experiment trains no network; expected none");
        }
        Ok(self)
    }

    /// Whether it can be done, as far as that is known without data.
    ///
    /// # Errors
    /// Names what cannot.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// The same with what is known once its files are at hand.
    ///
    /// # Errors
    /// If they are not, or are others than it asks for.
    fn resolved(self) -> Result<Self> {
        Ok(self)
    }

    /// The data set that it reads, if it reads any.
    fn data(&self) -> Option<DataName> {
        None
    }

    /// What will be done, a line for each kind of job.
    fn plan(_jobs: &[Self]) -> Vec<String> {
        Vec::new()
    }

    /// Whether all of `missing` can be done, and in how many seconds, where that is known: before the first is begun.
    ///
    /// # Errors
    /// Whatever can be known in advance.
    fn prepare(_missing: &[&Self], _place: &mut Place) -> Result<Option<Vec<f64>>> {
        Ok(None)
    }

    /// Does it; `None` if the user asked to stop.
    ///
    /// # Errors
    /// If it fails.
    fn run(&self, title: &str, place: &mut Place) -> Result<Option<Row<Self::Content>>>;

    /// # Errors
    /// If the results of `jobs` are no replacement for `known`, those that are committed.
    fn check_replaces(_jobs: &[Self], _known: &[Row<Self::Content>]) -> Result<()> {
        Ok(())
    }
}

/// Where jobs are done, and by whom.
pub struct Place<'a> {
    /// The folder of their rows, and of a folder for each run.
    pub folder: PathBuf,
    /// Where image files are.
    pub data_dir: PathBuf,
    /// What was read of them.
    pub data: Datasets,
    /// The ranks that do each job together.
    pub ranks: &'a Ranks<'a>,
    /// Whether other processes work in the folder too.
    pub is_shared: bool,
    /// The lease of the job that is done, where jobs are shared.
    pub lease: Option<Lease>,
}

impl<'a> Place<'a> {
    /// In `folder`, with images from `data_dir`.
    pub fn new(folder: &Path, data_dir: &Path, ranks: &'a Ranks<'a>) -> Self {
        let (folder, data) = (folder.to_owned(), Datasets::new(data_dir));
        Self { folder, data_dir: data_dir.to_owned(), data, ranks, is_shared: false, lease: None }
    }

    /// Whether the job that is done is still this process's: called before anything of it is written.
    ///
    /// # Errors
    /// If another process has taken over.
    pub fn renew(&self) -> Result<()> {
        self.lease.as_ref().map_or(Ok(()), Lease::renew)
    }

    /// What an experiment takes that is indifferent to which images it has.
    pub fn images(&self) -> DataName {
        data::at_hand(&self.data_dir)
    }
}

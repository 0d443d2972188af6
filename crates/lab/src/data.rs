//! The data of a configuration, read once and shared by all runs that use it.

mod by_label;
mod in_memory;
mod pictures;

pub use by_label::ByLabel;

use crate::config::{DataName, RunConfig};
use crate::hex::hex;
use anyhow::{Context, Result, bail, ensure};
use msharp_core::DataSource;
use msharp_data::{
    BrokenPictures, Dataset, Images, Mixed, Release, Selection, Split, cifar10, cifar100, synthetic, thumbnails,
};
use sha2::{Digest, Sha256};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The drawn sets of the experiments: 10 000 training and 2 000 test images from seed 0.
const DRAWN: (usize, usize, u64) = (10_000, 2_000, 0);

/// Evaluation batches: large enough to keep both cores busy, small enough for a wide net; of large images as many as
/// have so many pixels together.
const EVALUATION: (usize, usize) = (200, 1 << 20);

/// Batches of a set in memory, or of pictures that are read as they are needed.
pub type Source = Arc<dyn DataSource + Send + Sync>;

/// Data sets that were read so far.
pub struct Datasets {
    folder: PathBuf,
    /// By the set, and how many of its training images are held out.
    read: Vec<((DataName, Option<usize>), Shared)>,
}

/// A data set as it was read, shared and never copied.
#[derive(Clone)]
struct Shared {
    train: Set,
    test: Set,
}

/// Training or test images.
#[derive(Clone)]
enum Set {
    Memory(Arc<Dataset>),
    Stored(Arc<dyn Images>),
}

/// The streams of one run.
pub struct Streams {
    /// Shuffled and augmented.
    pub train: Source,
    /// The training set in order and as it is, for the rules that ascend on all of it.
    pub whole: Source,
    /// The test set.
    pub test: Source,
    /// The training set in two, where some labels are wrong.
    pub by_label: Option<ByLabel>,
    /// Pictures that could not be read so far; none where the first is an error.
    pub broken: Option<Arc<BrokenPictures>>,
    /// The number of classes.
    pub classes: usize,
    /// What they are called; empty where they have no names.
    pub class_names: Vec<String>,
    /// Mean and standard deviation of each channel by which they are normalised.
    pub normalisation: ([f32; 3], [f32; 3]),
    /// What the sets are: names, numbers and a digest of the labels, so that a run does not go on with other images.
    pub contents: String,
}

/// What an experiment takes that is indifferent to which images it has: CIFAR-10 where it is in `folder`, else the
/// synthetic set. Nothing is downloaded.
pub fn at_hand(folder: &Path) -> DataName {
    if Release::cifar10().is_complete(folder) { DataName::Cifar10 } else { DataName::Synthetic }
}

/// The training and the test pictures of a set on disk. Nothing is decoded.
///
/// # Errors
/// If there are none, or they are not what their kind consists of; or the set is one in memory.
pub fn pictures(name: &DataName) -> Result<(Arc<dyn Images>, Arc<dyn Images>)> {
    match name {
        DataName::Folder(path) => pictures::folder(path),
        DataName::Tar(path) => pictures::tar(path),
        DataName::Parquet(path, columns) => pictures::parquet(path, columns),
        _ => bail!("{name} has no picture files; expected folder:PATH, tar:PATH or parquet:PATH"),
    }
}

impl Datasets {
    /// CIFAR is looked for in `folder`.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), read: Vec::new() }
    }

    /// The streams of a configuration.
    pub fn streams(&mut self, config: &RunConfig) -> Result<Streams> {
        let Shared { train, test } = self.shared(&config.data.set, config.data.validation)?;
        for (flag, n, set) in [("subset", config.data.subset, &train), ("test-subset", config.data.test_subset, &test)]
        {
            ensure!(
                n != Some(set.labels().len()),
                "--{flag} is {}, and {} has as many images; expected fewer, or no such flag",
                set.labels().len(),
                set.name()
            );
        }
        let own = match &train {
            Set::Memory(set) => Some((set.mean, set.std)),
            Set::Stored(_) => None,
        };
        let mut streams = match (train, test, config.transforms(own)) {
            (Set::Memory(train), Set::Memory(test), None) => in_memory::streams(config, train, test),
            (train, test, transforms) => {
                let transforms = transforms.context("pictures on disk are brought to a size")?;
                pictures::streams(config, transforms, train.images(), test.images())
            }
        }?;
        let mixing = config.images.mixing();
        if !mixing.is_none() {
            streams.train = Arc::new(Mixed { source: streams.train, mixing, classes: streams.classes });
        }
        Ok(streams)
    }

    fn shared(&mut self, name: &DataName, validation: Option<usize>) -> Result<Shared> {
        if let Some((_, shared)) = self.read.iter().find(|((known, n), _)| known == name && *n == validation) {
            return Ok(shared.clone());
        }
        if let Some(n) = validation {
            let (train, test) = self.shared(name, None)?.train.hold_out(n)?;
            let shared = Shared { train, test };
            self.read.push(((name.clone(), validation), shared.clone()));
            return Ok(shared);
        }
        let (n_train, n_test, seed) = DRAWN;
        let in_memory = |Split { train, test }: Split| Shared {
            train: Set::Memory(Arc::new(train)),
            test: Set::Memory(Arc::new(test)),
        };
        let shared = match name {
            DataName::Synthetic => in_memory(synthetic(n_train, n_test, seed)),
            DataName::Thumbnails => in_memory(thumbnails(n_train, n_test, seed)),
            DataName::Cifar10 => in_memory(cifar10(&self.folder)?),
            DataName::Cifar100 => in_memory(cifar100(&self.folder)?),
            on_disk => {
                let (train, test) = pictures(on_disk)?;
                Shared { train: Set::Stored(train), test: Set::Stored(test) }
            }
        };
        self.read.push(((name.clone(), None), shared.clone()));
        Ok(shared)
    }
}

impl Set {
    /// The set without `n` images, and these; the same for every seed of a run.
    fn hold_out(self, n: usize) -> Result<(Set, Set)> {
        let all = self.labels().len();
        ensure!(n < all, "--validation is {n}, and {} has {all} images; expected fewer", self.name());
        Ok(match self {
            Set::Memory(set) => {
                let [rest, held] = set.hold_out(n, 0)?;
                (Set::Memory(Arc::new(rest)), Set::Memory(Arc::new(held)))
            }
            Set::Stored(images) => {
                let [rest, held] = Selection::all(images).hold_out(n, 0)?;
                (Set::Stored(Arc::new(rest)), Set::Stored(Arc::new(held)))
            }
        })
    }

    fn images(self) -> Arc<dyn Images> {
        match self {
            Set::Memory(set) => set,
            Set::Stored(images) => images,
        }
    }
}

impl Deref for Set {
    type Target = dyn Images;

    fn deref(&self) -> &Self::Target {
        match self {
            Set::Memory(set) => &**set,
            Set::Stored(images) => &**images,
        }
    }
}

/// What the sets of a run are: see [`Streams::contents`].
fn contents(train: &dyn Images, test: &dyn Images) -> String {
    let of = |images: &dyn Images| {
        let labels: Vec<u8> = images.labels().iter().flat_map(|label| label.to_le_bytes()).collect();
        let digest = hex(&Sha256::digest(labels)[..8]);
        format!("{} ({} images, {digest})", images.name(), images.labels().len())
    };
    format!("{}; {}", of(train), of(test))
}

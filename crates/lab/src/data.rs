//! The data of a configuration, read once and shared by all runs that use it.

use crate::config::{AugmentName, DataName, RunConfig};
use anyhow::{Result, ensure};
use candle_core::Device;
use msharp_data::{Augment, Dataset, Loader, Placement, Release, Split, cifar10, cifar100, synthetic, thumbnails};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The drawn sets of the experiments: 10 000 training and 2 000 test images from seed 0.
const DRAWN: (usize, usize, u64) = (10_000, 2_000, 0);

/// Evaluation batches: large enough to keep both cores busy, small enough for a wide net.
const EVALUATION_BATCH: usize = 200;

/// Data sets that were read so far.
pub struct Datasets {
    folder: PathBuf,
    read: Vec<(DataName, Shared)>,
}

/// A data set as it was read, shared and never copied.
#[derive(Clone)]
struct Shared {
    train: Arc<Dataset>,
    test: Arc<Dataset>,
}

/// The streams of one run.
pub struct Streams {
    /// Shuffled and augmented.
    pub train: Loader,
    /// The training set in order and as it is, for the rules that ascend on all of it.
    pub whole: Loader,
    /// The test set.
    pub test: Loader,
    /// The training set in two, where some labels are wrong.
    pub by_label: Option<ByLabel>,
    /// The number of classes.
    pub classes: usize,
}

/// Training images by whether their label is the true one. They are copied when they are asked for, and not before.
pub struct ByLabel {
    train: Arc<Dataset>,
    clean: Vec<usize>,
    wrong: Vec<usize>,
    device: Device,
}

/// What an experiment takes that is indifferent to which images it has: CIFAR-10 where it is in `folder`, else the
/// synthetic set. Nothing is downloaded.
pub fn at_hand(folder: &Path) -> DataName {
    if Release::cifar10().is_complete(folder) { DataName::Cifar10 } else { DataName::Synthetic }
}

impl Datasets {
    /// CIFAR is looked for in `folder`.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), read: Vec::new() }
    }

    /// The streams of a configuration.
    pub fn streams(&mut self, config: &RunConfig) -> Result<Streams> {
        let seed = config.optimisation.seed;
        let Shared { mut train, mut test } = self.shared(config.data.set)?;
        let classes = train.classes;
        for (flag, n, all) in [("subset", config.data.subset, &train), ("test-subset", config.data.test_subset, &test)]
        {
            ensure!(
                n != Some(all.len()),
                "--{flag} is {}, and {} has as many images; expected fewer, or no such flag",
                all.len(),
                all.name
            );
        }
        if let Some(n) = config.data.subset {
            train = Arc::new(train.subset(n, seed)?);
        }
        let truth = train.clone();
        if config.data.label_noise > 0. {
            let noisy = Arc::unwrap_or_clone(train.clone()).with_label_noise(config.data.label_noise, seed)?;
            ensure!(
                noisy.labels != train.labels,
                "--label-noise is {}, which changes no label of {} images; expected a larger share",
                config.data.label_noise,
                train.len()
            );
            train = Arc::new(noisy);
        }
        if let Some(n) = config.data.test_subset {
            test = Arc::new(test.subset(n, 0)?); // the same images for every seed
        }
        let augment = match config.data.augment {
            AugmentName::None => Augment::none(),
            AugmentName::Standard => Augment::standard(),
        };
        let device = config.machine.device.open()?;
        let (by_label, placement) = (ByLabel::of(&train, &truth, &device), Placement::of(&train, &device)?);
        Ok(Streams {
            whole: Loader {
                placement: placement.clone(),
                ..Loader::eval(train.clone(), config.optimisation.batch_size)
            },
            train: Loader {
                augment: Augment { cutout: config.data.cutout, ..augment },
                placement,
                ..Loader::train(train, config.optimisation.batch_size, seed)
            },
            test: evaluated(test, &device)?,
            by_label,
            classes,
        })
    }

    fn shared(&mut self, name: DataName) -> Result<Shared> {
        if let Some((_, shared)) = self.read.iter().find(|(known, _)| *known == name) {
            return Ok(shared.clone());
        }
        let (n_train, n_test, seed) = DRAWN;
        let Split { train, test } = match name {
            DataName::Synthetic => synthetic(n_train, n_test, seed),
            DataName::Thumbnails => thumbnails(n_train, n_test, seed),
            DataName::Cifar10 => cifar10(&self.folder)?,
            DataName::Cifar100 => cifar100(&self.folder)?,
        };
        let shared = Shared { train: Arc::new(train), test: Arc::new(test) };
        self.read.push((name, shared.clone()));
        Ok(shared)
    }
}

/// A set in order and as it is, in large batches, on the device.
fn evaluated(set: Arc<Dataset>, device: &Device) -> Result<Loader> {
    Ok(Loader { placement: Placement::of(&set, device)?, ..Loader::eval(set, EVALUATION_BATCH) })
}

impl ByLabel {
    /// None where there are no images of either kind.
    fn of(train: &Arc<Dataset>, truth: &Dataset, device: &Device) -> Option<Self> {
        let is_true = |i: &usize| train.labels[*i] == truth.labels[*i];
        let (clean, wrong): (Vec<usize>, Vec<usize>) = (0..train.len()).partition(is_true);
        let (train, device) = (train.clone(), device.clone());
        (!clean.is_empty() && !wrong.is_empty()).then_some(Self { train, clean, wrong, device })
    }

    /// The images with their true label.
    ///
    /// # Errors
    /// If they cannot be placed on the device.
    pub fn clean(&self) -> Result<Loader> {
        evaluated(Arc::new(self.train.select(&self.clean)?), &self.device)
    }

    /// Those with another.
    ///
    /// # Errors
    /// As of the others.
    pub fn wrong(&self) -> Result<Loader> {
        evaluated(Arc::new(self.train.select(&self.wrong)?), &self.device)
    }
}

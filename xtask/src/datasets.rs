//! The data of a configuration, read once and shared by all runs that use it.

use crate::config::{AugmentName, DataName, RunConfig};
use anyhow::Result;
use msharp_data::{Augment, Dataset, Loader, Split, cifar10, cifar100, synthetic};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The synthetic set of the experiments: 10 000 training and 2 000 test images from seed 0.
const SYNTHETIC: (usize, usize, u64) = (10_000, 2_000, 0);

/// Evaluation batches: large enough to keep both cores busy, small enough for a wide net.
const EVALUATION_BATCH: usize = 200;

/// Data sets that were read so far.
pub struct Datasets {
    folder: PathBuf,
    read: Vec<(DataName, Split)>,
}

/// The streams of one run.
pub struct Streams {
    /// Shuffled and augmented.
    pub train: Loader,
    /// The training set in order and as it is, for the rules that ascend on all of it.
    pub whole: Loader,
    /// The test set.
    pub test: Loader,
    /// The number of classes.
    pub classes: usize,
}

impl Datasets {
    /// CIFAR is looked for in `folder`.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), read: Vec::new() }
    }

    /// The streams of a configuration.
    pub fn streams(&mut self, config: &RunConfig) -> Result<Streams> {
        let seed = config.seed;
        let split = self.split(config.data)?;
        let (classes, mut train) = (split.train.classes, split.train.clone());
        if let Some(n) = config.subset {
            train = train.subset(n, seed)?;
        }
        if config.label_noise > 0. {
            train = train.with_label_noise(config.label_noise, seed)?;
        }
        let test: Dataset = match config.test_subset {
            Some(n) => split.test.subset(n, 0)?, // the same images for every seed
            None => split.test.clone(),
        };
        let train = Arc::new(train);
        let augment = match config.augment {
            AugmentName::None => Augment::none(),
            AugmentName::Standard => Augment::standard(),
        };
        Ok(Streams {
            whole: Loader::eval(train.clone(), config.batch_size),
            train: Loader {
                augment: Augment { cutout: config.cutout, ..augment },
                ..Loader::train(train, config.batch_size, seed)
            },
            test: Loader::eval(Arc::new(test), EVALUATION_BATCH),
            classes,
        })
    }

    fn split(&mut self, name: DataName) -> Result<&Split> {
        let at = match self.read.iter().position(|(known, _)| *known == name) {
            Some(at) => at,
            None => {
                let split = match name {
                    DataName::Synthetic => {
                        let (train, test, seed) = SYNTHETIC;
                        synthetic(train, test, seed)
                    }
                    DataName::Cifar10 => cifar10(&self.folder)?,
                    DataName::Cifar100 => cifar100(&self.folder)?,
                };
                self.read.push((name, split));
                self.read.len() - 1
            }
        };
        Ok(&self.read[at].1)
    }
}

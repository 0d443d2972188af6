//! Labelled pictures that are read one at a time: a folder, shards, or a set in memory.

use crate::dataset::order;
use crate::{Dataset, Picture};
use candle_core::{Error, Result};
use msharp_core::Key;
use rayon::prelude::*;
use std::fmt::Debug;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Labelled pictures of any size by index, which may stay on disk: memory holds their labels and where they are.
///
/// [`picture`](Images::picture) is called from several threads at once, and is a pure function of the index.
pub trait Images: Debug + Send + Sync {
    /// The name in messages: `photos train`.
    fn name(&self) -> &str;

    /// `[n]`, each below [`classes`](Images::classes).
    fn labels(&self) -> &[u32];

    /// The number of classes.
    fn classes(&self) -> usize;

    /// What class `class` is called; its number where it has no name.
    fn class_name(&self, class: usize) -> String {
        class.to_string()
    }

    /// Where picture `index` comes from, for messages: a path, or a shard and the entry in it.
    fn origin(&self, index: usize) -> String {
        format!("{} {index}", self.name())
    }

    /// Reads and decodes picture `index`.
    ///
    /// # Errors
    /// Names the [`origin`](Images::origin) of a picture that cannot be read.
    fn picture(&self, index: usize) -> Result<Picture>;

    /// The order of an epoch: a permutation of the indices that is a pure function of `key`. Pictures that are read
    /// best one after the other are kept near each other.
    fn order(&self, key: Key) -> Vec<usize> {
        order(self.labels().len(), key)
    }
}

impl Images for Dataset {
    fn name(&self) -> &str {
        &self.name
    }

    fn labels(&self) -> &[u32] {
        &self.labels
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn picture(&self, index: usize) -> Result<Picture> {
        let (height, width) = self.size;
        Ok(Picture { height, width, pixels: self.image(index).to_vec() })
    }
}

/// Decodes all pictures on the threads of rayon, and returns the index and the error of each that fails, in order.
///
/// `on_progress` receives the number of pictures that are done, from several threads.
pub fn find_broken(images: &dyn Images, on_progress: impl Fn(usize) + Sync) -> Vec<(usize, Error)> {
    let done = AtomicUsize::new(0);
    let check = |index| {
        let error = images.picture(index).err();
        on_progress(done.fetch_add(1, Ordering::Relaxed) + 1);
        error.map(|error| (index, error))
    };
    (0..images.labels().len()).into_par_iter().filter_map(check).collect()
}

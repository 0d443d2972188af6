//! The pictures that could not be read and were left out.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The pictures that an [`ImageLoader`](crate::ImageLoader) left out, each once, however many epochs met it.
///
/// A picture is listed when the batch that lacks it is taken. What one thread prints is complete after the epoch.
#[derive(Debug, Default)]
pub struct BrokenPictures(Mutex<BTreeMap<String, String>>);

impl BrokenPictures {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Where each comes from and why it cannot be read, in the order of the origins.
    pub fn list(&self) -> Vec<(String, String)> {
        self.lock().iter().map(|(origin, why)| (origin.clone(), why.clone())).collect()
    }

    pub(super) fn insert(&self, origin: String, why: String) {
        self.lock().insert(origin, why);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

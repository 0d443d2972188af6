//! The row groups that were read last.

use parquet::data_type::ByteArray;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The pictures of a row group, none where a row has none; or why it cannot be read.
pub(super) type Pictures = Result<Vec<Option<ByteArray>>, String>;

/// Row groups by number, the one that was used last at the end.
#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<VecDeque<Held>>);

#[derive(Debug)]
struct Held {
    group: usize,
    bytes: u64,
    pictures: Arc<OnceLock<Arc<Pictures>>>,
}

impl Cache {
    /// The pictures of row group `group`, of `bytes` bytes. Calls `read` where they are not held; other threads that
    /// want the same group wait for it. Drops those that were not used for longest until at most `most` bytes are held.
    pub(super) fn group(&self, group: usize, bytes: u64, most: u64, read: impl FnOnce() -> Pictures) -> Arc<Pictures> {
        let cell = {
            let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let known = held.iter().position(|held| held.group == group).and_then(|at| held.remove(at));
            let newest = known.unwrap_or_else(|| Held { group, bytes, pictures: Arc::default() });
            let cell = newest.pictures.clone();
            held.push_back(newest);
            while held.len() > 1 && held.iter().map(|held| held.bytes).fold(0, u64::saturating_add) > most {
                held.pop_front();
            }
            cell
        };
        cell.get_or_init(|| Arc::new(read())).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_is_dropped_and_read_again() {
        let (cache, mut read) = (Cache::default(), Vec::new());
        for group in [1, 2, 1, 3, 1, 2, 4, 4] {
            let pictures = cache.group(group, 10, 25, || {
                read.push(group);
                Ok(vec![None; group])
            });
            assert_eq!(pictures.as_ref().as_ref().unwrap().len(), group);
        }
        assert_eq!(read, [1, 2, 3, 2, 4]); // two fit; 3 drops 2, 2 drops 3, 4 drops 1
        cache.group(5, 1000, 25, || Ok(Vec::new()));
        assert_eq!(cache.0.lock().unwrap().len(), 1, "one that is too large is held alone");
    }

    #[test]
    fn threads_that_want_one_group_read_it_once() {
        let (cache, reads) = (Cache::default(), Mutex::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    cache.group(7, 1, 10, || {
                        std::thread::sleep(std::time::Duration::from_millis(5));
                        *reads.lock().unwrap() += 1;
                        Ok(Vec::new())
                    })
                });
            }
        });
        assert_eq!(*reads.lock().unwrap(), 1);
    }
}

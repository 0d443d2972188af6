//! The free parts of memory, by address and by size.

use std::collections::{BTreeMap, BTreeSet};

/// Free parts, none of which touches another. Its own nodes are small, and so the system's.
#[derive(Debug)]
pub(super) struct Free {
    by_address: BTreeMap<usize, usize>,
    by_size: BTreeSet<(usize, usize)>,
}

impl Free {
    /// Nothing.
    pub(super) const fn new() -> Self {
        Self { by_address: BTreeMap::new(), by_size: BTreeSet::new() }
    }

    /// The address of `size` bytes that are free no more: from the smallest part that has so many, and of several the
    /// first in memory.
    pub(super) fn take(&mut self, size: usize) -> Option<usize> {
        let &(len, address) = self.by_size.range((size, 0)..).next()?;
        self.remove(address, len);
        if len > size {
            self.insert(address + size, len - size);
        }
        Some(address)
    }

    /// Makes `size` bytes free, and one part of them and of their free neighbours.
    pub(super) fn give(&mut self, mut address: usize, mut size: usize) {
        if let Some((&after, &len)) = self.by_address.range(address..).next()
            && after == address + size
        {
            self.remove(after, len);
            size += len;
        }
        if let Some((&before, &len)) = self.by_address.range(..address).next_back()
            && before + len == address
        {
            self.remove(before, len);
            (address, size) = (before, len + size);
        }
        self.insert(address, size);
    }

    fn insert(&mut self, address: usize, size: usize) {
        self.by_address.insert(address, size);
        self.by_size.insert((size, address));
    }

    fn remove(&mut self, address: usize, size: usize) {
        self.by_address.remove(&address);
        self.by_size.remove(&(size, address));
    }

    /// The parts, in the order of their addresses.
    #[cfg(test)]
    pub(super) fn parts(&self) -> Vec<(usize, usize)> {
        assert!(self.by_size.iter().all(|(size, address)| self.by_address.get(address) == Some(size)));
        assert_eq!(self.by_size.len(), self.by_address.len());
        self.by_address.iter().map(|(address, size)| (*address, *size)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_cut_where_they_fit_best_and_become_one_again() {
        let mut free = Free::new();
        free.give(1000, 100);
        free.give(2000, 40);
        assert_eq!(free.take(30), Some(2000));
        assert_eq!(free.take(30), Some(1000));
        assert_eq!(free.take(71), None);
        assert_eq!(free.parts(), [(1030, 70), (2030, 10)]);
        free.give(2000, 30);
        free.give(1000, 30);
        assert_eq!(free.parts(), [(1000, 100), (2000, 40)]);
        let all: Vec<usize> = (0..10).map(|_| free.take(10).expect("140 bytes")).collect();
        assert_eq!(all[..4], [2000, 2010, 2020, 2030]);
        for i in [0, 2, 1, 3, 4, 9, 8, 5, 7, 6] {
            free.give(all[i], 10);
        }
        assert_eq!(free.parts(), [(1000, 100), (2000, 40)]);
    }
}

//! The order of an epoch where samples lie in groups that are read together: shards, or row groups.

use msharp_core::Key;
use rand::seq::SliceRandom;
use std::ops::Range;

/// Samples that lie together.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub samples: Range<usize>,
    /// What counts towards a window: samples, or bytes.
    pub cost: u64,
}

/// A permutation of all samples: the groups in a random order, cut into windows whose samples are shuffled.
///
/// A window has as many successive groups as cost at most `capacity` together, and one at least. A pure function of
/// its arguments.
pub(crate) fn in_windows(mut groups: Vec<Group>, capacity: u64, key: Key) -> Vec<usize> {
    let mut rng = key.rng();
    groups.shuffle(&mut rng);
    let (mut order, mut start, mut cost) = (Vec::new(), 0, 0u64);
    for group in groups {
        if cost.saturating_add(group.cost) > capacity {
            order[start..].shuffle(&mut rng);
            (start, cost) = (order.len(), 0);
        }
        order.extend(group.samples);
        cost = cost.saturating_add(group.cost);
    }
    order[start..].shuffle(&mut rng);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups of these sizes, at one sample a unit.
    fn groups(sizes: &[usize]) -> Vec<Group> {
        let mut end = 0;
        let group = |&size: &usize| {
            end += size;
            Group { samples: end - size..end, cost: size as u64 }
        };
        sizes.iter().map(group).collect()
    }

    #[test]
    fn it_is_a_permutation_of_the_key_whose_windows_are_whole_groups() {
        let sizes = [3, 0, 4, 4, 1, 9, 2];
        let order = in_windows(groups(&sizes), 8, Key::new(1));
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..23).collect::<Vec<_>>());
        assert_eq!(order, in_windows(groups(&sizes), 8, Key::new(1)));
        assert_ne!(order, in_windows(groups(&sizes), 8, Key::new(2)));

        // groups of four in windows of two: each window of eight samples holds two whole groups
        let order = in_windows(groups(&[4; 6]), 8, Key::new(3));
        for window in order.chunks(8) {
            let mut groups: Vec<usize> = window.iter().map(|sample| sample / 4).collect();
            groups.sort_unstable();
            assert!(groups.chunks(4).all(|of| of.iter().all(|&group| group == of[0])), "{window:?}");
            assert!(!window.is_sorted(), "{window:?}");
        }
    }

    #[test]
    fn a_window_of_everything_is_a_shuffle_and_one_of_nothing_keeps_groups_together() {
        let all = in_windows(groups(&[5; 20]), 100, Key::new(4));
        let together = all.windows(2).filter(|pair| pair[0] / 5 == pair[1] / 5).count();
        assert!(together < 20, "{together} of 99 neighbours are of one group, 4 are expected");
        let none = in_windows(groups(&[5; 20]), 0, Key::new(4));
        assert!(none.chunks(5).all(|group| group.iter().all(|sample| sample / 5 == group[0] / 5)));
        assert_eq!(in_windows(Vec::new(), 8, Key::new(1)), [0usize; 0]);
    }
}

//! Means and variances of outputs, by groups that are merged in a fixed order.

use crate::ensemble::{MonteCarlo, Stopped};

/// Mean and squared deviations of the numbers seen so far (Welford, 1962).
#[derive(Clone, Copy, Default)]
pub(crate) struct Sum {
    count: u64,
    mean: f64,
    squares: f64,
}

impl Sum {
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1;
        let off = value - self.mean;
        self.mean += off / self.count as f64;
        self.squares += off * (value - self.mean);
    }

    /// Of the numbers of both (Chan, Golub and LeVeque, 1979).
    fn merge(self, other: Self) -> Self {
        let (n, m) = (self.count as f64, other.count as f64);
        let off = other.mean - self.mean;
        Self {
            count: self.count + other.count,
            mean: self.mean + off * m / (n + m),
            squares: self.squares + other.squares + off * off * n * m / (n + m),
        }
    }

    pub(crate) fn estimate(&self) -> MonteCarlo {
        let variance = self.squares / self.count.saturating_sub(1).max(1) as f64;
        MonteCarlo { mean: self.mean, variance, paths: self.count }
    }
}

/// The mean, its variance and the count of some numbers, in their order.
pub(crate) fn estimate(numbers: impl Iterator<Item = f64>) -> MonteCarlo {
    let mut sum = Sum::default();
    numbers.for_each(|number| sum.add(number));
    sum.estimate()
}

/// The sums of all groups, merged in a tree that depends on their number only.
pub(crate) fn merged(
    groups: std::ops::Range<usize>,
    of: &(impl Fn(usize) -> Result<Vec<Sum>, Stopped> + Sync),
) -> Result<Vec<Sum>, Stopped> {
    if groups.len() == 1 {
        return of(groups.start);
    }
    let middle = groups.start + groups.len() / 2;
    let (left, right) = rayon::join(|| merged(groups.start..middle, of), || merged(middle..groups.end, of));
    let (mut left, right) = (left?, right?);
    left.iter_mut().zip(right).for_each(|(left, right)| *left = left.merge(right));
    Ok(left)
}

//! Differences paired by seed, and what can be said of them: Student's interval.

use crate::statistics::{Summary, summarise};
use statrs::distribution::{ContinuousCDF, StudentsT};

/// The share of intervals that hold the truth, where differences are normal.
pub const CONFIDENCE: f64 = 0.95;

/// The fewest differences that have an interval: two accuracies of small test sets can agree by chance, and an interval
/// without a width would follow.
pub const FEWEST: usize = 3;

/// A mean difference with its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Paired {
    /// The mean of the differences.
    pub mean: f64,
    /// How far the interval reaches on either side; none of fewer than [`FEWEST`] differences.
    pub half: Option<f64>,
    /// How many differences.
    pub n: usize,
}

/// On which side of 0 an interval lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Above 0.
    Above,
    /// Below 0.
    Below,
    /// It holds 0, or there is none: no difference can be told.
    Around,
}

/// Mean and interval mean ± t s/√n, with the (1 + 0.95)/2 quantile t of n − 1 degrees of freedom; none of no
/// differences.
pub fn paired(differences: &[f64]) -> Option<Paired> {
    let Summary { mean, std, n } = summarise(differences)?;
    let half = std.filter(|_| n >= FEWEST).map(|std| quantile(n - 1) * std / (n as f64).sqrt());
    Some(Paired { mean, half, n })
}

/// Student's two-sided quantile.
pub fn quantile(degrees: usize) -> f64 {
    let t = StudentsT::new(0., 1., degrees as f64).expect("at least one degree of freedom");
    t.inverse_cdf(0.5 + CONFIDENCE / 2.)
}

impl Paired {
    /// Its ends.
    pub fn interval(&self) -> Option<(f64, f64)> {
        self.half.map(|half| (self.mean - half, self.mean + half))
    }

    /// Where it lies.
    pub fn side(&self) -> Side {
        match self.interval() {
            Some((low, _)) if low > 0. => Side::Above,
            Some((_, high)) if high < 0. => Side::Below,
            _ => Side::Around,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (degrees, expected) in [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (9, 2.2622), (30, 2.0423)] {
            let found = quantile(degrees);
            assert!((found - expected).abs() < 1e-4, "{degrees}: {found}");
        }
    }

    /// 1, 2, 3: s = 1, t = 4.3027, so 2 ± 4.3027/√3.
    #[test]
    fn three_differences_by_hand() {
        let found = paired(&[1., 2., 3.]).unwrap();
        assert_eq!((found.mean, found.n), (2., 3));
        assert!((found.half.unwrap() - 2.48414).abs() < 1e-4);
        assert_eq!(found.side(), Side::Around);
        assert_eq!(paired(&[2., 2.1, 1.9]).unwrap().side(), Side::Above);
        assert_eq!(paired(&[-2., -2.1, -1.9]).unwrap().side(), Side::Below);
    }

    #[test]
    fn one_or_two_differences_say_nothing_and_none_is_none() {
        for few in [&[7.][..], &[7., 7.]] {
            let few = paired(few).unwrap();
            assert_eq!((few.mean, few.interval(), few.side()), (7., None, Side::Around));
        }
        assert_eq!(paired(&[]), None);
    }
}

//! Differences paired by seed, and what can be said of them: Student's interval.

use crate::statistics::{Summary, summarise};
use statrs::distribution::{ContinuousCDF, StudentsT};
use std::collections::BTreeMap;

/// A value, as accuracy in percent, by seed.
pub type BySeed = BTreeMap<u64, f64>;

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
    /// Student's two-sided p of no difference; none where there is no interval.
    pub p: Option<f64>,
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
    let error = std.filter(|_| n >= FEWEST).map(|std| std / (n as f64).sqrt());
    let half = error.map(|error| quantile(n - 1) * error);
    // Where all differences are equal there is nothing to doubt: they are 0, or they are not.
    let p = error.map(|error| if mean == 0. { 1. } else { 2. * student(n - 1).sf((mean / error).abs()) });
    Some(Paired { mean, half, p, n })
}

/// `one` less `other`, over the seeds that both have.
pub fn difference(one: &BySeed, other: &BySeed) -> Option<Paired> {
    let of = |(seed, value): (&u64, &f64)| Some(value - other.get(seed)?);
    paired(&one.iter().filter_map(of).collect::<Vec<_>>())
}

/// Which of several hypotheses of no difference can be rejected so that the chance of any false rejection among all of
/// them is at most 1 − [`CONFIDENCE`], by their p, however they depend on each other (Holm 1979).
pub fn holm(ps: &[f64]) -> Vec<bool> {
    let mut order: Vec<usize> = (0..ps.len()).collect();
    order.sort_by(|a, b| ps[*a].total_cmp(&ps[*b]));
    let is_small = |(rank, index): (usize, &usize)| ps[*index] <= (1. - CONFIDENCE) / (ps.len() - rank) as f64;
    let rejected = order.iter().enumerate().take_while(|ranked| is_small(*ranked)).count();
    let mut all = vec![false; ps.len()];
    order[..rejected].iter().for_each(|index| all[*index] = true);
    all
}

/// Student's two-sided quantile.
pub fn quantile(degrees: usize) -> f64 {
    student(degrees).inverse_cdf(0.5 + CONFIDENCE / 2.)
}

fn student(degrees: usize) -> StudentsT {
    StudentsT::new(0., 1., degrees as f64).expect("at least one degree of freedom")
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
        assert!((found.p.unwrap() - 0.074180).abs() < 1e-5, "t = 2√3 of two degrees of freedom");
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

    #[test]
    fn p_is_below_5_percent_where_the_interval_excludes_0() {
        for shift in 0..100 {
            let found = paired(&[1., 2., 3., 5.].map(|x| x - 0.06 * f64::from(shift))).unwrap();
            assert_eq!(found.p.unwrap() < 1. - CONFIDENCE, found.side() != Side::Around, "{found:?}");
        }
        assert_eq!((paired(&[2.; 3]).unwrap().p, paired(&[0.; 3]).unwrap().p), (Some(0.), Some(1.)));
    }

    /// By hand: 0.005 ≤ 0.05/4, 0.01 ≤ 0.05/3, and 0.03 > 0.05/2, whereupon 0.04 ≤ 0.05 does not count.
    #[test]
    fn holm_stops_at_the_first_that_is_too_large() {
        assert_eq!(holm(&[0.01, 0.04, 0.03, 0.005]), [true, false, false, true]);
        assert_eq!(holm(&[0.05]), [true]);
        assert!(holm(&[]).is_empty());
    }
}

//! The numbers that a formula allows, and the sentence that refuses others.

use candle_core::{Result, bail};
use std::fmt::{Display, Formatter};

/// A set of numbers. NaN and the infinities are in none of them.
///
/// The ranges of a rule's constants stand beside the rule; what reads such a constant from a person uses the same one.
///
/// ```
/// use msharp_ops::Range;
/// assert!(Range::SHARE.holds(0.5) && !Range::SHARE.holds(1.5));
/// let error = Range::SHARE.check("theta", 1.5).unwrap_err().to_string();
/// assert!(error.contains("theta is 1.5; expected a number from 0 to 1"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    least: f64,
    most: f64,
    /// Whether `least` and `most` belong to it.
    closed: (bool, bool),
}

impl Range {
    /// x ≥ 0: radii, weight decays, learning rates.
    pub const AT_LEAST_0: Self = Self { least: 0., most: f64::INFINITY, closed: (true, false) };
    /// x > 0: lengths and steps.
    pub const ABOVE_0: Self = Self { least: 0., most: f64::INFINITY, closed: (false, false) };
    /// x ≥ 1: effective sizes.
    pub const AT_LEAST_1: Self = Self { least: 1., most: f64::INFINITY, closed: (true, false) };
    /// 0 ≤ x ≤ 1.
    pub const SHARE: Self = Self { least: 0., most: 1., closed: (true, true) };
    /// 0 < x ≤ 1: a share of something that may not be nothing.
    pub const SHARE_ABOVE_0: Self = Self { least: 0., most: 1., closed: (false, true) };
    /// 0 ≤ x < 1: momenta, and shares of a run that must leave something.
    pub const BELOW_1: Self = Self { least: 0., most: 1., closed: (true, false) };
    /// Any finite number.
    pub const FINITE: Self = Self { least: f64::NEG_INFINITY, most: f64::INFINITY, closed: (false, false) };

    /// Whether `value` is in it.
    pub fn holds(&self, value: f64) -> bool {
        let above = value > self.least || (self.closed.0 && value == self.least);
        let below = value < self.most || (self.closed.1 && value == self.most);
        above && below
    }

    /// # Errors
    /// If `value` is not in it: the sentence has `name`, the value and what was expected.
    pub fn check(&self, name: &str, value: f64) -> Result<()> {
        if !self.holds(value) {
            bail!("{name} is {value}; expected {self}")
        }
        Ok(())
    }
}

impl Display for Range {
    /// `a number from 0 to below 1`, `a finite number above 0`.
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let Self { least, most, closed } = *self;
        match (least.is_finite(), most.is_finite()) {
            (true, true) => {
                let (from, to) = (if closed.0 { "from" } else { "above" }, if closed.1 { "to" } else { "to below" });
                write!(f, "a number {from} {least} {to} {most}")
            }
            (true, false) => write!(f, "a finite number {} {least}", if closed.0 { "of at least" } else { "above" }),
            _ => write!(f, "a finite number"),
        }
    }
}

/// `Err` if a count that must be at least 1 is 0.
pub fn at_least_1(name: &str, count: usize) -> Result<()> {
    if count == 0 {
        bail!("{name} is 0; expected at least 1")
    }
    Ok(())
}

/// The largest k with k/n ≤ `share`, for a share from 0 to 1: as many of n as a share of them is.
///
/// `share · n`, rounded down, is one less where the product rounds down: 0.29 · 100 is 28.999999999999996. Quotients of
/// whole numbers are rounded once, as the share was when it was written down.
pub fn share_of(share: f64, n: usize) -> usize {
    let near = (share * n as f64).round() as usize;
    (near.saturating_sub(1)..=near.saturating_add(1)).rev().find(|k| *k as f64 / n as f64 <= share).unwrap_or(0).min(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_belong_to_a_range_where_it_says_so_and_nothing_that_is_no_number_does() {
        for (range, inside, outside) in [
            (Range::AT_LEAST_0, &[0., 1e300][..], &[-1e-300][..]),
            (Range::ABOVE_0, &[f64::MIN_POSITIVE], &[0., -1.]),
            (Range::AT_LEAST_1, &[1.], &[0.999]),
            (Range::SHARE, &[0., 1.], &[-0.1, 1.1]),
            (Range::SHARE_ABOVE_0, &[1e-9, 1.], &[0., 1.1]),
            (Range::BELOW_1, &[0., 0.999], &[1.]),
            (Range::FINITE, &[-1e300, 0.], &[]),
        ] {
            assert!(inside.iter().all(|x| range.holds(*x)), "{range}");
            let never = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
            for x in outside.iter().chain(&never) {
                let error = range.check("rho", *x).unwrap_err().to_string();
                assert!(error.contains(&format!("rho is {x}; expected {range}")), "{error}");
            }
        }
        assert!(at_least_1("size", 0).unwrap_err().to_string().contains("size is 0; expected at least 1"));
    }

    #[test]
    fn a_share_of_a_whole_is_not_rounded_away() {
        for n in [1, 3, 20, 100, 391, 1000] {
            for k in 0..=n {
                let share: f64 = k as f64 / n as f64;
                assert_eq!(share_of(share, n), k, "{k} of {n}");
                assert_eq!(share_of(share.next_down().max(0.), n), k.saturating_sub(1), "just below {k} of {n}");
            }
        }
        for (share, n, k) in [(0.29, 100, 29), (0.07, 100, 7), (0.55, 100, 55), (0.999, 10, 9), (0., 5, 0), (1., 5, 5)]
        {
            assert_eq!(share_of(share, n), k, "{share} of {n}");
        }
    }
}

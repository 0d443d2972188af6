//! How an estimate compares with the truth, in numbers.

use crate::statistics::paired::quantile;
use serde::{Deserialize, Serialize};

/// A mean over draws, with its standard error: draws of probes, on the batches that were measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mean {
    pub mean: f64,
    /// None for a single value.
    pub error: Option<f64>,
    pub n: usize,
}

impl Mean {
    /// None of no values.
    pub fn of(values: &[f64]) -> Option<Self> {
        let summary = crate::statistics::summarise(values)?;
        let error = summary.std.map(|std| digits(std / (summary.n as f64).sqrt()));
        Some(Self { mean: digits(summary.mean), error, n: summary.n })
    }

    /// The 95 % interval; none below 4 values, where it says nothing.
    pub fn interval(&self) -> Option<(f64, f64)> {
        let half = self.error.filter(|_| self.n >= 4)? * quantile(self.n - 1);
        Some((self.mean - half, self.mean + half))
    }
}

/// Four significant digits, so that rows stay small.
pub fn digits(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

/// Spearman's rank correlation, ties sharing their rank; 0 where either is constant.
pub fn spearman(a: &[f64], b: &[f64]) -> f64 {
    let ranks = |v: &[f64]| -> Vec<f64> {
        let below = |x: f64| v.iter().filter(|y| **y < x).count() as f64;
        let same = |x: f64| v.iter().filter(|y| **y == x).count() as f64;
        let centre = (v.len() as f64 - 1.) / 2.;
        v.iter().map(|x| below(*x) + (same(*x) - 1.) / 2. - centre).collect()
    };
    cosine(&ranks(a), &ranks(b))
}

/// ⟨a, b⟩/‖a‖‖b‖; 0 for a vector of 0.
pub fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let norms = (dot(a, a) * dot(b, b)).sqrt();
    if norms == 0. { 0. } else { dot(a, b) / norms }
}

pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// ‖found − truth‖/‖truth‖.
pub fn relative_error(found: &[f64], truth: &[f64]) -> f64 {
    let square: f64 = found.iter().zip(truth).map(|(a, b)| (a - b).powi(2)).sum();
    (square / dot(truth, truth)).sqrt()
}

/// The least of ‖c·found − truth‖/‖truth‖ over c: what a common factor cannot repair.
pub fn scaled_error(found: &[f64], truth: &[f64]) -> f64 {
    (1. - cosine(found, truth).powi(2)).max(0.).sqrt()
}

/// ½Σ|pᵢ − qᵢ|.
pub fn total_variation(p: &[f64], q: &[f64]) -> f64 {
    p.iter().zip(q).map(|(p, q)| (p - q).abs()).sum::<f64>() / 2.
}

/// ⟨gᵢ, gⱼ⟩ for the gradients of a batch.
pub struct Gram(pub Vec<Vec<f64>>);

impl Gram {
    /// The cosine between Σ pᵢgᵢ and Σ qᵢgᵢ.
    pub fn cosine(&self, p: &[f64], q: &[f64]) -> f64 {
        let times = |q: &[f64]| -> Vec<f64> { self.0.iter().map(|row| dot(row, q)).collect() };
        let (gp, gq) = (times(p), times(q));
        let norms = (dot(p, &gp) * dot(q, &gq)).sqrt();
        if norms > 0. { dot(p, &gq) / norms } else { 0. }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_what_counts() {
        assert!((spearman(&[1., 2., 30.], &[0.1, 5., 6.]) - 1.).abs() < 1e-12);
        assert!((spearman(&[1., 2., 3.], &[3., 2., 1.]) + 1.).abs() < 1e-12);
        assert_eq!(spearman(&[1., 1., 1.], &[3., 2., 1.]), 0.);
        assert!((spearman(&[1., 1., 2.], &[1., 2., 3.]) - 0.75f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn errors_and_distances_by_hand() {
        assert!((relative_error(&[2., 4.], &[1., 2.]) - 1.).abs() < 1e-12);
        assert!(scaled_error(&[2., 4.], &[1., 2.]) < 1e-7);
        assert_eq!(total_variation(&[1., 0.], &[0., 1.]), 1.);
        let gram = Gram(vec![vec![1., 0.], vec![0., 4.]]); // (1, 0) and (0, 2)
        assert_eq!(gram.cosine(&[1., 0.], &[0., 1.]), 0.);
        assert!((gram.cosine(&[0.5, 0.5], &[1., 0.]) - 1. / 5f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn an_interval_is_students() {
        let mean = Mean::of(&[1., 2., 3., 4., 5., 6., 7., 8., 9., 10.]).unwrap();
        let (low, high) = mean.interval().unwrap();
        let half = 2.262 * 3.02765 / 10f64.sqrt(); // t of 9 degrees of freedom
        assert!((low - (5.5 - half)).abs() < 0.01 && (high - (5.5 + half)).abs() < 0.01);
        assert!(Mean::of(&[1., 2., 3.]).unwrap().interval().is_none());
        assert_eq!(Mean::of(&[0.123_456]).unwrap(), Mean { mean: 0.1235, error: None, n: 1 });
    }
}

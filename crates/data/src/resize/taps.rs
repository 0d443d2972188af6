//! The weights of a resizing along one axis.

use super::Interpolation;
use std::ops::Range;

/// Pillow's coefficients of 8-bit images are multiples of 2⁻²²: 8 bits of the result and 2 of overshoot are left.
pub(super) const PRECISION: u32 = 32 - 8 - 2;

/// For each computed output, the run of source positions that it is made of, and their weights.
pub(super) struct Taps {
    /// (the first position, the end of the weights) of each output.
    runs: Vec<(usize, usize)>,
    weights: Vec<i32>,
}

impl Taps {
    /// Of the resizing from `n` to `m` positions, those of the outputs in `wanted`, in that order.
    ///
    /// Output i is centred at c = (i + ½)·n/m and is the mean of the sources j weighted by f((j + ½ − c)/s), where
    /// s = max(n/m, 1) stretches the filter f, so that downscaling averages all pixels (antialiasing).
    pub(super) fn new(by: Interpolation, n: usize, m: usize, wanted: impl Iterator<Item = usize>) -> Self {
        let scale = n as f64 / m as f64;
        let stretch = scale.max(1.);
        let support = by.support() * stretch;
        let (mut runs, mut weights, mut exact) = (Vec::new(), Vec::new(), Vec::new());
        for output in wanted {
            let centre = (output as f64 + 0.5) * scale;
            let first = (centre - support + 0.5) as usize; // rounded; a negative number becomes 0
            let end = ((centre + support + 0.5) as usize).min(n);
            exact.clear();
            exact.extend((first..end).map(|j| by.weight((j as f64 - centre + 0.5) * (1. / stretch))));
            let sum: f64 = exact.iter().sum();
            weights.extend(exact.iter().map(|weight| fixed(weight / sum)));
            runs.push((first, weights.len()));
        }
        Self { runs, weights }
    }

    /// (first source, its weight and those of the sources after it) of each output.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        let mut start = 0;
        self.runs.iter().map(move |&(first, end)| (first, &self.weights[std::mem::replace(&mut start, end)..end]))
    }

    /// The sources from the first to the last that any output needs.
    pub(super) fn sources(&self) -> Range<usize> {
        let first = self.iter().map(|(first, _)| first).min();
        let end = self.iter().map(|(first, weights)| first + weights.len()).max();
        first.unwrap_or(0)..end.unwrap_or(0)
    }

    /// The number of outputs.
    pub(super) fn len(&self) -> usize {
        self.runs.len()
    }
}

/// The multiple of 2⁻²² next to `weight`, halves away from 0.
fn fixed(weight: f64) -> i32 {
    (weight * f64::from(1 << PRECISION) + if weight < 0. { -0.5 } else { 0.5 }) as i32
}

//! The weights of a resizing along one axis.

use super::Interpolation;

/// Pillow's coefficients of 8-bit images are multiples of 2⁻²²: 8 bits of the result and 2 of overshoot are left.
pub(super) const PRECISION: u32 = 32 - 8 - 2;

/// For each computed output, a run of source positions and their weights.
///
/// All runs have the same length, with weights of 0 where an output needs fewer; none leaves the source.
pub(super) struct Taps {
    length: usize,
    first: Vec<usize>,
    weights: Vec<i32>, // [outputs, length]
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
        let length = (support.ceil() as usize * 2 + 1).min(n);
        let (mut first, mut weights, mut exact) = (Vec::new(), Vec::new(), Vec::new());
        for output in wanted {
            let centre = (output as f64 + 0.5) * scale;
            let from = (centre - support + 0.5) as usize; // rounded; a negative number becomes 0
            let to = ((centre + support + 0.5) as usize).min(n);
            exact.clear();
            exact.extend((from..to).map(|j| by.weight((j as f64 - centre + 0.5) * (1. / stretch))));
            let sum: f64 = exact.iter().sum();
            let start = from.min(n - length);
            first.push(start);
            weights.resize(weights.len() + from - start, 0);
            weights.extend(exact.iter().map(|weight| fixed(weight / sum)));
            weights.resize(first.len() * length, 0);
        }
        Self { length, first, weights }
    }

    /// (first source, its weight and those of the sources after it) of each output.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        self.first.iter().copied().zip(self.weights.chunks_exact(self.length))
    }

    /// The sources from the first to the last that any output needs.
    pub(super) fn sources(&self) -> std::ops::Range<usize> {
        let (first, last) = (self.first.iter().min(), self.first.iter().max());
        first.copied().unwrap_or(0)..last.map_or(0, |last| last + self.length)
    }

    /// The number of outputs.
    pub(super) fn len(&self) -> usize {
        self.first.len()
    }
}

/// The multiple of 2⁻²² next to `weight`, halves away from 0.
fn fixed(weight: f64) -> i32 {
    (weight * f64::from(1 << PRECISION) + if weight < 0. { -0.5 } else { 0.5 }) as i32
}

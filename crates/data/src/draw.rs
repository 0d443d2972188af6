//! Random numbers for drawing: sums, products and square roots only, so that every machine gets the same.

use msharp_core::Key;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// A stream of draws.
pub(crate) struct Draw(ChaCha8Rng);

impl Draw {
    pub(crate) fn new(key: Key) -> Self {
        Self(key.rng())
    }

    /// Uniform in 0..1, a multiple of 2⁻⁵³.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `low`..`high`.
    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Log-uniform in `low`..`high`, both above 0: each random bit halves the interval at its geometric mean.
    pub(crate) fn log_between(&mut self, mut low: f64, mut high: f64) -> f64 {
        let bits = self.0.next_u64();
        for bit in 0..53 {
            let middle = (low * high).sqrt();
            *(if bits >> bit & 1 == 0 { &mut low } else { &mut high }) = middle;
        }
        low
    }

    /// Uniform in 0..n, for a small n.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.unit() * n as f64) as usize
    }

    /// True with probability `p`.
    pub(crate) fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// A point uniform in the unit ball.
    pub(crate) fn in_ball<const D: usize>(&mut self) -> [f64; D] {
        loop {
            let point: [f64; D] = std::array::from_fn(|_| self.between(-1., 1.));
            if point.iter().map(|x| x * x).sum::<f64>() <= 1. {
                return point;
            }
        }
    }

    /// A direction uniform on the unit sphere; in two dimensions, (cos, sin) of a uniform angle.
    pub(crate) fn direction<const D: usize>(&mut self) -> [f64; D] {
        loop {
            let point: [f64; D] = self.in_ball();
            let norm = point.iter().map(|x| x * x).sum::<f64>().sqrt();
            if norm > 0.1 {
                return point.map(|x| x / norm); // far enough from 0 to be exact to the last bits
            }
        }
    }

    /// Close to a standard normal: the sum of four uniforms (Irwin–Hall), standardised; within ±2√3.
    pub(crate) fn bell(&mut self) -> f64 {
        let bits = self.0.next_u64();
        let sum: u64 = (0..4).map(|i| (bits >> (16 * i)) & 0xffff).sum();
        (sum as f64 / 65535. - 2.) * 1.732_050_807_568_877_2 // each uniform has variance 1/12, four have 1/3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean and variance of `n` draws.
    fn moments(n: usize, mut draw: impl FnMut() -> f64) -> (f64, f64) {
        let values: Vec<f64> = (0..n).map(|_| draw()).collect();
        let mean = values.iter().sum::<f64>() / n as f64;
        (mean, values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n as f64)
    }

    #[test]
    fn the_draws_have_the_moments_that_they_claim() {
        let mut draw = Draw::new(Key::new(1));
        let close = |(mean, var): (f64, f64), (m, v): (f64, f64)| (mean - m).abs() < 0.03 && (var - v).abs() < 0.03;
        assert!(close(moments(20_000, || draw.between(-1., 2.)), (0.5, 0.75)));
        assert!(close(moments(20_000, || draw.bell()), (0., 1.)));
        assert!(close(moments(20_000, || draw.direction::<2>()[0]), (0., 1. / 2.)));
        assert!(close(moments(20_000, || draw.direction::<3>()[2]), (0., 1. / 3.)));
        assert!(close(moments(20_000, || draw.below(5) as f64), (2., 2.)));
        // ln is uniform between −2 and 1, with the variance 9/12
        assert!(close(moments(20_000, || draw.log_between((-2f64).exp(), 1f64.exp()).ln()), (-0.5, 0.75)));
        assert!(close(moments(20_000, || draw.chance(0.3) as u8 as f64), (0.3, 0.21)));
    }
}

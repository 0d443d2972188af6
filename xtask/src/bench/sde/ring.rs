//! The equation of `bench sde`: particles in double wells on a ring, pulled by their neighbours.

use msharp_sde::{Lanes, NoiseType, Number, Sde};

/// dX = −∇Φ(X) dt + σ(X) dW with Φ(x) = Σ x⁴/4 − x²/2 + K (xᵢ₊₁ − xᵢ)²/2.
pub struct Ring {
    pub dim: usize,
    /// σ = S (I + X Xᵀ/(1 + |X|²)), or else σᵢ = S √(1 + Xᵢ²).
    pub general: bool,
}

/// How strongly neighbours pull; [`S`], the size of the noise. `ensemble.py` has the same.
const K: f64 = 0.5;
const S: f64 = 0.4;

impl Ring {
    /// For one path or several.
    #[inline(always)]
    fn force<T: Number>(x: &[T], drift: &mut [T]) {
        let d = x.len();
        for i in 0..d {
            let (left, right) = (if i == 0 { d - 1 } else { i - 1 }, if i + 1 == d { 0 } else { i + 1 });
            drift[i] = T::zip([&x[left], &x[i], &x[right]], |[l, x, r]| x - x * x * x + K * (l - 2. * x + r));
        }
    }

    #[inline(always)]
    fn spread<T: Number>(&self, x: &[T], sigma: &mut [T]) {
        if !self.general {
            for (sigma, x) in sigma.iter_mut().zip(x) {
                *sigma = T::zip([x], |[x]| S * (1. + x * x).sqrt());
            }
            return;
        }
        let square = x.iter().fold(T::splat(1.), |sum, x| T::zip([&sum, x], |[sum, x]| sum + x * x));
        for (i, row) in sigma.chunks_exact_mut(x.len()).enumerate() {
            let by = T::zip([&x[i], &square], |[x, square]| S * x / square);
            for (sigma, x) in row.iter_mut().zip(x) {
                *sigma = T::zip([&by, x], |[by, x]| by * x);
            }
            row[i] = T::zip([&row[i]], |[sigma]| sigma + S);
        }
    }
}

impl Sde for Ring {
    fn dim(&self) -> usize {
        self.dim
    }

    fn noise_type(&self) -> NoiseType {
        if self.general { NoiseType::General(self.dim) } else { NoiseType::Diagonal }
    }

    fn drift(&self, x: &[f64], drift: &mut [f64]) {
        Self::force(x, drift);
    }

    fn diffusion(&self, x: &[f64], sigma: &mut [f64]) {
        self.spread(x, sigma);
    }

    #[inline(always)]
    fn drifts(&self, x: &[Lanes], drift: &mut [Lanes], _: &mut [f64]) {
        Self::force(x, drift);
    }

    #[inline(always)]
    fn diffusions(&self, x: &[Lanes], sigma: &mut [Lanes], _: &mut [f64]) {
        self.spread(x, sigma);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// −∇Φ by central differences, and σ by its formula.
    #[test]
    fn the_force_is_that_of_the_potential() {
        let x = [0.3, -1.1, 0.7, 0.2];
        let potential = |x: &[f64]| -> f64 {
            let well = |x: f64| x.powi(4) / 4. - x * x / 2.;
            (0..4).map(|i| well(x[i]) + K * (x[(i + 1) % 4] - x[i]).powi(2) / 2.).sum()
        };
        let mut drift = [0.; 4];
        Ring { dim: 4, general: true }.drift(&x, &mut drift);
        for i in 0..4 {
            let moved = |by: f64| {
                let mut x = x;
                x[i] += by;
                potential(&x)
            };
            let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!((drift[i] + slope).abs() < 1e-8, "{} for {}", drift[i], -slope);
        }
        let mut sigma = [0.; 16];
        Ring { dim: 4, general: true }.diffusion(&x, &mut sigma);
        let square: f64 = x.iter().map(|x| x * x).sum();
        for (i, j) in (0..16).map(|n| (n / 4, n % 4)) {
            let expected = S * (f64::from(i == j) + x[i] * x[j] / (1. + square));
            assert!((sigma[4 * i + j] - expected).abs() < 1e-15);
        }
    }
}

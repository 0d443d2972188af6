//! Noisy quadratics, whose moments close.

use super::{assert_size, normals};
use crate::problem::Problem;

/// ℓᵢ(x) = ½(x − cᵢ)ᵀHᵢ(x − cᵢ), every sample with a symmetric Hessian of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Quadratic {
    /// Hᵢ, `[n, d, d]`.
    pub hessians: Vec<f64>,
    /// cᵢ, `[n, d]`.
    pub centres: Vec<f64>,
    /// d, the number of parameters.
    pub dim: usize,
}

impl Quadratic {
    /// n samples in ℝᵈ with standard normal centres and positive definite Hessians 0.4·I + GGᵀ/d, G standard normal,
    /// which do not commute. A pure function of the arguments.
    ///
    /// # Panics
    /// If n or d is 0, or the Hessians, which grow as nd², take more than 4 GiB.
    #[track_caller]
    pub fn random(n: usize, d: usize, seed: u64) -> Self {
        let (samples, dim) = (n as f64, d as f64);
        assert_size(&[("n", n), ("d", d)], 2. * samples * dim * (dim + 1.));
        let numbers = normals(seed, n * d * (d + 1));
        let (factors, centres) = numbers.split_at(n * d * d);
        let mut hessians = Vec::with_capacity(n * d * d);
        for g in factors.chunks_exact(d * d) {
            for row in 0..d {
                for column in 0..d {
                    let product: f64 = (0..d).map(|k| g[row * d + k] * g[column * d + k]).sum();
                    hessians.push(product / d as f64 + if row == column { 0.4 } else { 0. });
                }
            }
        }
        Self { hessians, centres: centres.to_vec(), dim: d }
    }

    fn rows(&self, i: usize) -> impl Iterator<Item = &[f64]> {
        self.hessians[i * self.dim * self.dim..][..self.dim * self.dim].chunks_exact(self.dim)
    }

    fn centre(&self, i: usize) -> &[f64] {
        &self.centres[i * self.dim..][..self.dim]
    }
}

impl Problem for Quadratic {
    fn dim(&self) -> usize {
        self.dim
    }

    fn samples(&self) -> usize {
        self.centres.len() / self.dim
    }

    fn loss(&self, i: usize, x: &[f64]) -> f64 {
        let away = |j: usize| x[j] - self.centre(i)[j];
        self.rows(i)
            .enumerate()
            .map(|(j, row)| row.iter().enumerate().map(|(k, h)| away(j) * h * away(k)).sum::<f64>())
            .sum::<f64>()
            / 2.
    }

    fn add_gradient(&self, i: usize, x: &[f64], weight: f64, out: &mut [f64]) {
        let centre = self.centre(i);
        for (out, row) in out.iter_mut().zip(self.rows(i)) {
            *out += weight * row.iter().zip(x).zip(centre).map(|((h, x), c)| h * (x - c)).sum::<f64>();
        }
    }

    fn add_hessian(&self, i: usize, _: &[f64], v: &[f64], weight: f64, out: &mut [f64]) {
        out.iter_mut().zip(self.rows(i)).for_each(|(out, row)| *out += weight * super::dot(row, v));
    }

    fn add_third(&self, _: usize, _: &[f64], _: &[f64], _: &[f64], _: f64, _: &mut [f64]) {}
}

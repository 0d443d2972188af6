//! Quartics: simple losses with a third derivative.

use super::{Quadratic, dot, normals};
use crate::problem::Problem;

/// ℓᵢ(x) = ½(x − cᵢ)ᵀHᵢ(x − cᵢ) + (qᵢ/4)(aᵢᵀ(x − cᵢ))⁴.
#[derive(Clone, Debug, PartialEq)]
pub struct Quartic {
    /// The quadratic part, and the centres.
    pub quadratic: Quadratic,
    /// aᵢ, `[n, d]`.
    pub axes: Vec<f64>,
    /// qᵢ, `[n]`.
    pub strengths: Vec<f64>,
}

impl Quartic {
    /// n samples in ℝᵈ: [`Quadratic::random`] plus quartics along random axes with strengths from 0.2 to 0.4. A pure
    /// function of the arguments.
    ///
    /// # Panics
    /// If n or d is 0, or the Hessians take more than 4 GiB.
    #[track_caller]
    pub fn random(n: usize, d: usize, seed: u64) -> Self {
        let quadratic = Quadratic::random(n, d, seed);
        let strengths = (0..n).map(|i| 0.2 + 0.2 * i as f64 / n as f64).collect();
        let scale = 1. / (d as f64).sqrt();
        let axes = normals(seed ^ 0xa4e5, n * d).into_iter().map(|a| scale * a).collect();
        Self { quadratic, axes, strengths }
    }

    fn axis(&self, i: usize) -> &[f64] {
        &self.axes[i * self.dim()..][..self.dim()]
    }

    /// aᵢᵀ(x − cᵢ).
    fn along(&self, i: usize, x: &[f64]) -> f64 {
        let centre = &self.quadratic.centres[i * self.dim()..][..self.dim()];
        self.axis(i).iter().zip(x).zip(centre).map(|((a, x), c)| a * (x - c)).sum()
    }

    fn add_axis(&self, i: usize, weight: f64, out: &mut [f64]) {
        out.iter_mut().zip(self.axis(i)).for_each(|(out, a)| *out += weight * a);
    }
}

impl Problem for Quartic {
    fn dim(&self) -> usize {
        self.quadratic.dim
    }

    fn samples(&self) -> usize {
        self.strengths.len()
    }

    fn loss(&self, i: usize, x: &[f64]) -> f64 {
        self.quadratic.loss(i, x) + self.strengths[i] / 4. * self.along(i, x).powi(4)
    }

    fn add_gradient(&self, i: usize, x: &[f64], weight: f64, out: &mut [f64]) {
        self.quadratic.add_gradient(i, x, weight, out);
        self.add_axis(i, weight * self.strengths[i] * self.along(i, x).powi(3), out);
    }

    fn add_hessian(&self, i: usize, x: &[f64], v: &[f64], weight: f64, out: &mut [f64]) {
        self.quadratic.add_hessian(i, x, v, weight, out);
        self.add_axis(i, weight * 3. * self.strengths[i] * self.along(i, x).powi(2) * dot(self.axis(i), v), out);
    }

    fn add_third(&self, i: usize, x: &[f64], u: &[f64], v: &[f64], weight: f64, out: &mut [f64]) {
        let axis = self.axis(i);
        self.add_axis(i, weight * 6. * self.strengths[i] * self.along(i, x) * dot(axis, u) * dot(axis, v), out);
    }
}

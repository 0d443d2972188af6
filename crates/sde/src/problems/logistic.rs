//! Logistic regression.

use super::{assert_size, dot, normals};
use crate::problem::Problem;

/// Regularised logistic regression, ℓᵢ(x) = log(1 + exp(−aᵢᵀx)) + (μ/2)‖x‖², with features times labels aᵢ.
#[derive(Clone, Debug, PartialEq)]
pub struct Logistic {
    /// Features times labels ±1, `[n, d]`.
    pub features: Vec<f64>,
    /// μ, the L2 penalty.
    pub penalty: f64,
    /// d, the number of features.
    pub dim: usize,
}

impl Logistic {
    /// n samples in ℝᵈ with standard normal features, shifted by 0.7 times the label along the first axis, so that the
    /// classes overlap. A pure function of the arguments.
    ///
    /// # Panics
    /// If n or d is 0, the features take more than 4 GiB, or the penalty is negative or not finite.
    #[track_caller]
    pub fn random(n: usize, d: usize, penalty: f64, seed: u64) -> Self {
        assert_size(&[("n", n), ("d", d)], n as f64 * d as f64);
        assert!(penalty >= 0. && penalty.is_finite(), "penalty is {penalty}; expected a finite number of at least 0");
        let mut features = normals(seed, n * d);
        features.iter_mut().step_by(d).for_each(|first| *first += 0.7);
        Self { features, penalty, dim: d }
    }

    fn feature(&self, i: usize) -> &[f64] {
        &self.features[i * self.dim..][..self.dim]
    }

    /// σ(−aᵢᵀx), the probability of the other label.
    fn other(&self, i: usize, x: &[f64]) -> f64 {
        1. / (1. + dot(self.feature(i), x).exp())
    }

    fn add(&self, i: usize, weight: f64, out: &mut [f64]) {
        out.iter_mut().zip(self.feature(i)).for_each(|(out, a)| *out += weight * a);
    }
}

impl Problem for Logistic {
    fn dim(&self) -> usize {
        self.dim
    }

    fn samples(&self) -> usize {
        self.features.len() / self.dim
    }

    fn loss(&self, i: usize, x: &[f64]) -> f64 {
        let z = -dot(self.feature(i), x);
        z.max(0.) + (-z.abs()).exp().ln_1p() + self.penalty / 2. * dot(x, x)
    }

    fn add_gradient(&self, i: usize, x: &[f64], weight: f64, out: &mut [f64]) {
        self.add(i, -weight * self.other(i, x), out);
        out.iter_mut().zip(x).for_each(|(out, x)| *out += weight * self.penalty * x);
    }

    fn add_hessian(&self, i: usize, x: &[f64], v: &[f64], weight: f64, out: &mut [f64]) {
        let q = self.other(i, x);
        self.add(i, weight * q * (1. - q) * dot(self.feature(i), v), out);
        out.iter_mut().zip(v).for_each(|(out, v)| *out += weight * self.penalty * v);
    }

    fn add_third(&self, i: usize, x: &[f64], u: &[f64], v: &[f64], weight: f64, out: &mut [f64]) {
        let (q, a) = (self.other(i, x), self.feature(i));
        self.add(i, -weight * q * (1. - q) * (1. - 2. * q) * dot(a, u) * dot(a, v), out);
    }
}

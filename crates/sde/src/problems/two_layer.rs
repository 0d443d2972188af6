//! A small two-layer network for regression.

use super::{assert_size, dot, normals};
use crate::problem::Problem;

/// A two-layer tanh network for regression: ℓᵢ(x) = ½(o(aᵢ) − yᵢ)² for o(a) = Σₖ vₖ tanh(wₖᵀa) and x = (w₁, …, w_h, v),
/// d = h·(inputs + 1).
#[derive(Clone, Debug, PartialEq)]
pub struct TwoLayer {
    /// aᵢ, `[n, inputs]`.
    pub features: Vec<f64>,
    /// yᵢ, `[n]`.
    pub targets: Vec<f64>,
    /// h, the number of hidden units.
    pub hidden: usize,
}

impl TwoLayer {
    /// n samples with standard normal features, and targets tanh(sum of features) plus noise of deviation 0.3. A pure
    /// function of the arguments.
    ///
    /// # Panics
    /// If a size is 0, or the features take more than 4 GiB.
    #[track_caller]
    pub fn random(n: usize, inputs: usize, hidden: usize, seed: u64) -> Self {
        assert_size(&[("n", n), ("inputs", inputs), ("hidden", hidden)], n as f64 * inputs as f64);
        let features = normals(seed, n * inputs);
        let noise = normals(seed ^ 0x7a6e7, n);
        let sums = features.chunks_exact(inputs).map(|a| a.iter().sum::<f64>());
        let targets = sums.zip(noise).map(|(sum, noise)| sum.tanh() + 0.3 * noise).collect();
        Self { features, targets, hidden }
    }

    fn inputs(&self) -> usize {
        self.features.len() / self.targets.len()
    }

    fn feature(&self, i: usize) -> &[f64] {
        &self.features[i * self.inputs()..][..self.inputs()]
    }

    /// wₖᵀa for the weights in x, or a change of them.
    fn inner(&self, x: &[f64], k: usize, a: &[f64]) -> f64 {
        dot(&x[k * a.len()..][..a.len()], a)
    }

    fn outer<'x>(&self, x: &'x [f64]) -> &'x [f64] {
        &x[self.hidden * self.inputs()..]
    }

    /// tanh and its first three derivatives at wₖᵀa.
    fn bend(&self, x: &[f64], k: usize, a: &[f64]) -> [f64; 4] {
        let t = self.inner(x, k, a).tanh();
        let first = 1. - t * t;
        [t, first, -2. * t * first, first * (6. * t * t - 2.)]
    }

    /// o(a).
    fn output(&self, x: &[f64], a: &[f64]) -> f64 {
        (0..self.hidden).map(|k| self.outer(x)[k] * self.bend(x, k, a)[0]).sum()
    }

    /// Do[u].
    fn slope(&self, x: &[f64], a: &[f64], u: &[f64]) -> f64 {
        let one = |k: usize| {
            let [t, first, ..] = self.bend(x, k, a);
            self.outer(u)[k] * t + self.outer(x)[k] * first * self.inner(u, k, a)
        };
        (0..self.hidden).map(one).sum()
    }

    /// D²o[u, v].
    fn curvature(&self, x: &[f64], a: &[f64], u: &[f64], v: &[f64]) -> f64 {
        let one = |k: usize| {
            let [_, first, second, _] = self.bend(x, k, a);
            let (zu, zv) = (self.inner(u, k, a), self.inner(v, k, a));
            first * (self.outer(u)[k] * zv + self.outer(v)[k] * zu) + self.outer(x)[k] * second * zu * zv
        };
        (0..self.hidden).map(one).sum()
    }

    /// Adds weight·`part`(k) of each unit k to `out`: a multiple of a for wₖ, a number for vₖ.
    fn add(&self, a: &[f64], weight: f64, out: &mut [f64], part: impl Fn(usize) -> (f64, f64)) {
        let (inner, outer) = out.split_at_mut(self.hidden * a.len());
        for (k, (w, v)) in inner.chunks_exact_mut(a.len()).zip(outer).enumerate() {
            let (along, of_v) = part(k);
            w.iter_mut().zip(a).for_each(|(w, a)| *w += weight * along * a);
            *v += weight * of_v;
        }
    }

    /// Adds weight·Do.
    fn add_slope(&self, x: &[f64], a: &[f64], weight: f64, out: &mut [f64]) {
        self.add(a, weight, out, |k| {
            let [t, first, ..] = self.bend(x, k, a);
            (self.outer(x)[k] * first, t)
        });
    }

    /// Adds weight·D²o[u, ·].
    fn add_curvature(&self, x: &[f64], a: &[f64], u: &[f64], weight: f64, out: &mut [f64]) {
        self.add(a, weight, out, |k| {
            let [_, first, second, _] = self.bend(x, k, a);
            let zu = self.inner(u, k, a);
            (self.outer(u)[k] * first + self.outer(x)[k] * second * zu, first * zu)
        });
    }
}

impl Problem for TwoLayer {
    fn dim(&self) -> usize {
        self.hidden * (self.inputs() + 1)
    }

    fn samples(&self) -> usize {
        self.targets.len()
    }

    fn loss(&self, i: usize, x: &[f64]) -> f64 {
        (self.output(x, self.feature(i)) - self.targets[i]).powi(2) / 2.
    }

    fn add_gradient(&self, i: usize, x: &[f64], weight: f64, out: &mut [f64]) {
        let a = self.feature(i);
        self.add_slope(x, a, weight * (self.output(x, a) - self.targets[i]), out);
    }

    fn add_hessian(&self, i: usize, x: &[f64], v: &[f64], weight: f64, out: &mut [f64]) {
        let a = self.feature(i);
        self.add_slope(x, a, weight * self.slope(x, a, v), out);
        self.add_curvature(x, a, v, weight * (self.output(x, a) - self.targets[i]), out);
    }

    fn add_third(&self, i: usize, x: &[f64], u: &[f64], v: &[f64], weight: f64, out: &mut [f64]) {
        let a = self.feature(i);
        let rest = weight * (self.output(x, a) - self.targets[i]);
        self.add_slope(x, a, weight * self.curvature(x, a, u, v), out);
        self.add_curvature(x, a, u, weight * self.slope(x, a, v), out);
        self.add_curvature(x, a, v, weight * self.slope(x, a, u), out);
        self.add(a, rest, out, |k| {
            let [_, _, second, third] = self.bend(x, k, a);
            let (zu, zv) = (self.inner(u, k, a), self.inner(v, k, a));
            let (pu, pv) = (self.outer(u)[k], self.outer(v)[k]);
            (second * (pu * zv + pv * zu) + self.outer(x)[k] * third * zu * zv, second * zu * zv)
        });
    }
}

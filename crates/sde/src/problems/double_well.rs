//! A double well, one side of which has gradient noise.

use crate::problem::Problem;

/// ℓ±(x) = h(x² − 1)² + tilt·x ± (s/2)(x − 1)², two samples in ℝ¹.
///
/// f has minima near x = −1 and x = 1 with a barrier of height h between them, and the gradient variance is
/// V(x) = s²(x − 1)². The left minimum is a one-dimensional analogue of a poor minimum: the same loss, but larger tr V.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DoubleWell {
    /// h, the height of the barrier.
    pub barrier: f64,
    /// s, the scale of the gradient noise.
    pub noise: f64,
    /// Added to f'; makes the wells unequal in depth. 0 for equal ones.
    pub tilt: f64,
}

impl DoubleWell {
    /// Wells of equal depth.
    pub const fn new(barrier: f64, noise: f64) -> Self {
        Self { barrier, noise, tilt: 0. }
    }

    fn sign(self, i: usize) -> f64 {
        if i == 0 { 1. } else { -1. }
    }
}

impl Problem for DoubleWell {
    fn dim(&self) -> usize {
        1
    }

    fn samples(&self) -> usize {
        2
    }

    fn loss(&self, i: usize, x: &[f64]) -> f64 {
        let x = x[0];
        self.barrier * (x * x - 1.).powi(2) + self.tilt * x + self.sign(i) * self.noise / 2. * (x - 1.).powi(2)
    }

    fn add_gradient(&self, i: usize, x: &[f64], weight: f64, out: &mut [f64]) {
        let x = x[0];
        let mean = 4. * self.barrier * x * (x * x - 1.) + self.tilt;
        out[0] += weight * (mean + self.sign(i) * self.noise * (x - 1.));
    }

    fn add_hessian(&self, i: usize, x: &[f64], v: &[f64], weight: f64, out: &mut [f64]) {
        out[0] += weight * (4. * self.barrier * (3. * x[0] * x[0] - 1.) + self.sign(i) * self.noise) * v[0];
    }

    fn add_third(&self, _: usize, x: &[f64], u: &[f64], v: &[f64], weight: f64, out: &mut [f64]) {
        out[0] += weight * 24. * self.barrier * x[0] * u[0] * v[0];
    }
}

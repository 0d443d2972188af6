//! The weak order where coefficients are not linear, by the error of one step.

use crate::linear::{A, Kind, Linear, general, times};
use crate::step::{Scheme, after_a_step};
use msharp_sde::{NoiseType, Sde};

/// A linear equation seen through y = (x₁, x₂ + x₁²): its coefficients are polynomials, and still its mean is known.
struct Curved(Linear);

impl Sde for Curved {
    fn dim(&self) -> usize {
        2
    }

    fn noise_type(&self) -> NoiseType {
        self.0.noise_type()
    }

    fn drift(&self, y: &[f64], drift: &mut [f64]) {
        let x = [y[0], y[1] - y[0] * y[0]];
        let [first, second] = times(&self.0.a, &x);
        let spread: f64 = self.0.b.iter().map(|b| times(b, &x)[0].powi(2)).sum();
        drift.copy_from_slice(&[first, second + 2. * x[0] * first + spread]);
    }

    fn diffusion(&self, y: &[f64], sigma: &mut [f64]) {
        let (x, q) = ([y[0], y[1] - y[0] * y[0]], self.0.b.len());
        for (k, b) in self.0.b.iter().enumerate() {
            let [first, second] = times(b, &x);
            (sigma[k], sigma[q + k]) = (first, second + 2. * x[0] * first);
        }
    }
}

/// dX = (X/2 + √(X² + 1)) dt + √(X² + 1) dW from 0, of which arsinh X = t + W is known (Rößler, 2009, example 5.1).
struct Hyperbolic;

impl Sde for Hyperbolic {
    fn dim(&self) -> usize {
        1
    }

    fn noise_type(&self) -> NoiseType {
        NoiseType::General(1)
    }

    fn drift(&self, x: &[f64], drift: &mut [f64]) {
        drift[0] = 0.5 * x[0] + (x[0] * x[0] + 1.).sqrt();
    }

    fn diffusion(&self, x: &[f64], sigma: &mut [f64]) {
        sigma[0] = (x[0] * x[0] + 1.).sqrt();
    }
}

#[test]
fn one_step_of_a_curved_equation_is_right_to_the_next_power() {
    let slope = |scheme, sde: Linear, dt: f64| {
        let x = [0.6, 0.8];
        let start = [x[0], x[1] + x[0] * x[0]];
        let curved = Curved(sde);
        let error = |dt: f64| {
            let exact = {
                let scaled = |m: [[f64; 2]; 2], by: f64| m.map(|row| row.map(|entry| entry * by));
                let b = curved.0.b.iter().map(|b| scaled(*b, dt.sqrt())).collect();
                Linear { a: scaled(A, dt), b, kind: Kind::General }.exact(x) // time 1 of this one is time dt of ours
            };
            after_a_step(scheme, &curved, &start, dt, |y| y[1]) - (exact[2] + exact[3])
        };
        (error(dt) / error(dt / 2.)).log2()
    };
    for sources in 1..=3 {
        for (scheme, order) in [(Scheme::Euler, 2.), (Scheme::Weak2, 3.)] {
            let found = slope(scheme, general(sources), 1. / 64.);
            assert!((found - order).abs() < 0.1, "{scheme:?}, {sources} motions: {found:.3}, expected {order}");
        }
    }
}

#[test]
fn one_step_of_a_nonlinear_equation_is_right_to_the_next_power() {
    // arsinh X is normal, of mean t and variance t
    type Function = fn(f64) -> f64;
    let truths: [(Function, Function); 2] = [
        (|z| z * z * z - 6. * z * z + 8. * z, |t| t * t * t - 3. * t * t + 2. * t),
        (|z| (2. * z).sin(), |t| (2. * t).sin() * (-2. * t).exp()),
    ];
    for (f, exact) in truths {
        for (scheme, order) in [(Scheme::Euler, 2.), (Scheme::Milstein, 2.), (Scheme::Weak2, 3.)] {
            let error = |dt: f64| after_a_step(scheme, &Hyperbolic, &[0.], dt, |x| f(x[0].asinh())) - exact(dt);
            let slope = (error(1. / 128.) / error(1. / 256.)).log2();
            assert!((slope - order).abs() < 0.15, "{scheme:?}: {slope:.3}, expected {order}");
        }
    }
}

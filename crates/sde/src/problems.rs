//! Small problems with exact derivatives: random quadratics and quartics, logistic regression, a two-layer network and
//! a double well.

mod double_well;
mod logistic;
mod quadratic;
mod quartic;
mod two_layer;

pub use double_well::DoubleWell;
pub use logistic::Logistic;
pub use quadratic::Quadratic;
pub use quartic::Quartic;
pub use two_layer::TwoLayer;

use crate::memory;
use crate::stream::Stream;
use rand_distr::{Distribution, StandardNormal};

/// `count` standard normal numbers, a pure function of the seed.
fn normals(seed: u64, count: usize) -> Vec<f64> {
    let mut rng = Stream::seeded(seed);
    (0..count).map(|_| StandardNormal.sample(&mut rng)).collect()
}

/// Panics if a random problem is requested without samples or without a dimension, each a number with its name, or one
/// whose `numbers` take more than 4 GiB.
#[track_caller]
fn assert_size(sizes: &[(&str, usize)], numbers: f64) {
    for (name, size) in sizes {
        assert!(*size > 0, "{name} is 0; expected at least 1");
    }
    let text = sizes.iter().map(|(name, size)| format!("{name} = {size}")).collect::<Vec<_>>().join(", ");
    let fits = memory::fits(&format!("a random problem with {text}"), memory::numbers(numbers), "make it smaller");
    if let Err(error) = fits {
        panic!("{error}");
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::derivative_errors;
    use crate::problem::Problem;

    #[test]
    fn derivatives_are_those_of_the_losses() {
        let problems: [(&str, &dyn Problem); 6] = [
            ("quadratic", &Quadratic::random(5, 3, 1)),
            ("quartic", &Quartic::random(4, 3, 2)),
            ("logistic", &Logistic::random(6, 3, 0.1, 3)),
            ("two layers", &TwoLayer::random(4, 2, 3, 4)),
            ("double well", &DoubleWell::new(0.3, 1.2)),
            ("double well, tilted", &DoubleWell { tilt: 0.2, ..DoubleWell::new(0.3, 1.2) }),
        ];
        for (name, problem) in problems {
            let x: Vec<f64> = normals(9, problem.dim());
            for (order, error) in derivative_errors(problem, &x).into_iter().enumerate() {
                assert!(error < 1e-8, "{name}, derivative {}: {error:.1e}", order + 1);
            }
        }
    }

    /// The methods of the problem that a test's own one wraps, so that it says only what it does otherwise.
    macro_rules! all_but_the_third_derivative {
        () => {
            fn dim(&self) -> usize {
                self.0.dim()
            }
            fn samples(&self) -> usize {
                self.0.samples()
            }
            fn loss(&self, i: usize, x: &[f64]) -> f64 {
                self.0.loss(i, x)
            }
            fn add_gradient(&self, i: usize, x: &[f64], weight: f64, out: &mut [f64]) {
                self.0.add_gradient(i, x, weight, out);
            }
            fn add_hessian(&self, i: usize, x: &[f64], v: &[f64], weight: f64, out: &mut [f64]) {
                self.0.add_hessian(i, x, v, weight, out);
            }
        };
    }

    /// A wrong derivative must not pass for a right one.
    #[test]
    fn a_wrong_derivative_is_seen() {
        struct Wrong(Quartic);
        impl Problem for Wrong {
            all_but_the_third_derivative!();
            fn add_third(&self, i: usize, x: &[f64], u: &[f64], v: &[f64], weight: f64, out: &mut [f64]) {
                self.0.add_third(i, x, u, v, 0.99 * weight, out);
            }
        }
        let [first, second, third] = derivative_errors(&Wrong(Quartic::random(4, 3, 2)), &[0.4, -0.3, 0.8]);
        assert!(first < 1e-8 && second < 1e-8 && third > 1e-3, "{third:.1e}");
    }

    /// The two mistakes that are easiest to make with the trait.
    #[test]
    fn who_forgets_the_weight_or_what_is_there_is_seen() {
        struct Forgetful {
            weight: bool,
        }
        impl Problem for Forgetful {
            fn dim(&self) -> usize {
                1
            }
            fn samples(&self) -> usize {
                1
            }
            fn loss(&self, _: usize, x: &[f64]) -> f64 {
                x[0] * x[0] / 2.
            }
            fn add_gradient(&self, _: usize, x: &[f64], weight: f64, out: &mut [f64]) {
                if self.weight { out[0] += x[0] } else { out[0] = weight * x[0] }
            }
            fn add_hessian(&self, _: usize, _: &[f64], v: &[f64], weight: f64, out: &mut [f64]) {
                out[0] += weight * v[0];
            }
        }
        for weight in [true, false] {
            let [first, _, third] = derivative_errors(&Forgetful { weight }, &[0.8]);
            assert!(first > 0.1 && third < 1e-8, "{first:.1e} {third:.1e}");
        }
    }

    #[test]
    fn random_problems_have_a_size() {
        let fails = |make: fn()| {
            let panic = std::panic::catch_unwind(make).unwrap_err();
            panic.downcast_ref::<String>().unwrap().clone()
        };
        assert_eq!(fails(|| drop(Quadratic::random(0, 2, 1))), "n is 0; expected at least 1");
        assert_eq!(fails(|| drop(Quartic::random(2, 0, 1))), "d is 0; expected at least 1");
        assert_eq!(fails(|| drop(Logistic::random(2, 0, 0.1, 1))), "d is 0; expected at least 1");
        assert_eq!(fails(|| drop(TwoLayer::random(2, 0, 1, 1))), "inputs is 0; expected at least 1");
        assert_eq!(fails(|| drop(TwoLayer::random(2, 1, 0, 1))), "hidden is 0; expected at least 1");
        let text = fails(|| drop(Quadratic::random(1, 100_000, 1)));
        assert!(text.contains("d = 100000") && text.contains("149.0 GiB"), "{text}");
        let text = fails(|| drop(Logistic::random(1, 2, f64::NAN, 1)));
        assert_eq!(text, "penalty is NaN; expected a finite number of at least 0");
    }

    /// No component of u is lost beside another: along (1e9, 1e-3), each axis of its own.
    #[test]
    fn a_third_derivative_by_default_sees_small_components_of_its_direction() {
        struct Two;
        impl Problem for Two {
            fn dim(&self) -> usize {
                2
            }
            fn samples(&self) -> usize {
                1
            }
            fn loss(&self, _: usize, x: &[f64]) -> f64 {
                x[0].sin() + x[1].sin()
            }
            fn add_gradient(&self, _: usize, x: &[f64], weight: f64, out: &mut [f64]) {
                (0..2).for_each(|j| out[j] += weight * x[j].cos());
            }
            fn add_hessian(&self, _: usize, x: &[f64], v: &[f64], weight: f64, out: &mut [f64]) {
                (0..2).for_each(|j| out[j] -= weight * x[j].sin() * v[j]);
            }
        }
        let (x, u) = ([0.3, -0.4], [1e9, 1e-3]);
        let mut found = [0.; 2];
        Two.add_third(0, &x, &u, &[1., 1.], 1., &mut found);
        for j in 0..2 {
            assert!((found[j] / (-x[j].cos() * u[j]) - 1.).abs() < 1e-5, "{found:?}");
        }
    }

    /// The default third derivative is that of the Hessian.
    #[test]
    fn a_third_derivative_need_not_be_written() {
        struct Without(Logistic);
        impl Problem for Without {
            all_but_the_third_derivative!();
        }
        let with = Logistic::random(4, 3, 0.1, 3);
        let (x, u, v) = ([0.3, -0.2, 0.8], [2., 0.5, -1.], [0.1, 0.7, 0.4]);
        let (mut found, mut exact) = ([0.5; 3], [0.5; 3]);
        with.add_third(1, &x, &u, &v, 0.7, &mut exact);
        Without(with).add_third(1, &x, &u, &v, 0.7, &mut found);
        assert!(found.iter().zip(&exact).all(|(a, b)| (a - b).abs() < 1e-10), "{found:?} {exact:?}");
    }

    #[test]
    fn what_is_undefined_is_not_right() {
        // log ‖x‖ at 0.
        struct Log;
        impl Problem for Log {
            fn dim(&self) -> usize {
                1
            }
            fn samples(&self) -> usize {
                1
            }
            fn loss(&self, _: usize, x: &[f64]) -> f64 {
                x[0].abs().ln()
            }
            fn add_gradient(&self, _: usize, x: &[f64], weight: f64, out: &mut [f64]) {
                out[0] += weight * (x[0] / (x[0] * x[0]));
            }
            fn add_hessian(&self, _: usize, x: &[f64], v: &[f64], weight: f64, out: &mut [f64]) {
                out[0] -= weight * v[0] / (x[0] * x[0]);
            }
            fn add_third(&self, _: usize, x: &[f64], u: &[f64], v: &[f64], weight: f64, out: &mut [f64]) {
                out[0] += 2. * weight * u[0] * v[0] / x[0].powi(3);
            }
        }
        assert!(derivative_errors(&Log, &[1.]).iter().all(|error| *error < 1e-8));
        assert!(derivative_errors(&Log, &[0.])[0].is_nan());
    }

    #[test]
    fn hessians_of_the_quadratic_do_not_commute() {
        let problem = Quadratic::random(3, 2, 5);
        let product = |a: usize, b: usize, x: [f64; 2]| {
            let (mut y, mut z) = ([0.; 2], [0.; 2]);
            problem.add_hessian(b, &x, &x, 1., &mut y);
            problem.add_hessian(a, &x, &y, 1., &mut z);
            z
        };
        let (ab, ba) = (product(0, 1, [1., 0.]), product(1, 0, [1., 0.]));
        assert!((ab[1] - ba[1]).abs() > 0.01, "{ab:?} {ba:?}");
    }
}

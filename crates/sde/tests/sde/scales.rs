//! Two coordinates of very different size that have nothing to do with each other: each is as right as it is alone.

use msharp_sde::{
    Algorithm, Descent, Ensemble, EquationOperator, EulerMaruyama, Generator, Grid, Modified, MonteCarlo, Order,
    Problem, StepMoments, StepOperator, WeakOrder2, at, silent,
};

/// ℓ(x) = ½(x₀ ∓ s₀)² + ½(x₁ ∓ s₁)² with all four pairs of signs: gradients x − c, whose components are independent
/// with variance sⱼ².
struct Unlike([f64; 2]);

impl Unlike {
    fn centre(&self, i: usize) -> [f64; 2] {
        [if i & 1 == 0 { self.0[0] } else { -self.0[0] }, if i & 2 == 0 { self.0[1] } else { -self.0[1] }]
    }
}

impl Problem for Unlike {
    fn dim(&self) -> usize {
        2
    }
    fn samples(&self) -> usize {
        4
    }
    fn loss(&self, i: usize, x: &[f64]) -> f64 {
        x.iter().zip(self.centre(i)).map(|(x, c)| (x - c) * (x - c) / 2.).sum()
    }
    fn add_gradient(&self, i: usize, x: &[f64], weight: f64, out: &mut [f64]) {
        let centre = self.centre(i);
        (0..2).for_each(|j| out[j] += weight * (x[j] - centre[j]));
    }
    fn add_hessian(&self, _: usize, _: &[f64], v: &[f64], weight: f64, out: &mut [f64]) {
        (0..2).for_each(|j| out[j] += weight * v[j]);
    }
    fn add_third(&self, _: usize, _: &[f64], _: &[f64], _: &[f64], _: f64, _: &mut [f64]) {}
}

/// The covariance of a step on single samples is diag(1e8, 1e-6).
const SIZES: [f64; 2] = [1e4, 1e-3];
const ETA: f64 = 0.01;

fn problem() -> Unlike {
    Unlike(SIZES)
}

/// E xⱼ² at time 1 from 0 of dX = −aX dt + √η sⱼ dW.
fn of_equation(j: usize, a: f64) -> f64 {
    ETA * SIZES[j].powi(2) * -(-2. * a).exp_m1() / (2. * a)
}

/// E xⱼ² after k steps from 0 of x⁺ = (1 − η)x + ηc.
fn of_steps(j: usize, k: i32) -> f64 {
    let a = (1. - ETA) * (1. - ETA);
    (ETA * SIZES[j]).powi(2) * (1. - a.powi(k)) / (1. - a)
}

fn check(what: &str, found: [f64; 2], expected: impl Fn(usize) -> f64, tolerance: f64) {
    for (j, found) in found.into_iter().enumerate() {
        let off = found / expected(j) - 1.;
        assert!(off.abs() < tolerance, "{what}, component {j}: {found:e} for {:e}, {off:.1e}", expected(j));
    }
}

#[test]
fn a_small_component_has_the_root_of_its_own_variance() {
    let problem = problem();
    let equation = Modified::new(&problem, Algorithm::sgd(1), ETA, Order::PAPER).unwrap();
    let mut sigma = [0.; 4];
    msharp_sde::Sde::diffusion(&equation, &[0., 0.], &mut sigma);
    check("σ", [sigma[0], sigma[3]], |j| ETA.sqrt() * SIZES[j], 1e-14);
}

#[test]
fn exact_moments_of_components_of_different_size_have_their_closed_form() {
    let problem = problem();
    let diagonal = |moments: msharp_sde::Moments| [moments.second[0], moments.second[3]];
    // Of order 2 the drift is −(1 + η/2)x.
    for (order, a) in [(Order::PAPER, 1.), (Order::BEST, 1. + ETA / 2.)] {
        let equation = Modified::new(&problem, Algorithm::sgd(1), ETA, order).unwrap();
        let found = Generator::new(&equation).unwrap().at(1., &[0., 0.]);
        check("the equation", diagonal(found), |j| of_equation(j, a), 1e-9);
    }
    let steps = StepMoments::new(&problem, Algorithm::sgd(1), ETA).unwrap();
    check("the steps", diagonal(steps.after(100, &[0., 0.])), |j| of_steps(j, 100), 1e-12);
}

#[test]
fn paths_of_components_of_different_size_have_their_closed_form() {
    let problem = problem();
    let ensemble = Ensemble { paths: 4000, seed: 5, steps: 100, every: 100 };
    let square = |x: &[f64], out: &mut [f64]| (0..2).for_each(|j| out[j] = x[j] * x[j]);
    let equation = Modified::new(&problem, Algorithm::sgd(1), ETA, Order::PAPER).unwrap();
    let check = |what: &str, found: &[MonteCarlo], expected: &dyn Fn(usize) -> f64| {
        for (j, found) in found.iter().enumerate() {
            let z = (found.mean - expected(j)) / found.standard_error();
            let precise = found.standard_error() < 0.05 * found.mean;
            assert!(precise && z.abs() < 4., "{what}, component {j}: {found:?} for {:e}", expected(j));
        }
    };
    let euler = EulerMaruyama::new(&equation, ETA).unwrap();
    let found = ensemble.run(&euler, at(&[0., 0.]), 2, square, &silent).unwrap();
    check("Euler–Maruyama", &found[1].outputs, &|j| of_steps(j, 100)); // the same two moments of a step
    let second = WeakOrder2::new(&equation, ETA).unwrap();
    let found = ensemble.run(&second, at(&[0., 0.]), 2, square, &silent).unwrap();
    check("weak order 2", &found[1].outputs, &|j| of_equation(j, 1.));
    let descent = Descent::new(&problem, Algorithm::sgd(1), ETA).unwrap();
    let found = ensemble.run(&descent, at(&[0., 0.]), 2, square, &silent).unwrap();
    check("the algorithm", &found[1].outputs, &|j| of_steps(j, 100));
}

#[test]
fn a_grid_of_components_of_different_size_has_their_closed_form() {
    let problem = problem();
    let grid = Grid::new(&SIZES.map(|s| (-s, s)), 4).unwrap();
    let equation = Modified::new(&problem, Algorithm::sgd(1), ETA, Order::PAPER).unwrap();
    let flow = EquationOperator::new(&equation, &grid).unwrap().over(1.);
    let found = [0, 1].map(|j| flow.expect(&[0., 0.], |x| x[j] * x[j]));
    check("the equation", found, |j| of_equation(j, 1.), 1e-10);
    let steps = StepOperator::new(&problem, Algorithm::sgd(1), ETA, &grid).unwrap();
    let found = [0, 1].map(|j| steps.after(100, &[0., 0.], |x| x[j] * x[j]));
    check("the steps", found, |j| of_steps(j, 100), 1e-10);
}

/// Where b is long, rounding over a short distance along it must not drown what is small in b.
#[test]
fn the_correction_of_order_2_is_right_in_a_small_component_of_a_long_drift() {
    let problem = Unlike([0., 0.]);
    let equation = Modified::new(&problem, Algorithm::sgd(1), 0.1, Order::BEST).unwrap();
    let (x, mut drift) = ([1e11, 1e-3], [0.; 2]);
    msharp_sde::Sde::drift(&equation, &x, &mut drift);
    for j in 0..2 {
        assert!((drift[j] / (-x[j] * (1. + 0.1 / 2.)) - 1.).abs() < 1e-10, "{drift:?}");
    }
}

#[test]
fn relative_distances_see_small_components_and_no_units() {
    let of = |sizes: [f64; 2]| {
        let step = StepMoments::new(&Unlike(sizes), Algorithm::sgd(1), ETA).unwrap();
        (step.after(100, &[0., 0.]), step.after(99, &[0., 0.]))
    };
    let ((a, b), (c, d)) = (of([1., 1.]), of(SIZES));
    let (plain, scaled) = (a.relative_distance(&b), c.relative_distance(&d));
    assert!((plain / scaled - 1.).abs() < 1e-9 && plain > 1e-3, "{plain:e} {scaled:e}");
    let mut other = c.clone();
    other.second[3] *= 2.;
    assert!(other.distance(&c) < 1e-6 && (other.relative_distance(&c) - 1.).abs() < 1e-12);
    other.mean[0] = f64::NAN;
    assert!(other.relative_distance(&c).is_nan() && a.relative_distance(&a) == 0.);
}

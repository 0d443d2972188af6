//! Exact moments: against closed forms, against paths, and the orders of the equations in η.

use msharp_sde::problems::{Quadratic, Quartic};
use msharp_sde::{
    Algorithm, Chain, Descent, Expansion, Generator, Modified, Moments, NoiseType, Order, Sde, StepMoments, stream,
};

/// SGD on ½h(x − cᵢ)²: x_k is an autoregression.
#[test]
fn the_recursion_of_sgd_has_its_closed_form() {
    let (h, centres, eta, b) = (0.8, vec![-1., 0.25, 1.5], 0.3, 2);
    let problem = Quadratic { hessians: vec![h; 3], centres: centres.clone(), dim: 1 };
    let mean = centres.iter().sum::<f64>() / 3.;
    let variance = centres.iter().map(|c| (c - mean) * (c - mean)).sum::<f64>() / 3.;
    let (a, start, k) = (1. - eta * h, 2., 7);
    let (expected, spread) = (
        mean + a.powi(k) * (start - mean),
        (eta * h).powi(2) * variance / b as f64 * (1. - a.powi(2 * k)) / (1. - a * a),
    );
    let found = StepMoments::new(&problem, Algorithm::sgd(b), eta).unwrap().after(k as usize, &[start]);
    assert!((found.mean[0] - expected).abs() < 1e-13);
    assert!((found.second[0] - expected * expected - spread).abs() < 1e-13);
}

/// dX = −a(X − c) dt + s dW.
struct OrnsteinUhlenbeck {
    a: f64,
    c: f64,
    s: f64,
}

impl Sde for OrnsteinUhlenbeck {
    fn dim(&self) -> usize {
        1
    }
    fn noise_type(&self) -> NoiseType {
        NoiseType::Diagonal
    }
    fn drift(&self, x: &[f64], drift: &mut [f64]) {
        drift[0] = -self.a * (x[0] - self.c);
    }
    fn diffusion(&self, _: &[f64], sigma: &mut [f64]) {
        sigma[0] = self.s;
    }
}

#[test]
fn the_moments_of_an_equation_have_their_closed_form() {
    let (a, c, s, t, start) = (0.7, -0.3, 0.5, 1.3, 2.);
    let found = Generator::new(&OrnsteinUhlenbeck { a, c, s }).unwrap().at(t, &[start]);
    let mean = c + (start - c) * (-a * t).exp();
    let variance = s * s / (2. * a) * (1. - (-2. * a * t).exp());
    assert!((found.mean[0] - mean).abs() < 1e-13);
    assert!((found.second[0] - mean * mean - variance).abs() < 1e-13);
}

/// SGD's own equation on one quadratic: the order-1 drift is −h(x − c̄), the order-2 one −h(1 + ηh/2)(x − c̄).
#[test]
fn the_correction_of_order_2_is_eta_over_4() {
    let problem = Quadratic { hessians: vec![0.8; 2], centres: vec![-1., 1.4], dim: 1 };
    let equation = |eta| Modified::new(&problem, Algorithm::sgd(2), 0.1, Order { eta, rho: Expansion::Exact }).unwrap();
    let (mut first, mut second) = ([0.], [0.]);
    equation(1).drift(&[2.], &mut first);
    equation(2).drift(&[2.], &mut second);
    assert!((first[0] + 0.8 * 1.8).abs() < 1e-14);
    assert!((second[0] + 0.8 * (1. + 0.04) * 1.8).abs() < 1e-10);
}

fn variants(rho: f64) -> Vec<Algorithm> {
    let with = [Algorithm::sgd(2), Algorithm::n_usam(rho, 2), Algorithm::usam(rho, 2), Algorithm::m_usam(rho, 1, 2)];
    with.into_iter().chain(with.map(Algorithm::without_replacement)).collect()
}

/// Paths of the chain have the moments of the recursion, with and without replacement.
#[test]
fn paths_have_the_moments_of_the_recursion() {
    let problem = Quadratic::random(4, 2, 7);
    let (start, steps, paths) = ([1., -1.5], 5, 40_000);
    for algorithm in variants(0.3) {
        let chain = Descent::new(&problem, algorithm, 0.2).unwrap();
        let expected = StepMoments::new(&problem, algorithm, 0.2).unwrap().after(steps, &start);
        let expected: Vec<f64> = expected.mean.into_iter().chain(expected.second).collect();
        let (mut sums, mut squares, mut scratch) = ([0.; 6], [0.; 6], vec![0.; chain.scratch()]);
        for path in 0..paths {
            let (mut x, mut stream) = (start, stream(3, path));
            (0..steps).for_each(|_| chain.step(&mut x, &mut stream, &mut scratch));
            let values = [x[0], x[1], x[0] * x[0], x[0] * x[1], x[1] * x[0], x[1] * x[1]];
            for (k, value) in values.into_iter().enumerate() {
                sums[k] += value;
                squares[k] += value * value;
            }
        }
        for (k, expected) in expected.iter().enumerate() {
            let mean = sums[k] / paths as f64;
            let error = ((squares[k] / paths as f64 - mean * mean) / paths as f64).sqrt();
            assert!((mean - expected).abs() < 4. * error + 1e-12, "{} {k}: {mean} for {expected}", algorithm.name());
        }
    }
}

const TIME: f64 = 2.;
const START: [f64; 2] = [1., -1.5];

fn steps_at(eta: f64) -> usize {
    (TIME / eta).round() as usize
}

/// The slope of log error against log η between two rates, for the moments of chain and equation at time 2.
fn slope(problem: &Quadratic, algorithm: Algorithm, equation: impl Fn(f64) -> Moments) -> f64 {
    let error = |eta: f64| {
        let exact = StepMoments::new(problem, algorithm, eta).unwrap().after(steps_at(eta), &START);
        exact.distance(&equation(eta))
    };
    (error(0.01) / error(0.005)).log2()
}

/// The table of the theory: order 1 and 2 in η, for every variant of USAM, by exact moments.
#[test]
fn equations_have_their_order_in_eta() {
    let problem = Quadratic::random(4, 2, 7);
    for algorithm in variants(0.1) {
        for order in [1, 2] {
            let found = slope(&problem, algorithm, |eta| {
                let equation =
                    Modified::new(&problem, algorithm, eta, Order { eta: order, rho: Expansion::Exact }).unwrap();
                Generator::new(&equation).unwrap().at(TIME, &START)
            });
            assert!((found - order as f64).abs() < 0.06, "{} order {order}: slope {found}", algorithm.name());
        }
    }
}

/// The logarithm of a step gives every order.
#[test]
fn the_logarithm_has_any_order() {
    let problem = Quadratic::random(4, 2, 7);
    for algorithm in variants(0.1) {
        for order in 1..=4 {
            let of =
                |eta| StepMoments::new(&problem, algorithm, eta).unwrap().generator(order).unwrap().at(TIME, &START);
            let found = slope(&problem, algorithm, of);
            assert!((found - order as f64).abs() < 0.12, "{} order {order}: slope {found}", algorithm.name());
        }
    }
}

/// To order 2 the logarithm of a step is the equation of order 2.
#[test]
fn the_second_order_of_the_logarithm_is_the_equation() {
    let problem = Quadratic::random(4, 2, 7);
    for algorithm in variants(0.1) {
        let equation = Modified::new(&problem, algorithm, 0.1, Order::BEST).unwrap();
        let (a, b) = (
            Generator::new(&equation).unwrap().at(TIME, &START),
            StepMoments::new(&problem, algorithm, 0.1).unwrap().generator(2).unwrap().at(TIME, &START),
        );
        assert!(a.distance(&b) < 1e-8, "{}: {:.1e}", algorithm.name(), a.distance(&b));
    }
}

/// The equation of another variant is far off, whatever η is.
#[test]
fn the_equation_of_another_variant_is_another() {
    let (problem, eta) = (Quadratic::random(4, 2, 7), 1e-3);
    let all = variants(0.1);
    for (i, algorithm) in all.iter().take(4).enumerate() {
        let chain = StepMoments::new(&problem, *algorithm, eta).unwrap().after(steps_at(eta), &START);
        let errors: Vec<f64> = all[..4]
            .iter()
            .map(|other| {
                let equation = Modified::new(&problem, *other, eta, Order::BEST).unwrap();
                Generator::new(&equation).unwrap().at(TIME, &START).distance(&chain)
            })
            .collect();
        let off = errors.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, e)| *e).fold(f64::INFINITY, f64::min);
        assert!(off > 300. * errors[i], "{}: {errors:?}", algorithm.name());
    }
}

#[test]
fn moments_that_do_not_close_are_an_error() {
    let problem = Quartic::random(4, 2, 7);
    let text = StepMoments::new(&problem, Algorithm::usam(0.1, 2), 0.1).unwrap_err().to_string();
    assert!(text.contains("USAM") && text.contains("expected"), "{text}");
    let quadratic = Quadratic::random(4, 2, 7);
    assert!(StepMoments::new(&quadratic, Algorithm::sam(0.1, 2), 0.1).is_err());
}

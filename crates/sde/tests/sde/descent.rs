//! One step of each algorithm, drawn, against its exact mean and covariance; and who leads where weights decide.

use msharp_sde::problems::Logistic;
use msharp_sde::{Algorithm, Descent, Ensemble, Expansion, Modified, Normalisation, Order, Problem, at, silent};

const ALL: Expansion = Expansion::Exact;

/// Every rule, raw and normalised, with both samplings, on micro-batches and with a floor.
#[test]
fn a_step_has_its_exact_mean_and_covariance() {
    let problem = Logistic::random(6, 2, 0.1, 3);
    let (x, eta, paths) = ([0.8, -1.1], 0.5, 40_000);
    let floor = |algorithm: Algorithm| Algorithm { normalisation: Normalisation::Unit { floor: 0.1 }, ..algorithm };
    let rules = [
        Algorithm::sgd(4),
        Algorithm::n_usam(0.3, 4),
        Algorithm::usam(0.3, 4),
        Algorithm::m_usam(0.3, 2, 4),
        Algorithm::rw_usam(0.3, 3., 4),
        Algorithm::n_sam(0.3, 4),
        Algorithm::sam(0.3, 4),
        Algorithm::m_sam(0.3, 2, 4),
        Algorithm::rw_sam(0.3, 3., 4),
        floor(Algorithm::sam(0.3, 4)),
        floor(Algorithm::m_sam(0.3, 1, 4)),
    ];
    for (seed, rule) in rules.into_iter().flat_map(|rule| [rule, rule.without_replacement()]).enumerate() {
        let exact = Modified::new(&problem, rule, eta, Order { eta: 1, rho: ALL }).unwrap();
        let (mut mean, mut covariance) = ([0.; 2], [0.; 4]);
        exact.mean_step(&x, &mut mean);
        exact.covariance(&x, &mut covariance);
        let chain = Descent::new(&problem, rule, eta).unwrap();
        let ensemble = Ensemble { paths, seed: seed as u64, steps: 1, every: 1 };
        let observe = |y: &[f64], out: &mut [f64]| {
            let h = [0, 1].map(|j| (y[j] - x[j]) / eta - mean[j]);
            out.copy_from_slice(&[h[0], h[1], h[0] * h[0] - covariance[0], h[0] * h[1] - covariance[1]]);
        };
        let found = ensemble.run(&chain, at(&x), 4, observe, &silent).unwrap();
        for (k, off) in found[1].outputs.iter().enumerate() {
            let z = off.mean / off.standard_error();
            assert!(z.abs() < 4.5, "{} {:?}, moment {k}: {z:.1} standard errors", rule.name(), rule.sampling);
        }
    }
}

/// λ without bound: the ascent is on the longest gradient of the batch, and on no other.
#[test]
fn a_large_weight_is_that_of_the_longest_gradient() {
    let (problem, x, rho) = (Logistic::random(4, 2, 0.1, 3), [0.8, -1.1], 0.3);
    let gradient = |i: usize, x: &[f64]| {
        let mut out = [0.; 2];
        problem.add_gradient(i, x, 1., &mut out);
        out
    };
    let length = |g: [f64; 2]| g[0].hypot(g[1]);
    let mut expected = [0.; 2];
    for (i, j) in (0..4).flat_map(|i| (0..4).map(move |j| (i, j))) {
        let (a, b) = (gradient(i, &x), gradient(j, &x));
        let longest = if length(a) > length(b) { a } else { b };
        let there = [x[0] + rho * longest[0], x[1] + rho * longest[1]];
        let (a, b) = (gradient(i, &there), gradient(j, &there));
        expected.iter_mut().zip(a).zip(b).for_each(|((sum, a), b)| *sum -= (a + b) / 2. / 16.);
    }
    let rule = Algorithm::rw_usam(rho, 1e6, 2);
    let mut found = [0.; 2];
    Modified::new(&problem, rule, 0.1, Order { eta: 1, rho: ALL }).unwrap().mean_step(&x, &mut found);
    assert!((0..2).all(|k| (found[k] - expected[k]).abs() < 1e-12), "{found:?} {expected:?}");
}

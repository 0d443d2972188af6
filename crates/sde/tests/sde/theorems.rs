//! The paper's closed forms against the equations that enumeration finds, and what follows from them.

use msharp_sde::problems::{Logistic, Quadratic, Quartic, TwoLayer};
use msharp_sde::theorems::{
    expected_norm, half_gradient_of_noise_trace, noise_trace, potential, usam_diffusion, usam_drift,
};
use msharp_sde::{Algorithm, Expansion, Modified, Order, Problem, Sampling, Sde, mean_gradient};

const PAPER: Order = Order::PAPER;

fn problems() -> Vec<(&'static str, Box<dyn Problem>, Vec<f64>)> {
    vec![
        ("quadratic", Box::new(Quadratic::random(5, 3, 1)), vec![0.5, -0.8, 1.1]),
        ("quartic", Box::new(Quartic::random(5, 2, 2)), vec![0.9, -0.4]),
        ("logistic", Box::new(Logistic::random(5, 2, 0.1, 3)), vec![0.3, 0.7]),
        ("two layers", Box::new(TwoLayer::random(5, 2, 2, 4)), vec![0.2, -0.5, 0.7, 0.4, -0.6, 0.9]),
    ]
}

fn usam_variants(rho: f64) -> Vec<Algorithm> {
    let with = [
        Algorithm::n_usam(rho, 4),
        Algorithm::usam(rho, 4),
        Algorithm::m_usam(rho, 2, 4),
        Algorithm::m_usam(rho, 1, 4),
    ];
    with.into_iter().chain(with.map(Algorithm::without_replacement)).collect()
}

fn sam_variants(rho: f64) -> Vec<Algorithm> {
    let with =
        [Algorithm::n_sam(rho, 4), Algorithm::sam(rho, 4), Algorithm::m_sam(rho, 2, 4), Algorithm::m_sam(rho, 1, 4)];
    with.into_iter().chain(with.map(Algorithm::without_replacement)).collect()
}

fn drift(problem: &dyn Problem, algorithm: Algorithm, order: Order, x: &[f64]) -> Vec<f64> {
    let mut drift = vec![0.; x.len()];
    Modified::new(problem, algorithm, 0.1, order).unwrap().drift(x, &mut drift);
    drift
}

fn covariance(problem: &dyn Problem, algorithm: Algorithm, order: Order, x: &[f64]) -> Vec<f64> {
    let mut covariance = vec![0.; x.len() * x.len()];
    Modified::new(problem, algorithm, 0.1, order).unwrap().covariance(x, &mut covariance);
    covariance
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0., f64::max)
}

/// Theorems 3.3 to 3.5, with and without replacement: the drift in closed form is the expectation over all batches.
#[test]
fn the_drift_of_usam_is_that_of_the_theorem() {
    for (name, problem, x) in problems() {
        for algorithm in usam_variants(0.3) {
            let mut closed = vec![0.; x.len()];
            usam_drift(&*problem, &algorithm, &x, &mut closed).unwrap();
            let error = distance(&closed, &drift(&*problem, algorithm, PAPER, &x));
            assert!(error < 1e-13, "{name}, {}: {error:.1e}", algorithm.name());
        }
    }
}

/// Theorems 3.3 to 3.8: the drift to order 1 in ρ is minus the gradient of the potential.
#[test]
fn the_drift_descends_the_potential() {
    for (name, problem, x) in problems() {
        for algorithm in usam_variants(0.3).into_iter().chain(sam_variants(0.3)).chain([Algorithm::sgd(4)]) {
            let found = drift(&*problem, algorithm, PAPER, &x);
            for (j, found) in found.iter().enumerate() {
                let h = 1e-3;
                let at = |s: f64| {
                    let mut y = x.clone();
                    y[j] += s * h;
                    potential(&*problem, &algorithm, &y).unwrap()
                };
                let slope = (8. * (at(1.) - at(-1.)) - (at(2.) - at(-2.))) / (12. * h);
                assert!((slope + found).abs() < 1e-7, "{name}, {}, {j}: {slope} and {found}", algorithm.name());
            }
        }
    }
}

/// The diffusion in closed form agrees with enumeration but for a term in ρ², which it leaves out.
#[test]
fn the_diffusion_of_usam_is_that_of_the_closed_form() {
    for (name, problem, x) in problems() {
        for kind in 0..4 {
            let error = |rho: f64| {
                let algorithm = usam_variants(rho)[kind];
                let mut closed = vec![0.; x.len() * x.len()];
                usam_diffusion(&*problem, &algorithm, &x, &mut closed).unwrap();
                distance(&closed, &covariance(&*problem, algorithm, PAPER, &x))
            };
            assert!(error(0.) < 1e-13, "{name}, {kind}: {:.1e}", error(0.));
            let slope = (error(0.02) / error(0.01)).log2();
            assert!((slope - 2.).abs() < 0.05, "{name}, {kind}: slope {slope}");
        }
    }
}

/// At ρ = 0 the diffusion of every variant is V/b: it is the drift that tells them apart.
#[test]
fn variants_diffuse_alike_without_a_radius() {
    let (problem, x) = (Quartic::random(5, 2, 2), [0.9, -0.4]);
    let sgd = covariance(&problem, Algorithm::sgd(4), PAPER, &x);
    for algorithm in usam_variants(0.).into_iter().take(4).chain(sam_variants(0.).into_iter().take(4)) {
        assert!(distance(&sgd, &covariance(&problem, algorithm, PAPER, &x)) < 1e-14, "{}", algorithm.name());
    }
}

/// A series in ρ misses the exact drift by its next power, for every algorithm.
#[test]
fn the_series_has_its_order() {
    let (problem, x) = (Quartic::random(5, 2, 2), [0.9, -0.4]);
    let all = |rho: f64| {
        let rw = [Algorithm::rw_usam(rho, 0.7, 4), Algorithm::rw_sam(rho, 0.7, 4)];
        usam_variants(rho).into_iter().chain(sam_variants(rho)).chain(rw).collect::<Vec<_>>()
    };
    for kind in 0..all(0.1).len() {
        for k in 0..3 {
            let error = |rho: f64| {
                let of = |rho_terms| drift(&problem, all(rho)[kind], Order { eta: 1, rho: rho_terms }, &x);
                distance(&of(Expansion::Order(k)), &of(Expansion::Exact))
            };
            // A quartic has no terms beyond ρ³: the difference is whole powers of ρ.
            let slope = (error(2e-3) / error(1e-3)).log2();
            assert!((slope - (k + 1) as f64).abs() < 0.03, "{}, {k}: slope {slope}", all(0.1)[kind].name());
        }
    }
}

/// λ = 0 weighs all samples alike: RW-USAM is USAM. A large λ ascends on the longest gradient of the batch alone.
#[test]
fn reweighting_has_its_limits() {
    let (problem, x) = (Quartic::random(4, 2, 2), [0.9, -0.4]);
    let order = Order { eta: 1, rho: Expansion::Exact };
    let (usam, uniform) = (Algorithm::usam(0.2, 3), Algorithm::rw_usam(0.2, 0., 3));
    assert!(distance(&drift(&problem, usam, order, &x), &drift(&problem, uniform, order, &x)) < 1e-14);
    let one = Algorithm::rw_usam(0.2, 1e4, 1);
    let m_one = Algorithm::m_usam(0.2, 1, 1);
    assert!(distance(&drift(&problem, one, order, &x), &drift(&problem, m_one, order, &x)) < 1e-14);
    let small = drift(&problem, Algorithm::rw_usam(0.2, 1e-4, 3), order, &x);
    assert!(distance(&small, &drift(&problem, usam, order, &x)) < 1e-3);
    let large = [50., 1e6].map(|lambda| drift(&problem, Algorithm::rw_usam(0.2, lambda, 3), order, &x));
    assert!(distance(&large[0], &large[1]) < 1e-3 && distance(&large[1], &small) > 1e-3);
}

/// What is beyond ∇(f + (ρ/2)‖∇f‖²) in the mean step, divided by ρ, is ½∇tr V times (1/m)(n − m)/(n − 1); n-USAM has
/// none of it.
#[test]
fn the_excess_drift_is_the_gradient_of_the_noise_over_m() {
    let (problem, x, rho) = (Quartic::random(6, 2, 2), [0.9, -0.4], 1e-6);
    let excess = |algorithm: Algorithm| {
        let order = Order { eta: 1, rho: Expansion::Exact };
        let (found, base) =
            (drift(&problem, algorithm, order, &x), drift(&problem, Algorithm::n_usam(rho, 4), order, &x));
        found.iter().zip(&base).map(|(a, b)| (b - a) / rho).collect::<Vec<f64>>()
    };
    let mut half = [0.; 2];
    half_gradient_of_noise_trace(&problem, &x, &mut half);
    for m in [1, 2, 4] {
        for sampling in [Sampling::WithReplacement, Sampling::WithoutReplacement] {
            let factor = sampling.population_factor(6, m) / m as f64;
            let found = excess(Algorithm { sampling, ..Algorithm::m_usam(rho, m, 4) });
            let error = distance(&found, &half.map(|h| h * factor));
            assert!(error < 2e-5, "m = {m}, {sampling:?}: {error:.1e}"); // O(ρ), and rounding over ρ
        }
    }
}

/// Proposition 3.9.
#[test]
fn the_expected_norm_grows_as_the_batch_shrinks() {
    for (name, problem, x) in problems() {
        for sampling in [Sampling::WithReplacement, Sampling::WithoutReplacement] {
            let norms: Vec<f64> = (1..=5).map(|k| expected_norm(&*problem, &x, k, sampling).unwrap()).collect();
            assert!(norms.windows(2).all(|pair| pair[0] > pair[1]), "{name}, {sampling:?}: {norms:?}");
            if sampling == Sampling::WithoutReplacement {
                let mut full = vec![0.; x.len()];
                mean_gradient(&*problem, &x, &mut full);
                let size = full.iter().map(|g| g * g).sum::<f64>().sqrt();
                assert!((norms[4] - size).abs() < 1e-14);
            }
        }
    }
}

/// E‖∇f_γ‖² = ‖∇f‖² + tr V/b, from which the theorem for USAM follows.
#[test]
fn the_trace_of_the_noise_is_what_a_batch_adds_to_the_square() {
    let (problem, x) = (Quartic::random(5, 2, 2), [0.9, -0.4]);
    let sgd = Modified::new(&problem, Algorithm::sgd(3), 0.1, PAPER).unwrap();
    let mut covariance = [0.; 4];
    sgd.covariance(&x, &mut covariance);
    assert!((covariance[0] + covariance[3] - noise_trace(&problem, &x) / 3.).abs() < 1e-13);
}

#[test]
fn what_has_no_closed_form_is_an_error() {
    let (problem, x, mut out) = (Quartic::random(5, 2, 2), [0.9, -0.4], [0.; 4]);
    let text = |result: Result<(), msharp_sde::Error>| result.unwrap_err().to_string();
    assert!(text(potential(&problem, &Algorithm::rw_sam(0.1, 1., 4), &x).map(drop)).contains("reweighted"));
    assert!(text(usam_drift(&problem, &Algorithm::sam(0.1, 4), &x, &mut out[..2])).contains("USAM"));
    let without = Algorithm::usam(0.1, 4).without_replacement();
    assert!(text(usam_diffusion(&problem, &without, &x, &mut out)).contains("with replacement"));
    for (order, word) in [(Order { eta: 3, ..PAPER }, "eta"), (Order { rho: Expansion::Order(3), ..PAPER }, "rho")] {
        assert!(Modified::new(&problem, Algorithm::sgd(4), 0.1, order).unwrap_err().to_string().contains(word));
    }
}

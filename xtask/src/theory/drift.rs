//! `reproduce drift`: what sampling adds to the mean step, where the paper says that the gradient of tr V is; norms
//! against the size of a batch; and the diffusion of the variants.

mod page;

pub use page::page;

use super::row::Point;
use super::{Job, Tell};
use crate::experiments::Preset;
use anyhow::Result;
use msharp_sde::problems::{Logistic, Quadratic, Quartic, TwoLayer};
use msharp_sde::theorems::{expected_norm, half_gradient_of_noise_trace};
use msharp_sde::{
    Algorithm, Coupled, Descent, Ensemble, InRho, Law, Modified, Order, Problem, Sampling, at, mean_gradient,
    mean_hessian,
};

/// The coefficient of ½∇tr V in the mean step, exactly, against m.
const EXCESS: &str = "excess";
/// The same, measured on steps of the algorithm on a network.
const STEPS: &str = "steps";
/// The coefficient for RW-USAM, against m_eff.
const REWEIGHTED: &str = "reweighted";
/// E‖∇f_γ‖ against |γ|.
const NORMS: &str = "norms";
/// tr Σ against ρ, by variant.
const DIFFUSION: &str = "diffusion";

/// The samples of the problems that are enumerated, and of the network that is not.
const SAMPLES: usize = 8;
const LARGE: usize = 64;

const SAMPLINGS: [Sampling; 2] = [Sampling::WithReplacement, Sampling::WithoutReplacement];

fn named(sampling: Sampling) -> &'static str {
    match sampling {
        Sampling::WithReplacement => "with replacement",
        Sampling::WithoutReplacement => "without",
    }
}

/// A problem by name, and the point at which it is looked at.
fn problem(name: &str) -> (Box<dyn Problem>, Vec<f64>) {
    match name {
        "quadratic" => (Box::new(Quadratic::random(SAMPLES, 3, 1)), vec![0.5, -0.8, 1.1]),
        "quartic" => (Box::new(Quartic::random(SAMPLES, 2, 2)), vec![0.9, -0.4]),
        "logistic regression" => (Box::new(Logistic::random(SAMPLES, 2, 0.1, 3)), vec![0.3, 0.7]),
        _ => (Box::new(TwoLayer::random(SAMPLES, 2, 2, 4)), vec![0.2, -0.5, 0.7, 0.4, -0.6, 0.9]),
    }
}

const PROBLEMS: [&str; 4] = ["quadratic", "quartic", "logistic regression", "two layers"];

/// The network that is too large to enumerate: 64 samples, 8 hidden units, 40 parameters.
fn network() -> (TwoLayer, Vec<f64>) {
    let network = TwoLayer::random(LARGE, 4, 8, 5);
    let start = (0..network.dim()).map(|k| 0.7 * (1.9 * k as f64 + 0.3).sin()).collect();
    (network, start)
}

pub fn jobs(preset: Preset) -> Vec<Job> {
    let (sizes, large, paths): (&[usize], &[usize], usize) = match preset {
        Preset::Smoke => (&[1, 2, 8], &[1, 4], 4_000),
        Preset::Laptop => (&[1, 2, 3, 4, 5, 6, 8], &[1, 2, 4, 8, 16, 32, 64], 200_000),
        Preset::Paper => (&[1, 2, 3, 4, 5, 6, 8], &[1, 2, 4, 8, 16, 32, 64], 3_200_000),
    };
    let mut jobs = Vec::new();
    for name in PROBLEMS {
        for sampling in SAMPLINGS {
            let series = format!("{name} · {}", named(sampling));
            let setting = format!("{SAMPLES} samples, ρ = 1e-5, by enumeration");
            let of = move |&m: &usize| coefficient(name, Algorithm { sampling, ..Algorithm::usam(1e-5, m) }, m as f64);
            jobs.push(Job::new(EXCESS, &*series, setting, move |_| sizes.iter().map(of).collect()));
            let of = move |&k: &usize| {
                let (problem, x) = problem(name);
                Ok(Point::exact(k as f64, expected_norm(&*problem, &x, k, sampling)?))
            };
            let setting = format!("{SAMPLES} samples, by enumeration");
            jobs.push(Job::new(NORMS, series, setting, move |_| sizes.iter().map(of).collect()));
        }
        let full = move |_: Tell| Ok(vec![coefficient(name, Algorithm::n_usam(1e-5, 2), 0.)?]);
        jobs.push(Job::new(
            EXCESS,
            format!("{name} · n-USAM"),
            format!("{SAMPLES} samples, ρ = 1e-5, by enumeration"),
            full,
        ));
    }
    for name in PROBLEMS {
        let setting = format!("{SAMPLES} samples, batches of {RW_BATCH} with replacement, ρ = 1e-5, by enumeration");
        let compute = move |_: Tell| [0., 0.5, 1., 2., 4., 8.].iter().map(|&size| reweighted(name, size)).collect();
        jobs.push(Job::new(REWEIGHTED, name, setting, compute));
    }
    for sampling in SAMPLINGS {
        let setting = format!(
            "two layers, {LARGE} samples, 40 parameters, ρ = 0.002, {paths} batches; the same batches for n-USAM, whose steps are subtracted"
        );
        let of = move |tell: Tell| large.iter().map(|&m| measured(m, sampling, paths, tell)).collect();
        jobs.push(Job::new(STEPS, named(sampling), setting, of));
    }
    let count = variants(0.).len();
    for kind in 0..count {
        let setting = format!("quartic, {SAMPLES} samples, batches of 4 with replacement, by enumeration");
        let of = move |&rho: &f64| diffusion(variants(rho)[kind]).map(|trace| Point::exact(rho, trace));
        let all = move |_: Tell| [0., 0.05, 0.1, 0.2, 0.3, 0.4].iter().map(of).collect();
        jobs.push(Job::new(DIFFUSION, variants(0.1)[kind].name(), setting, all));
    }
    jobs
}

fn variants(rho: f64) -> Vec<Algorithm> {
    vec![
        Algorithm::sgd(4),
        Algorithm::n_usam(rho, 4),
        Algorithm::usam(rho, 4),
        Algorithm::m_usam(rho, 2, 4),
        Algorithm::m_usam(rho, 1, 4),
        Algorithm::n_sam(rho, 4),
        Algorithm::sam(rho, 4),
        Algorithm::m_sam(rho, 2, 4),
        Algorithm::m_sam(rho, 1, 4),
    ]
}

/// The c for which (E∇f_γ(x + ρu) − ∇(f + (ρ/2)‖∇f‖²))/ρ is nearest to c·½∇tr V.
fn coefficient(name: &str, algorithm: Algorithm, at: f64) -> Result<Point> {
    let (problem, x) = problem(name);
    let (d, rho) = (x.len(), algorithm.rho);
    let exact = Modified::new(&*problem, algorithm, 0.1, Order { eta: 1, rho: InRho::Exact })?;
    let (mut mean, mut full, mut curved, mut half) = (vec![0.; d], vec![0.; d], vec![0.; d], vec![0.; d]);
    exact.mean_step(&x, &mut mean);
    mean_gradient(&*problem, &x, &mut full);
    mean_hessian(&*problem, &x, &full, &mut curved);
    half_gradient_of_noise_trace(&*problem, &x, &mut half);
    let excess = |j: usize| (-mean[j] - full[j] - rho * curved[j]) / rho;
    let square: f64 = half.iter().map(|h| h * h).sum();
    Ok(Point::exact(at, (0..d).map(|j| excess(j) * half[j]).sum::<f64>() / square))
}

/// The batch of the reweighted ascent.
const RW_BATCH: usize = 4;

/// RW-USAM's coefficient at a λ of `size` over the mean norm of a sample's gradient, against the mean m_eff = 1/Σp²
/// over all batches.
fn reweighted(name: &str, size: f64) -> Result<Point> {
    let (problem, x) = problem(name);
    let norms: Vec<f64> = (0..problem.samples())
        .map(|i| {
            let mut gradient = vec![0.; x.len()];
            problem.add_gradient(i, &x, 1., &mut gradient);
            gradient.iter().map(|g| g * g).sum::<f64>().sqrt()
        })
        .collect();
    let lambda = size / (norms.iter().sum::<f64>() / norms.len() as f64);
    let algorithm = Algorithm::rw_usam(1e-5, lambda, RW_BATCH);
    let m_eff = |members: &[(usize, f64)]| {
        let weight = |&(i, share): &(usize, f64)| share * (lambda * norms[i]).exp();
        let sum: f64 = members.iter().map(weight).sum();
        // A sample that is there k times has k equal weights.
        let square = |member: &(usize, f64)| (weight(member) / sum).powi(2) / (member.1 * RW_BATCH as f64);
        1. / members.iter().map(square).sum::<f64>()
    };
    let law = Law::new(&algorithm, problem.samples())?;
    let mean: f64 = law.iter().map(|(members, p)| p * m_eff(members)).sum();
    coefficient(name, algorithm, mean)
}

/// The same from single steps of the algorithm and of n-USAM on the same batches, with its standard error.
fn measured(m: usize, sampling: Sampling, paths: usize, tell: Tell) -> Result<Point> {
    let (network, start) = network();
    let (d, rho) = (start.len(), 0.002);
    let of = |algorithm: Algorithm| Descent::new(&network, Algorithm { sampling, ..algorithm }, 1.);
    let both = Coupled { first: of(Algorithm::usam(rho, m))?, second: of(Algorithm::n_usam(rho, m))? };
    let mut half = vec![0.; d];
    half_gradient_of_noise_trace(&network, &start, &mut half);
    let square: f64 = half.iter().map(|h| h * h).sum();
    let excess = |x: &[f64], out: &mut [f64]| {
        out[0] = (0..d).map(|j| (x[d + j] - x[j]) / rho * half[j]).sum::<f64>() / square;
    };
    let ensemble = Ensemble { paths, seed: m as u64, steps: 1, every: 1 };
    let twice = [start.as_slice(), &start].concat();
    let end = ensemble.run(&both, at(&twice), 1, excess, tell)?;
    let found = end[end.len() - 1].outputs[0];
    Ok(Point::sampled(m as f64, found.mean, found.standard_error()))
}

/// tr Σ.
fn diffusion(algorithm: Algorithm) -> Result<f64> {
    let (problem, x) = problem("quartic");
    let d = x.len();
    let mut covariance = vec![0.; d * d];
    Modified::new(&*problem, algorithm, 0.1, Order { eta: 1, rho: InRho::Exact })?.covariance(&x, &mut covariance);
    Ok((0..d).map(|j| covariance[j * d + j]).sum())
}

//! `reproduce drift`: what sampling adds to the mean step, where the paper says that the gradient of tr V is; norms
//! against the size of a batch; and the diffusion of the variants.

use crate::experiments::Preset;
use crate::series::{Once, Point, SeriesJob, Tell};
use anyhow::Result;
use msharp_sde::problems::{Logistic, Quadratic, Quartic, TwoLayer};
use msharp_sde::theorems::{expected_norm, half_gradient_of_noise_trace};
use msharp_sde::{
    Algorithm, Coupled, Descent, Ensemble, Expansion, Law, Modified, Order, Problem, Sampling, at, mean_gradient,
    mean_hessian,
};

/// The coefficient of ½∇tr V in the mean step, exactly, against m.
pub const EXCESS: &str = "excess";
/// What of the excess lies across ½∇tr V, for the length of that.
pub const ACROSS: &str = "across";
/// The coefficient, measured on steps of the algorithm on a network.
pub const STEPS: &str = "steps";
/// How far the whole excess is from the theorem's, on the same steps: the largest of all components in standard errors.
pub const COMPONENTS: &str = "components";
/// The coefficient for RW-USAM, against m_eff.
pub const REWEIGHTED: &str = "reweighted";
/// What lies across for RW-USAM.
pub const REWEIGHTED_ACROSS: &str = "reweighted-across";
/// E‖∇f_γ‖ against |γ|.
pub const NORMS: &str = "norms";
/// tr Σ against ρ, by variant.
pub const DIFFUSION: &str = "diffusion";

/// The samples of the problems that are enumerated, and of the network that is not.
pub const SAMPLES: usize = 8;
pub const LARGE: usize = 64;

/// Small enough for terms of higher order not to count, of what is exact and of what is measured: rounding is divided
/// by it in the first, and noise in the second.
pub const RHO: f64 = 1e-5;
pub const RHO_OF_STEPS: f64 = 0.002;
/// A learning rate, on which nothing here depends.
pub const ETA: f64 = 0.1;
/// The batch of the reweighted ascent, and of the variants whose diffusion is compared.
pub const BATCH: usize = 4;
/// λ over the mean norm of a sample's gradient.
pub const LAMBDAS: [f64; 6] = [0., 0.5, 1., 2., 4., 8.];
/// At which diffusions are compared.
pub const RHOS: [f64; 6] = [0., 0.05, 0.1, 0.2, 0.3, 0.4];

pub const SAMPLINGS: [Sampling; 2] = [Sampling::WithReplacement, Sampling::WithoutReplacement];

pub fn named(sampling: Sampling) -> &'static str {
    match sampling {
        Sampling::WithReplacement => "with replacement",
        Sampling::WithoutReplacement => "without",
    }
}

/// A problem by name, and the point at which it is looked at.
pub fn problem(name: &str) -> (Box<dyn Problem>, Vec<f64>) {
    match name {
        "quadratic" => (Box::new(Quadratic::random(SAMPLES, 3, 1)), vec![0.5, -0.8, 1.1]),
        "quartic" => (Box::new(Quartic::random(SAMPLES, 2, 2)), vec![0.9, -0.4]),
        "logistic regression" => (Box::new(Logistic::random(SAMPLES, 2, 0.1, 3)), vec![0.3, 0.7]),
        _ => (Box::new(TwoLayer::random(SAMPLES, 2, 2, 4)), vec![0.2, -0.5, 0.7, 0.4, -0.6, 0.9]),
    }
}

pub const PROBLEMS: [&str; 4] = ["quadratic", "quartic", "logistic regression", "two layers"];

/// The network that is too large to enumerate: inputs, hidden units, and parameters.
pub const NETWORK: (usize, usize, usize) = (4, 8, 40);

pub fn network() -> (TwoLayer, Vec<f64>) {
    let network = TwoLayer::random(LARGE, NETWORK.0, NETWORK.1, 5);
    let start = (0..network.dim()).map(|k| 0.7 * (1.9 * k as f64 + 0.3).sin()).collect();
    (network, start)
}

pub fn jobs(preset: Preset) -> Vec<SeriesJob> {
    let (sizes, large, paths): (&[usize], &[usize], usize) = match preset {
        Preset::Smoke => (&[1, 2, 8], &[1, 4], 4_000),
        Preset::Laptop => (&[1, 2, 3, 4, 5, 6, 7, 8], &[1, 2, 4, 8, 16, 32, 64], 200_000),
        Preset::Paper => (&[1, 2, 3, 4, 5, 6, 7, 8], &[1, 2, 4, 8, 16, 32, 64], 3_200_000),
    };
    let mut jobs = Vec::new();
    let enumerated = format!("{SAMPLES} samples, by enumeration");
    let with_rho = format!("{enumerated}, ρ = {RHO:e}");
    for name in PROBLEMS {
        for sampling in SAMPLINGS {
            let series = format!("{name} · {}", named(sampling));
            let of = move |&m: &usize| excess(name, Algorithm { sampling, ..Algorithm::usam(RHO, m) }, m as f64);
            jobs.extend(both((EXCESS, ACROSS), &series, &with_rho, move |_| sizes.iter().map(of).collect()));
            let of = move |&k: &usize| {
                let (problem, x) = problem(name);
                Ok(Point::exact(k as f64, expected_norm(&*problem, &x, k, sampling)?))
            };
            jobs.push(SeriesJob::new(NORMS, series, &*enumerated, move |_| sizes.iter().map(of).collect()));
        }
        let full = move |_: Tell| Ok(vec![excess(name, Algorithm::n_usam(RHO, 2), 2.)?]);
        jobs.extend(both((EXCESS, ACROSS), &format!("{name} · n-USAM"), &with_rho, full));
    }
    for name in PROBLEMS {
        let setting = format!("{with_rho}, batches of {BATCH} with replacement");
        let compute = move |_: Tell| LAMBDAS.iter().map(|&size| reweighted(name, size)).collect();
        jobs.extend(both((REWEIGHTED, REWEIGHTED_ACROSS), name, &setting, compute));
    }
    for sampling in SAMPLINGS {
        let setting = format!(
            "two layers, {LARGE} samples, {} parameters, ρ = {RHO_OF_STEPS}, {paths} batches of m, drawn from seed m; \
             the same for n-USAM, whose steps are subtracted",
            NETWORK.2
        );
        let of = move |tell: Tell| large.iter().map(|&m| measured(m, sampling, paths, tell)).collect();
        jobs.extend(both((STEPS, COMPONENTS), named(sampling), &setting, of));
    }
    for kind in 0..variants(0.).len() {
        let setting = format!("quartic, {enumerated}, batches of {BATCH} with replacement");
        let of = move |&rho: &f64| diffusion(variants(rho)[kind]).map(|trace| Point::exact(rho, trace));
        jobs.push(SeriesJob::new(DIFFUSION, variants(0.1)[kind].name(), setting, move |_| {
            RHOS.iter().map(of).collect()
        }));
    }
    jobs
}

/// Two figures of the same numbers, the first and the second of each pair.
pub fn both(
    figures: (&'static str, &'static str),
    series: &str,
    setting: &str,
    of: impl Fn(Tell) -> Result<Vec<(Point, Point)>> + Clone + 'static,
) -> [SeriesJob; 2] {
    let pairs = Once::default();
    let (again, of_second) = (pairs.clone(), of.clone());
    let first = move |tell: Tell| Ok(pairs.get(|| of(tell))?.into_iter().map(|pair| pair.0).collect());
    let second = move |tell: Tell| Ok(again.get(|| of_second(tell))?.into_iter().map(|pair| pair.1).collect());
    let both = [SeriesJob::new(figures.0, series, setting, first), SeriesJob::new(figures.1, series, setting, second)];
    both.map(|job| job.from_once(format!("{} {} {series}", figures.0, figures.1)))
}

pub fn variants(rho: f64) -> Vec<Algorithm> {
    vec![
        Algorithm::sgd(BATCH),
        Algorithm::n_usam(rho, BATCH),
        Algorithm::usam(rho, BATCH),
        Algorithm::m_usam(rho, 2, BATCH),
        Algorithm::m_usam(rho, 1, BATCH),
        Algorithm::n_sam(rho, BATCH),
        Algorithm::sam(rho, BATCH),
        Algorithm::m_sam(rho, 2, BATCH),
        Algorithm::m_sam(rho, 1, BATCH),
    ]
}

/// Of e = (E∇f_γ(x + ρu) − ∇(f + (ρ/2)‖∇f‖²))/ρ: the c for which c·½∇tr V is nearest to it, and how far they are apart
/// even so, for the length of ½∇tr V.
pub fn excess(name: &str, algorithm: Algorithm, at: f64) -> Result<(Point, Point)> {
    let (problem, x) = problem(name);
    let (d, rho) = (x.len(), algorithm.rho);
    let exact = Modified::new(&*problem, algorithm, ETA, Order { eta: 1, rho: Expansion::Exact })?;
    let (mut mean, mut full, mut curved, mut half) = (vec![0.; d], vec![0.; d], vec![0.; d], vec![0.; d]);
    exact.mean_step(&x, &mut mean);
    mean_gradient(&*problem, &x, &mut full);
    mean_hessian(&*problem, &x, &full, &mut curved);
    half_gradient_of_noise_trace(&*problem, &x, &mut half);
    let excess: Vec<f64> = (0..d).map(|j| (-mean[j] - full[j] - rho * curved[j]) / rho).collect();
    let square: f64 = half.iter().map(|h| h * h).sum();
    let along = excess.iter().zip(&half).map(|(e, h)| e * h).sum::<f64>() / square;
    let across = excess.iter().zip(&half).map(|(e, h)| (e - along * h).powi(2)).sum::<f64>();
    Ok((Point::exact(at, along), Point::exact(at, (across / square).sqrt())))
}

/// RW-USAM's coefficient at a λ of `size` over the mean norm of a sample's gradient, against the mean m_eff = 1/Σp²
/// over all batches.
pub fn reweighted(name: &str, size: f64) -> Result<(Point, Point)> {
    let (problem, x) = problem(name);
    let norms: Vec<f64> = (0..problem.samples())
        .map(|i| {
            let mut gradient = vec![0.; x.len()];
            problem.add_gradient(i, &x, 1., &mut gradient);
            gradient.iter().map(|g| g * g).sum::<f64>().sqrt()
        })
        .collect();
    let lambda = size / (norms.iter().sum::<f64>() / norms.len() as f64);
    let algorithm = Algorithm::rw_usam(RHO, lambda, BATCH);
    let m_eff = |members: &[(usize, f64)]| {
        let weight = |&(i, share): &(usize, f64)| share * (lambda * norms[i]).exp();
        let sum: f64 = members.iter().map(weight).sum();
        // A sample that is there k times has k equal weights.
        let square = |member: &(usize, f64)| (weight(member) / sum).powi(2) / (member.1 * BATCH as f64);
        1. / members.iter().map(square).sum::<f64>()
    };
    let law = Law::new(&algorithm, problem.samples())?;
    let mean: f64 = law.iter().map(|(members, p)| p * m_eff(members)).sum();
    excess(name, algorithm, mean)
}

/// From single steps of the algorithm and of n-USAM on the same batches: the coefficient with its standard error, and
/// the largest deviation of a component of the excess from the theorem's, in its standard error; 0 where nothing is
/// left to chance and all agree.
pub fn measured(m: usize, sampling: Sampling, paths: usize, tell: Tell) -> Result<(Point, Point)> {
    let (network, start) = network();
    let (d, rho) = (NETWORK.2, RHO_OF_STEPS);
    let of = |algorithm: Algorithm| Descent::new(&network, Algorithm { sampling, ..algorithm }, 1.);
    let both = Coupled { first: of(Algorithm::usam(rho, m))?, second: of(Algorithm::n_usam(rho, m))? };
    let mut half = vec![0.; d];
    half_gradient_of_noise_trace(&network, &start, &mut half);
    let square: f64 = half.iter().map(|h| h * h).sum();
    let excess = |x: &[f64], out: &mut [f64]| {
        (0..d).for_each(|j| out[j] = (x[d + j] - x[j]) / rho);
        out[d] = (0..d).map(|j| out[j] * half[j]).sum::<f64>() / square;
    };
    let ensemble = Ensemble { paths, seed: m as u64, steps: 1, every: 1 };
    let twice = [start.as_slice(), &start].concat();
    let end = ensemble.run(&both, at(&twice), d + 1, excess, tell)?;
    let found = &end[end.len() - 1].outputs;
    let share = sampling.population_factor(LARGE, m) / m as f64;
    let deviation = (0..d).map(|j| {
        let (off, error) = ((found[j].mean - share * half[j]).abs(), found[j].standard_error());
        if off <= ROUNDING { 0. } else { off / error }
    });
    let worst = deviation.max_by(f64::total_cmp).unwrap_or(0.);
    let (along, error) = (found[d].mean, found[d].standard_error());
    // Rounding is no noise.
    let along = if error <= ROUNDING { Point::exact(m as f64, along) } else { Point::sampled(m as f64, along, error) };
    Ok((along, Point::exact(m as f64, worst)))
}

/// Of a difference of gradients, divided by ρ.
pub const ROUNDING: f64 = 1e-9;

/// tr Σ.
pub fn diffusion(algorithm: Algorithm) -> Result<f64> {
    let (problem, x) = problem("quartic");
    let d = x.len();
    let mut covariance = vec![0.; d * d];
    Modified::new(&*problem, algorithm, ETA, Order { eta: 1, rho: Expansion::Exact })?.covariance(&x, &mut covariance);
    Ok((0..d).map(|j| covariance[j * d + j]).sum())
}

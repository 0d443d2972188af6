//! `reproduce weak-error`: how far an equation's expectations are from its algorithm's, against η, against ρ, and
//! against the equations of the other algorithms.

use crate::experiments::Preset;
use crate::series::{Point, SeriesJob};
use anyhow::Result;
use msharp_sde::problems::{Logistic, Quadratic};
use msharp_sde::{
    Algorithm, EquationOperator, Expansion, Generator, Grid, Modified, Order, Sampling, StepMoments, StepOperator,
    TransitionOperator,
};

/// Exact moments on noisy quadratics, against η.
pub const MOMENTS: &str = "moments";
/// The same against ρ.
pub const RHO_MOMENTS: &str = "rho-moments";
/// Expectations on a grid for logistic regression, against η.
pub const ETA: &str = "eta";
/// The same against ρ.
pub const RHO: &str = "rho";
/// And against both at once, which are halved together.
pub const BOTH: &str = "both";
/// Algorithm × equation.
pub const MATRIX: &str = "matrix";
/// Monte Carlo on the same problem, against η.
pub const PATHS: &str = "paths";
/// And against ρ.
pub const RHO_PATHS: &str = "rho-paths";

/// Everything that the presets change.
pub struct Size {
    /// η and ρ for the quadratics, whose curvatures are large: there ρ must be smaller to be small.
    moments: [&'static [f64]; 2],
    pub eta: &'static [f64],
    pub rho: &'static [f64],
    /// Of the figure against ρ, whose smallest errors η must stay below, and of the matrix.
    small_eta: [f64; 2],
    paths: Paths,
}

/// What is simulated.
#[derive(Clone, Copy)]
pub struct Paths {
    pub eta: &'static [f64],
    pub rho: &'static [f64],
    /// How many paths: of each of algorithm and equation against η, and of the algorithm against ρ.
    pub counts: (usize, usize),
    /// How many of the algorithms, the last of [`all`] first: the normalised ones, which have no exact moments.
    pub algorithms: usize,
}

pub fn size(preset: Preset) -> Size {
    match preset {
        Preset::Smoke => Size {
            moments: [&[0.1, 0.05], &[0.1, 0.05]],
            eta: &[0.2, 0.1],
            rho: &[0.4, 0.2],
            small_eta: [0.01, 0.01],
            paths: Paths { eta: &[0.5], rho: &[0.4], counts: (2_000, 2_000), algorithms: 2 },
        },
        Preset::Laptop => Size {
            moments: [&[0.2, 0.1, 0.05, 0.025, 0.0125, 0.00625], &[0.05, 0.025, 0.0125, 0.00625]],
            eta: &[0.2, 0.1, 0.05, 0.025, 0.0125],
            rho: &[0.4, 0.2, 0.1, 0.05],
            small_eta: [0.0002, 0.001],
            paths: Paths { eta: &[0.5, 0.25, 0.125], rho: &[0.4, 0.2, 0.1], counts: (100_000, 400_000), algorithms: 9 },
        },
        Preset::Paper => {
            let laptop = size(Preset::Laptop);
            Size { paths: Paths { counts: (1_600_000, 6_400_000), ..laptop.paths }, ..laptop }
        }
    }
}

pub fn usam(rho: f64) -> Vec<Algorithm> {
    vec![Algorithm::sgd(2), Algorithm::n_usam(rho, 2), Algorithm::usam(rho, 2), Algorithm::m_usam(rho, 1, 2)]
}

/// Every algorithm of the theory, on batches of 2.
pub fn all(rho: f64) -> Vec<Algorithm> {
    let rest = [
        Algorithm::rw_usam(rho, LAMBDA, 2),
        Algorithm::n_sam(rho, 2),
        Algorithm::sam(rho, 2),
        Algorithm::m_sam(rho, 1, 2),
        Algorithm::rw_sam(rho, LAMBDA, 2),
    ];
    usam(rho).into_iter().chain(rest).collect()
}

/// What the quadratics are drawn from, where paths start, and for how long they go.
pub const QUADRATICS: (u64, [f64; 2], f64) = (7, [1., -1.5], 2.);

pub fn quadratics() -> Quadratic {
    Quadratic::random(4, 2, QUADRATICS.0)
}

/// Logistic regression away from its minimum, where no gradient vanishes, so that SAM's direction is smooth along all
/// paths; and a box around them.
pub fn regression() -> Result<(Logistic, Grid)> {
    let problem = Logistic { features: FEATURES.to_vec(), penalty: PENALTY, dim: 2 };
    Ok((problem, Grid::new(&BOX, DEGREE)?))
}

/// The orders in η and in ρ of an equation.
pub const ORDERS: [(usize, usize); 4] = [(1, 1), (1, 2), (2, 1), (2, 2)];
/// Of the errors against both.
pub const RHO_OVER_ETA: f64 = 2.;

pub const FEATURES: [f64; 8] = [0.9, 0.5, 0.3, -0.6, 1.2, 0.1, 0.6, 0.8];
pub const PENALTY: f64 = 0.5;
pub const BOX: [(f64, f64); 2] = [(-3.5, -0.8), (1., 3.)];
pub const DEGREE: usize = 12;
pub const START: [f64; 2] = [-3., 2.5];
pub const TIME: f64 = 1.;
/// Of the reweighted rules.
pub const LAMBDA: f64 = 2.;
/// Where it is not what the errors are against.
pub const RHO_OF_QUADRATICS: f64 = 0.1;
pub const RHO_OF_REGRESSION: f64 = 0.2;

pub const TESTS: [fn(&[f64]) -> f64; 4] = [|x| x[0], |x| x[1], |x| x[0] * x[1], |x| x[0].sin()];

pub fn steps(time: f64, eta: f64) -> usize {
    (time / eta).round() as usize
}

pub fn jobs(preset: Preset) -> Vec<SeriesJob> {
    let size = size(preset);
    let mut jobs = by_moments(&size);
    let name = |kind: usize| all(RHO_OF_REGRESSION)[kind].name();
    let kinds = all(0.).len();
    let setting = format!(
        "logistic regression, 4 samples {FEATURES:?} in 2 dimensions, penalty {PENALTY}, batches of 2 with \
         replacement, λ = {LAMBDA}, from {START:?} to time {TIME}"
    );
    let on = format!("{setting}, polynomials of degree {DEGREE} on {BOX:?}; largest error of x₁, x₂, x₁x₂ and sin x₁");
    for kind in 0..kinds {
        for order in [1, 2] {
            let order = Order { eta: order, rho: Expansion::Exact };
            let of = move |&eta: &f64| Ok(Point::exact(eta, on_grid(all(RHO_OF_REGRESSION)[kind], eta, order)?));
            let setting = format!("{on}; ρ = {RHO_OF_REGRESSION}, η = {:?}", size.eta);
            let series = format!("{} · {}", name(kind), order.eta);
            jobs.push(SeriesJob::new(ETA, series, setting, move |_| size.eta.iter().map(of).collect()));
        }
    }
    for kind in 1..kinds {
        for k in 0..=2 {
            let order = Order { eta: 2, rho: Expansion::Order(k) };
            let of = move |&rho: &f64| Ok(Point::exact(rho, on_grid(all(rho)[kind], size.small_eta[0], order)?));
            let setting = format!("{on}; ρ = {:?}, η = {}, order 2 in η", size.rho, size.small_eta[0]);
            let series = format!("{} · {k}", name(kind));
            jobs.push(SeriesJob::new(RHO, series, setting, move |_| size.rho.iter().map(of).collect()));
        }
    }
    for kind in 1..kinds {
        for (a, b) in ORDERS {
            let order = Order { eta: a, rho: Expansion::Order(b) };
            let of = move |&eta: &f64| Ok(Point::exact(eta, on_grid(all(RHO_OVER_ETA * eta)[kind], eta, order)?));
            let setting = format!("{on}; η = {:?}, ρ = {RHO_OVER_ETA} η", size.eta);
            let series = format!("{} · {a}, {b}", name(kind));
            jobs.push(SeriesJob::new(BOTH, series, setting, move |_| size.eta.iter().map(of).collect()));
        }
    }
    for kind in 0..kinds {
        let eta = size.small_eta[1];
        let setting = format!("{on}; ρ = {RHO_OF_REGRESSION}, η = {eta}, order 2 in η and all of ρ");
        jobs.push(SeriesJob::new(MATRIX, name(kind), setting, move |_| against_all(kind, eta)));
    }
    jobs.extend(super::paths::jobs(size.paths, &setting));
    jobs
}

/// The series of the affine chains.
pub fn by_moments(size: &Size) -> Vec<SeriesJob> {
    let (seed, start, time) = QUADRATICS;
    let setting = format!(
        "4 noisy quadratics in 2 dimensions (drawn from seed {seed}), batches of 2, from {start:?} to time {time}; \
         largest error of a first or second moment"
    );
    let both = |rho| usam(rho).into_iter().flat_map(|a| [a, a.without_replacement()]).collect::<Vec<_>>();
    let ([etas, rhos], eta) = (size.moments, size.small_eta[0]);
    let mut jobs = Vec::new();
    for algorithm in both(RHO_OF_QUADRATICS) {
        for order in 1..=4 {
            let of = move |&eta: &f64| Ok(Point::exact(eta, moments(algorithm, order, Expansion::Exact, eta)?));
            let series = format!("{} · {order}", label(&algorithm));
            let setting = format!("{setting}; ρ = {RHO_OF_QUADRATICS}, η = {etas:?}");
            jobs.push(SeriesJob::new(MOMENTS, series, setting, move |_| etas.iter().map(of).collect()));
        }
    }
    for kind in 2..both(0.).len() {
        for k in 0..=1 {
            let of = move |&rho: &f64| Ok(Point::exact(rho, moments(both(rho)[kind], 2, Expansion::Order(k), eta)?));
            let series = format!("{} · {k}", label(&both(0.)[kind]));
            let setting = format!("{setting}; ρ = {rhos:?}, η = {eta}, order 2 in η");
            jobs.push(SeriesJob::new(RHO_MOMENTS, series, setting, move |_| rhos.iter().map(of).collect()));
        }
    }
    jobs
}

pub fn label(algorithm: &Algorithm) -> String {
    let how = if algorithm.sampling == Sampling::WithReplacement { "" } else { ", without replacement" };
    format!("{}{how}", algorithm.name())
}

/// The largest error of a moment. Orders 1 and 2 are the equations; beyond them, the logarithm of a step.
pub fn moments(algorithm: Algorithm, order: usize, rho: Expansion, eta: f64) -> Result<f64> {
    let (problem, (_, start, time)) = (quadratics(), QUADRATICS);
    let step = StepMoments::new(&problem, algorithm, eta)?;
    let generator = match order {
        1 | 2 => Generator::new(&Modified::new(&problem, algorithm, eta, Order { eta: order, rho })?)?,
        _ => step.generator(order)?,
    };
    Ok(step.after(steps(time, eta), &start).distance(&generator.at(time, &start)))
}

pub fn flow(algorithm: Algorithm, eta: f64, order: Order) -> Result<TransitionOperator> {
    let (problem, grid) = regression()?;
    Ok(EquationOperator::new(&Modified::new(&problem, algorithm, eta, order)?, &grid)?.over(TIME))
}

/// The largest error of the test functions; NaN if one is.
pub fn distance(chain: &StepOperator, flow: &TransitionOperator, eta: f64) -> f64 {
    let of = |g: fn(&[f64]) -> f64| (chain.after(steps(TIME, eta), &START, g) - flow.expect(&START, g)).abs();
    TESTS.into_iter().map(of).max_by(f64::total_cmp).unwrap_or(0.)
}

pub fn on_grid(algorithm: Algorithm, eta: f64, order: Order) -> Result<f64> {
    let (problem, grid) = regression()?;
    Ok(distance(&StepOperator::new(&problem, algorithm, eta, &grid)?, &flow(algorithm, eta, order)?, eta))
}

/// The errors of the equations of all algorithms, by their places in [`all`], for one of them.
pub fn against_all(kind: usize, eta: f64) -> Result<Vec<Point>> {
    let (problem, grid) = regression()?;
    let all = all(RHO_OF_REGRESSION);
    let chain = StepOperator::new(&problem, all[kind], eta, &grid)?;
    let of = |(k, other)| Ok(Point::exact(k as f64, distance(&chain, &flow(other, eta, Order::BEST)?, eta)));
    all.into_iter().enumerate().map(of).collect()
}

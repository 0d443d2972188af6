//! `reproduce weak-error`: how far an equation's expectations are from its algorithm's, against η, against ρ, and
//! against the equations of the other algorithms.

mod page;

pub use page::page;

use super::row::Point;
use super::{Job, Tell};
use crate::experiments::Preset;
use anyhow::Result;
use msharp_sde::problems::{Logistic, Quadratic};
use msharp_sde::{
    Algorithm, Coupled, Descent, Ensemble, EquationOperator, EulerMaruyama, Flow, Generator, Grid, InRho, Modified,
    Order, StepMoments, StepOperator, WeakOrder2, at,
};

/// Exact moments on noisy quadratics, against η.
const MOMENTS: &str = "moments";
/// Expectations on a grid for logistic regression, against η.
const ETA: &str = "eta";
/// The same against ρ.
const RHO: &str = "rho";
/// Algorithm × equation.
const MATRIX: &str = "matrix";
/// Monte Carlo on the same problem, against η.
const PATHS: &str = "paths";
/// And against ρ.
const RHO_PATHS: &str = "rho-paths";

/// Everything that the presets change.
struct Size {
    moments: &'static [f64],
    eta: &'static [f64],
    rho: &'static [f64],
    /// Of the figure against ρ, whose smallest errors η must stay below, and of the matrix.
    small_eta: [f64; 2],
    /// Rates, paths, and how many algorithms are simulated.
    paths: (&'static [f64], usize, usize),
    /// Paths of coupled equations.
    coupled: usize,
}

fn size(preset: Preset) -> Size {
    match preset {
        Preset::Smoke => Size {
            moments: &[0.1, 0.05],
            eta: &[0.2, 0.1],
            rho: &[0.4, 0.2],
            small_eta: [0.01, 0.01],
            paths: (&[0.5], 2_000, 2),
            coupled: 100,
        },
        Preset::Laptop => Size {
            moments: &[0.2, 0.1, 0.05, 0.025, 0.0125, 0.00625],
            eta: &[0.2, 0.1, 0.05, 0.025, 0.0125],
            rho: &[0.4, 0.2, 0.1, 0.05],
            small_eta: [0.0002, 0.001],
            paths: (&[0.5, 0.25, 0.125], 100_000, 9),
            coupled: 20_000,
        },
        Preset::Paper => Size { paths: (&[0.5, 0.25, 0.125], 1_600_000, 9), ..size(Preset::Laptop) },
    }
}

fn usam(rho: f64) -> Vec<Algorithm> {
    vec![Algorithm::sgd(2), Algorithm::n_usam(rho, 2), Algorithm::usam(rho, 2), Algorithm::m_usam(rho, 1, 2)]
}

/// Every algorithm of the theory, on batches of 2.
fn all(rho: f64) -> Vec<Algorithm> {
    let rest = [
        Algorithm::rw_usam(rho, 2., 2),
        Algorithm::n_sam(rho, 2),
        Algorithm::sam(rho, 2),
        Algorithm::m_sam(rho, 1, 2),
        Algorithm::rw_sam(rho, 2., 2),
    ];
    usam(rho).into_iter().chain(rest).collect()
}

/// Noisy quadratics, the start, and the time.
fn quadratics() -> (Quadratic, [f64; 2], f64) {
    (Quadratic::random(4, 2, 7), [1., -1.5], 2.)
}

/// Logistic regression away from its minimum, where no gradient vanishes, so that SAM's direction is smooth along all
/// paths; a box around them; the start and the time.
fn regression() -> Result<(Logistic, Grid, [f64; 2], f64)> {
    let problem = Logistic { features: vec![0.9, 0.5, 0.3, -0.6, 1.2, 0.1, 0.6, 0.8], penalty: 0.5, dim: 2 };
    Ok((problem, Grid::new(&[(-3.5, -0.8), (1., 3.)], 12)?, [-3., 2.5], 1.))
}

const TESTS: [fn(&[f64]) -> f64; 4] = [|x| x[0], |x| x[1], |x| x[0] * x[1], |x| x[0].sin()];

/// What paths are compared in: one function, chosen beforehand, for the largest of several errors is no unbiased
/// number.
fn square(x: &[f64]) -> f64 {
    x[0] * x[0] + x[1] * x[1]
}

fn steps(time: f64, eta: f64) -> usize {
    (time / eta).round() as usize
}

pub fn jobs(preset: Preset) -> Vec<Job> {
    let size = size(preset);
    let mut jobs = Vec::new();
    let setting =
        "4 noisy quadratics in 2 dimensions, batches of 2, ρ = 0.1, time 2; largest error of a first or second moment";
    for algorithm in usam(0.1).into_iter().flat_map(|a| [a, a.without_replacement()]) {
        for order in 1..=4 {
            let compute = move |_: Tell| size.moments.iter().map(|&eta| moments(algorithm, order, eta)).collect();
            jobs.push(Job::new(MOMENTS, format!("{} · {order}", label(&algorithm)), setting, compute));
        }
    }
    let setting =
        "logistic regression, 4 samples in 2 dimensions, batches of 2, λ = 2, time 1; largest error of four functions";
    for algorithm in all(0.2) {
        for order in [1, 2] {
            let order = Order { eta: order, rho: InRho::Exact };
            let compute = move |_: Tell| {
                size.eta.iter().map(|&eta| Ok(Point::exact(eta, on_grid(algorithm, eta, order)?))).collect()
            };
            jobs.push(Job::new(
                ETA,
                format!("{} · {}", algorithm.name(), order.eta),
                format!("{setting}; ρ = 0.2"),
                compute,
            ));
        }
    }
    for kind in 1..all(0.).len() {
        for k in 0..=2 {
            let order = Order { eta: 2, rho: InRho::Order(k) };
            let of = move |&rho: &f64| Ok(Point::exact(rho, on_grid(all(rho)[kind], size.small_eta[0], order)?));
            let name = all(0.2)[kind].name();
            let setting = format!("{setting}; η = {}, order 2 in η", size.small_eta[0]);
            jobs.push(Job::new(RHO, format!("{name} · {k}"), setting, move |_| size.rho.iter().map(of).collect()));
        }
    }
    for kind in 1..all(0.).len() {
        for k in 0..=2 {
            let setting = format!(
                "logistic regression as above, η = {COUPLED_ETA}, order 2 in η, {} paths; of ‖x‖², the equation with these terms in ρ \
                 against the one with all of them, both driven by the same increments",
                size.coupled
            );
            let of =
                move |tell: Tell| size.rho.iter().map(|&rho| coupled(all(rho)[kind], k, size.coupled, tell)).collect();
            jobs.push(Job::new(RHO_PATHS, format!("{} · {k}", all(0.2)[kind].name()), setting, of));
        }
    }
    for algorithm in all(0.2) {
        let setting = format!("{setting}; ρ = 0.2, η = {}, order 2 in η and all of ρ", size.small_eta[1]);
        jobs.push(Job::new(MATRIX, algorithm.name(), setting, move |_| against_all(algorithm, size.small_eta[1])));
    }
    let (rates, paths, count) = size.paths;
    let setting = format!("logistic regression as above, ρ = 0.2, {paths} paths each; error of ‖x‖²");
    // The normalised rules first: they have no exact moments.
    for algorithm in all(0.2).into_iter().rev().take(count) {
        for order in [1, 2] {
            let of = move |tell: Tell| rates.iter().map(|&eta| by_paths(algorithm, eta, order, paths, tell)).collect();
            jobs.push(Job::new(PATHS, format!("{} · {order}", algorithm.name()), setting.clone(), of));
        }
    }
    let agreement = move |tell: Tell| {
        all(0.2).into_iter().rev().take(count).enumerate().map(|(k, a)| agreement(k, a, rates, paths, tell)).collect()
    };
    jobs.push(Job::new(PATHS, page::AGREEMENT, setting, agreement));
    jobs
}

fn label(algorithm: &Algorithm) -> String {
    let how = if algorithm.sampling == msharp_sde::Sampling::WithReplacement { "" } else { ", without replacement" };
    format!("{}{how}", algorithm.name())
}

/// Orders 1 and 2 are the equations; beyond them, the logarithm of a step.
fn moments(algorithm: Algorithm, order: usize, eta: f64) -> Result<Point> {
    let (problem, start, time) = quadratics();
    let step = StepMoments::new(&problem, algorithm, eta)?;
    let generator = match order {
        1 | 2 => Generator::new(&Modified::new(&problem, algorithm, eta, Order { eta: order, rho: InRho::Exact })?)?,
        _ => step.generator(order),
    };
    let error = step.after(steps(time, eta), &start).distance(&generator.at(time, &start));
    Ok(Point::exact(eta, error))
}

fn flow(algorithm: Algorithm, eta: f64, order: Order) -> Result<Flow> {
    let (problem, grid, _, time) = regression()?;
    Ok(EquationOperator::new(&Modified::new(&problem, algorithm, eta, order)?, &grid).over(time))
}

fn distance(chain: &StepOperator, flow: &Flow, eta: f64) -> Result<f64> {
    let (_, _, start, time) = regression()?;
    let of = |g: fn(&[f64]) -> f64| (chain.after(steps(time, eta), &start, g) - flow.expect(&start, g)).abs();
    Ok(TESTS.into_iter().map(of).fold(0., f64::max))
}

fn on_grid(algorithm: Algorithm, eta: f64, order: Order) -> Result<f64> {
    let (problem, grid, ..) = regression()?;
    distance(&StepOperator::new(&problem, algorithm, eta, &grid)?, &flow(algorithm, eta, order)?, eta)
}

/// The errors of the equations of all algorithms, by their places in [`all`], for one of them.
fn against_all(algorithm: Algorithm, eta: f64) -> Result<Vec<Point>> {
    let (problem, grid, ..) = regression()?;
    let chain = StepOperator::new(&problem, algorithm, eta, &grid)?;
    let of = |(k, other)| Ok(Point::exact(k as f64, distance(&chain, &flow(other, eta, Order::BEST)?, eta)?));
    all(0.2).into_iter().enumerate().map(of).collect()
}

/// E‖x‖² of the algorithm by paths, with its standard error.
fn chain_by_paths(algorithm: Algorithm, eta: f64, paths: usize, seed: u64, tell: Tell) -> Result<(f64, f64)> {
    let (problem, _, start, time) = regression()?;
    let ensemble = Ensemble { paths, seed, steps: steps(time, eta), every: usize::MAX };
    let end =
        ensemble.run(&Descent::new(&problem, algorithm, eta)?, at(&start), 1, |x, out| out[0] = square(x), tell)?;
    let last = end.last().map(|snapshot| snapshot.outputs[0]);
    Ok(last.map_or((f64::NAN, f64::NAN), |last| (last.mean, last.standard_error())))
}

/// The same of an equation, by the scheme of weak order 2 in steps of η/4: its own error is of order (η/4)².
fn equation_by_paths(
    algorithm: Algorithm,
    eta: f64,
    order: usize,
    paths: usize,
    seed: u64,
    tell: Tell,
) -> Result<(f64, f64)> {
    let (problem, _, start, time) = regression()?;
    let sde = Modified::new(&problem, algorithm, eta, Order { eta: order, rho: InRho::Exact })?;
    let ensemble = Ensemble { paths, seed, steps: 4 * steps(time, eta), every: usize::MAX };
    let end = ensemble.run(&WeakOrder2 { sde, dt: eta / 4. }, at(&start), 1, |x, out| out[0] = square(x), tell)?;
    let last = end.last().map(|snapshot| snapshot.outputs[0]);
    Ok(last.map_or((f64::NAN, f64::NAN), |last| (last.mean, last.standard_error())))
}

fn by_paths(algorithm: Algorithm, eta: f64, order: usize, paths: usize, tell: Tell) -> Result<Point> {
    let (chain, chain_error) = chain_by_paths(algorithm, eta, paths, 1, tell)?;
    let (equation, equation_error) = equation_by_paths(algorithm, eta, order, paths, 2, tell)?;
    Ok(Point::sampled(eta, (chain - equation).abs(), chain_error.hypot(equation_error)))
}

const COUPLED_ETA: f64 = 0.1;

/// What is lost with the terms in ρ beyond order k: the difference of two equations along the same Brownian paths, by
/// Euler–Maruyama in steps of η/2. Coupled, they differ by little more than what is sought, so that few paths tell it.
fn coupled(algorithm: Algorithm, k: usize, paths: usize, tell: Tell) -> Result<Point> {
    let (problem, _, start, time) = regression()?;
    let dt = COUPLED_ETA / 2.;
    let of = |rho| Modified::new(&problem, algorithm, COUPLED_ETA, Order { eta: 2, rho });
    let both = Coupled {
        first: EulerMaruyama { sde: of(InRho::Order(k))?, dt },
        second: EulerMaruyama { sde: of(InRho::Exact)?, dt },
    };
    let ensemble = Ensemble { paths, seed: 3, steps: steps(time, dt), every: usize::MAX };
    let twice = [start, start].concat();
    let end = ensemble.run(&both, at(&twice), 1, |x, out| out[0] = square(&x[..2]) - square(&x[2..]), tell)?;
    let found = end[end.len() - 1].outputs[0];
    Ok(Point::sampled(algorithm.rho, found.mean.abs(), found.standard_error()))
}

/// How far the paths of an algorithm are from its expectation on the grid, at the smallest rate: two ways to one
/// number.
fn agreement(k: usize, algorithm: Algorithm, rates: &[f64], paths: usize, tell: Tell) -> Result<Point> {
    let (problem, grid, start, time) = regression()?;
    let eta = rates[rates.len() - 1];
    let exact = StepOperator::new(&problem, algorithm, eta, &grid)?.after(steps(time, eta), &start, square);
    let (mean, error) = chain_by_paths(algorithm, eta, paths, 1, tell)?;
    Ok(Point::sampled(k as f64, mean - exact, error))
}

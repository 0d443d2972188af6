//! Weak errors by Monte Carlo: in η both the algorithm and its equation, in ρ the algorithm.

use super::runs::{PATHS, Paths, RHO_OF_REGRESSION, RHO_PATHS, START, TIME, all, flow, regression, steps};
use crate::series::{Once, Point, SeriesJob, Tell};
use anyhow::Result;
use msharp_sde::{
    Algorithm, Chain, Coupled, Descent, Ensemble, Expansion, Modified, MonteCarlo, Order, StepOperator, WeakOrder2, at,
};

/// What paths are compared in: one function, chosen beforehand, for the largest of several errors is no unbiased
/// number.
fn square(x: &[f64]) -> f64 {
    x[0] * x[0] + x[1] * x[1]
}

/// So many steps of the equation for one of the algorithm: its own error, of order 2, is a sixteenth.
const FINER: usize = 4;
/// Of the errors against ρ, which are differences from SGD: η's own error is in both, and what it has of ρ is of order
/// η²ρ.
const SMALL_ETA: f64 = 0.01;

pub fn jobs(size: Paths, setting: &str) -> Vec<SeriesJob> {
    let Paths { eta: etas, rho: rhos, counts: (paths, of_rho), algorithms } = size;
    let kinds: Vec<usize> = (0..all(0.).len()).rev().take(algorithms).collect();
    let name = |kind: usize| all(RHO_OF_REGRESSION)[kind].name();
    let mut jobs = Vec::new();
    let of_eta = format!(
        "{setting}; error of ‖x‖², ρ = {RHO_OF_REGRESSION}, {paths} paths each, with seeds of their own for each \
         algorithm, order and η"
    );
    for &kind in &kinds {
        for order in [1, 2] {
            let of = move |tell: Tell| {
                let one = |(k, &eta): (usize, &f64)| {
                    in_eta(all(RHO_OF_REGRESSION)[kind], eta, order, (paths, seed(kind, 2 * k + order)), tell)
                };
                etas.iter().enumerate().map(one).collect()
            };
            let setting = format!("{of_eta}; the equation by the scheme of weak order 2 in steps of η/{FINER}");
            jobs.push(SeriesJob::new(PATHS, format!("{} · {order}", name(kind)), setting, of));
        }
    }
    let agreement = {
        let kinds = kinds.clone();
        move |tell: Tell| kinds.iter().map(|&kind| agreement(kind, etas[etas.len() - 1], paths, tell)).collect()
    };
    jobs.push(SeriesJob::new(PATHS, super::page::AGREEMENT, of_eta, agreement));
    for &kind in kinds.iter().filter(|&&kind| kind > 0) {
        let measured = Once::default();
        for k in 0..=2 {
            let measured = measured.clone();
            let of = move |tell: Tell| {
                let one = |(place, &rho): (usize, &f64)| {
                    changed(all(rho)[kind], (of_rho, seed(kind, FIRST_IN_RHO + place)), tell)
                };
                let all_of = || rhos.iter().enumerate().map(one).collect::<Result<Vec<MonteCarlo>>>();
                let error = |(&rho, measured): (&f64, &MonteCarlo)| in_rho(all(rho)[kind], k, *measured);
                rhos.iter().zip(&measured.get(all_of)?).map(error).collect()
            };
            let setting = format!(
                "{setting}, ρ = {rhos:?}, η = {SMALL_ETA}; of E‖x‖² less SGD's: {of_rho} paths of the algorithm and of \
                 SGD on the same batches, the same for all orders, against the two equations on the grid, order 2 in η"
            );
            let job = SeriesJob::new(RHO_PATHS, format!("{} · {k}", name(kind)), setting, of);
            jobs.push(job.from_once(format!("{RHO_PATHS} {}", name(kind))));
        }
    }
    jobs
}

/// The place of the errors in ρ, after those in η.
const FIRST_IN_RHO: usize = 20;

/// Of the paths of an algorithm, and of its place among the errors: another for each.
fn seed(kind: usize, place: usize) -> u64 {
    (100 * kind + 2 * place) as u64
}

/// E of `g` under a chain after so many steps.
fn mean(
    chain: &impl Chain,
    g: impl Fn(&[f64]) -> f64 + Sync,
    (paths, seed): (usize, u64),
    count: usize,
    tell: Tell,
) -> Result<MonteCarlo> {
    let ensemble = Ensemble { paths, seed, steps: count, every: usize::MAX };
    let start = START.repeat(chain.dim() / START.len()); // two chains side by side start at one point
    let moments = ensemble.run(chain, at(&start), 1, |x, out| out[0] = g(x), tell)?;
    Ok(moments[moments.len() - 1].outputs[0])
}

/// The error in η of an equation, both by paths: with `seed` those of the algorithm, with the next those of the
/// equation.
fn in_eta(algorithm: Algorithm, eta: f64, order: usize, (paths, seed): (usize, u64), tell: Tell) -> Result<Point> {
    let (problem, _) = regression()?;
    let chain = Descent::new(&problem, algorithm, eta)?;
    let sde = Modified::new(&problem, algorithm, eta, Order { eta: order, rho: Expansion::Exact })?;
    let equation = WeakOrder2::new(sde, eta / FINER as f64)?;
    let chain = mean(&chain, square, (paths, seed), steps(TIME, eta), tell)?;
    let equation = mean(&equation, square, (paths, seed + 1), FINER * steps(TIME, eta), tell)?;
    let error = chain.standard_error().hypot(equation.standard_error());
    Ok(Point::sampled(eta, (chain.mean - equation.mean).abs(), error))
}

/// What an algorithm changes in E‖x‖² beside SGD, on the same batches: there the two differ little, so that few paths
/// tell it.
fn changed(algorithm: Algorithm, paths: (usize, u64), tell: Tell) -> Result<MonteCarlo> {
    let (problem, _) = regression()?;
    let of = |algorithm| Descent::new(&problem, algorithm, SMALL_ETA);
    let both = Coupled { first: of(algorithm)?, second: of(Algorithm::sgd(algorithm.batch))? };
    let difference = |x: &[f64]| square(&x[..2]) - square(&x[2..]);
    mean(&both, difference, paths, steps(TIME, SMALL_ETA), tell)
}

/// The error in ρ of an equation that has the terms up to ρᵏ: what it changes beside SGD's, less what was measured.
fn in_rho(algorithm: Algorithm, k: usize, measured: MonteCarlo) -> Result<Point> {
    let order = Order { eta: 2, rho: Expansion::Order(k) };
    let of = |algorithm| anyhow::Ok(flow(algorithm, SMALL_ETA, order)?.expect(&START, square));
    let expected = of(algorithm)? - of(Algorithm::sgd(algorithm.batch))?;
    Ok(Point::sampled(algorithm.rho, (measured.mean - expected).abs(), measured.standard_error()))
}

/// How far the paths of an algorithm are from its expectation on the grid, in its place: two ways to one number.
fn agreement(kind: usize, eta: f64, paths: usize, tell: Tell) -> Result<Point> {
    let (problem, grid) = regression()?;
    let algorithm = all(RHO_OF_REGRESSION)[kind];
    let exact = StepOperator::new(&problem, algorithm, eta, &grid)?.after(steps(TIME, eta), &START, square);
    let chain = Descent::new(&problem, algorithm, eta)?;
    let found = mean(&chain, square, (paths, seed(kind, 49)), steps(TIME, eta), tell)?;
    Ok(Point::sampled(kind as f64, found.mean - exact, found.standard_error()))
}

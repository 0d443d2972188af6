//! `reproduce exit-time`: how long the algorithms and their equations stay in a noisy well, against m.

use crate::experiments::Preset;
use crate::series::{Point, SeriesJob, Tell};
use anyhow::Result;
use msharp_sde::problems::DoubleWell;
use msharp_sde::{
    Algorithm, Descent, Ensemble, EulerMaruyama, Exits, Expansion, Modified, Normalisation, Order, at, mean_exit_time,
};

/// Mean times, by rule and way.
pub const TIMES: &str = "times";
/// A path that is in the well after so many steps is given up.
pub const LIMIT: usize = 400_000;

/// The batch, in which m divides.
pub const BATCH: usize = 8;
pub const ETA: f64 = 0.1;
/// Of unnormalised and of normalised ascent.
pub const RHO: (f64, f64) = (0.05, 0.05);
/// So many steps of the equation for one of the algorithm.
pub const FINER: usize = 4;
/// Beyond the top of the barrier, so that whoever is there does not come back and a coarse look misses little.
pub const OUT: f64 = 0.5;
pub const START: f64 = -1.;
/// Where the quadrature reflects, which paths do not reach; and on how many cells.
pub const WALL: f64 = -1.8;
pub const CELLS: usize = 20_000;
/// The height of the barrier, and the noise.
pub const WELL: (f64, f64) = (0.25, 2.);
/// Of the normalisation, so that it is smooth, as the equation needs it.
pub const FLOOR: f64 = 0.1;
/// Of the reweighted rules.
pub const LAMBDA: f64 = 1.;

pub fn well() -> DoubleWell {
    DoubleWell::new(WELL.0, WELL.1)
}

/// The ways to a mean exit time.
pub const WAYS: [&str; 3] = ["algorithm", "equation", "quadrature"];

/// A rule as a family in m; the places on the axis of m are for those without one.
pub fn families() -> Vec<(&'static str, Vec<Algorithm>)> {
    let smooth = |algorithm: Algorithm| Algorithm { normalisation: Normalisation::Unit { floor: FLOOR }, ..algorithm };
    let sizes = [1, 2, 4, 8];
    let (raw, unit) = RHO;
    vec![
        ("SGD", vec![Algorithm::sgd(BATCH)]),
        ("n-USAM", vec![Algorithm::n_usam(raw, BATCH)]),
        ("m-USAM", sizes.map(|m| Algorithm::m_usam(raw, m, BATCH)).to_vec()),
        ("RW-USAM", vec![Algorithm::rw_usam(raw, LAMBDA, BATCH)]),
        ("n-SAM", vec![smooth(Algorithm::n_sam(unit, BATCH))]),
        ("m-SAM", sizes.map(|m| smooth(Algorithm::m_sam(unit, m, BATCH))).to_vec()),
        ("RW-SAM", vec![smooth(Algorithm::rw_sam(unit, LAMBDA, BATCH))]),
    ]
}

pub fn jobs(preset: Preset) -> Vec<SeriesJob> {
    let paths = match preset {
        Preset::Smoke => 8,
        Preset::Laptop => 2_000,
        Preset::Paper => 40_000,
    };
    let (barrier, noise) = WELL;
    let setting = format!(
        "double well with barrier {barrier} and noise {noise}, from {START} until {OUT}, batches of {BATCH} with \
         replacement, η = {ETA}, ρ = {} for USAM and {} for SAM with floor {FLOOR}, λ = {LAMBDA}",
        RHO.0, RHO.1
    );
    let order = "order 2 in η and all of ρ";
    let of = |way: &str| match way {
        "algorithm" => format!("{setting}; {paths} paths each, with seeds of their own, of at most {LIMIT} steps"),
        "equation" => {
            format!(
                "{setting}; {order}, {paths} paths each, with seeds of their own, Euler–Maruyama in steps of η/{FINER}"
            )
        }
        _ => format!("{setting}; {order}, reflected at {WALL}, on {CELLS} cells"),
    };
    let mut jobs = Vec::new();
    for (kind, (family, members)) in families().into_iter().enumerate() {
        for (place, way) in WAYS.into_iter().enumerate() {
            let members = members.clone();
            let compute = move |tell: Tell| {
                // Seeds of their own for each mean.
                let seed = |k: usize| (100 * kind + 10 * place + k) as u64;
                let one = |(k, algorithm): (usize, &Algorithm)| time(*algorithm, way, (paths, seed(k)), tell);
                members.iter().enumerate().map(one).collect()
            };
            jobs.push(SeriesJob::new(TIMES, format!("{family} · {way}"), of(way), compute));
        }
    }
    jobs
}

/// The mean exit time, in units of the equation: steps times η.
pub fn time(algorithm: Algorithm, way: &str, (paths, seed): (usize, u64), tell: Tell) -> Result<Point> {
    let well = well();
    let equation = Modified::new(&well, algorithm, ETA, Order { eta: 2, rho: Expansion::Exact })?;
    let ensemble = |steps| Ensemble { paths, seed, steps, every: steps };
    let (m, out) = (algorithm.micro as f64, |x: &[f64]| x[0] >= OUT);
    let of = |exits: Exits, dt: f64| {
        anyhow::ensure!(
            exits.censored() == 0,
            "{} of {paths} paths never left the well; expected a lower barrier",
            exits.censored()
        );
        let mean = exits.mean();
        Ok(Point::sampled(m, mean.mean * dt, mean.standard_error() * dt))
    };
    match way {
        "algorithm" => {
            let chain = Descent::new(&well, algorithm, ETA)?;
            of(ensemble(LIMIT).exits(&chain, at(&[START]), out, tell)?, ETA)
        }
        "equation" => {
            let dt = ETA / FINER as f64;
            let chain = EulerMaruyama::new(equation, dt)?;
            of(ensemble(FINER * LIMIT).exits(&chain, at(&[START]), out, tell)?, dt)
        }
        _ => Ok(Point::exact(m, mean_exit_time(&equation, START, (WALL, OUT), CELLS)?)),
    }
}

//! First exit times of paths from a region.

use crate::chain::Chain;
use crate::ensemble::{Ensemble, MonteCarlo, Report, Stopped};
use crate::lanes::{LANES, gather, scatter};
use crate::stream::{Stream, Streams, stream};
use crate::sum::estimate;
use rayon::prelude::*;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The first exit times of the paths of an ensemble from a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exits {
    /// For each path the number of steps after which it was first outside; `None` if it never was.
    pub steps: Vec<Option<u64>>,
    /// The number of steps after which a path was censored.
    pub limit: u64,
    /// How many of the censored paths reached a state that is not finite.
    pub diverged: usize,
}

impl Exits {
    /// The number of censored paths: those that were never outside.
    pub fn censored(&self) -> usize {
        self.steps.iter().filter(|steps| steps.is_none()).count()
    }

    /// The mean number of steps of the paths that left. It is biased low if some were [censored](Exits::censored); NaN
    /// if none left, or some diverged.
    pub fn mean(&self) -> MonteCarlo {
        let mean = estimate(self.steps.iter().flatten().map(|steps| *steps as f64));
        if mean.paths == 0 || self.diverged > 0 {
            MonteCarlo { mean: f64::NAN, variance: f64::NAN, paths: 0 }
        } else {
            mean
        }
    }

    /// The exit rate per step: the number of exits over the number of all steps taken. NaN if no step was taken or a
    /// path diverged.
    ///
    /// For a constant rate, as of the escape from a deep minimum, this is the maximum likelihood estimate under
    /// censoring; its relative standard error is 1/√exits.
    pub fn rate(&self) -> f64 {
        if self.diverged > 0 {
            return f64::NAN;
        }
        let taken: u64 = self.steps.iter().map(|steps| steps.unwrap_or(self.limit)).sum();
        (self.steps.len() - self.censored()) as f64 / taken as f64
    }
}

/// Paths that share lanes: when one of them is out the next takes its place. A fixed number, so that work is split by
/// count only.
const BLOCK: usize = 16 * LANES;

impl Ensemble {
    /// The first exit time of each path, where `exited` tests whether a state, `[d]`, is outside: before the first step
    /// and after each of at most `steps` steps. `progress` receives the numbers of finished and of all paths. `every`
    /// is not used; otherwise as [`run`](Ensemble::run). Memory is 16 bytes per path.
    ///
    /// A path of an equation may leave and return between two steps, which is not observed: this biases the mean high
    /// by O(√dt). The error of the integrator adds to it, with either sign.
    ///
    /// # Errors
    /// If `progress` stopped the run.
    ///
    /// # Panics
    /// If `paths` is 0, or the exit times take more than 4 GiB.
    #[track_caller]
    pub fn exits<C: Chain>(
        &self,
        chain: &C,
        start: impl Fn(&mut [f64], &mut Stream) + Sync,
        exited: impl Fn(&[f64]) -> bool + Sync,
        progress: &(dyn Fn(u64, u64) -> ControlFlow<()> + Sync),
    ) -> Result<Exits, Stopped> {
        self.assert_paths();
        self.assert_fits("the exit times of the paths", 2. * self.paths as f64);
        let report = Report::new(progress, self.paths as u64);
        let (mut steps, diverged) = (vec![None; self.paths], AtomicUsize::new(0));
        steps.par_chunks_mut(BLOCK).enumerate().try_for_each(|(block, steps)| {
            let lost = self.exits_of_block(chain, &start, &exited, block * BLOCK, steps, &report)?;
            diverged.fetch_add(lost, Ordering::Relaxed);
            Ok(())
        })?;
        Ok(Exits { steps, limit: self.steps as u64, diverged: diverged.into_inner() })
    }

    /// Of the paths from `first` on, as many as `found` has room for; and how many of them diverged.
    fn exits_of_block<C: Chain>(
        &self,
        chain: &C,
        start: &impl Fn(&mut [f64], &mut Stream),
        exited: &impl Fn(&[f64]) -> bool,
        first: usize,
        found: &mut [Option<u64>],
        report: &Report,
    ) -> Result<usize, Stopped> {
        let (mut x, mut scratch) = (vec![[0.; LANES]; chain.dim()], vec![[0.; LANES]; chain.lane_scratch()]);
        let (mut point, mut streams) = (vec![0.; chain.dim()], Streams::new(self.seed, first as u64, LANES));
        // in each lane a path, by its place in `found`, and the steps that it has taken
        let (mut paths, mut next, all, mut rounds) = ([(0, 0); LANES], 0, found.len(), 0u64);
        let mut enter = |lane: usize, paths: &mut [(usize, u64); LANES], streams: &mut Streams, x: &mut [_]| {
            if next == all {
                streams.retire(lane);
                return;
            }
            let mut stream = stream(self.seed, (first + next) as u64);
            start(&mut point, &mut stream);
            streams.set(lane, &stream);
            scatter(&point, lane, x);
            paths[lane] = (next, 0);
            next += 1;
        };
        (0..LANES).for_each(|lane| enter(lane, &mut paths, &mut streams, &mut x));
        let (mut here, mut diverged) = (vec![0.; chain.dim()], 0);
        loop {
            for lane in 0..LANES {
                while streams.is_live(lane) {
                    gather(&x, lane, &mut here);
                    let (path, taken) = paths[lane];
                    let out = exited(&here);
                    // A state that is not finite stays so.
                    let lost = !out && here.iter().any(|x| !x.is_finite());
                    if !out && !lost && taken < self.steps as u64 {
                        break;
                    }
                    diverged += usize::from(lost);
                    found[path] = out.then_some(taken);
                    report.add(1)?;
                    enter(lane, &mut paths, &mut streams, &mut x);
                }
            }
            if (0..LANES).all(|lane| !streams.is_live(lane)) {
                return Ok(diverged);
            }
            rounds += 1;
            if rounds.is_multiple_of(4096) {
                report.add(0)?; // paths may take long to leave, and the callback may stop the run
            }
            chain.steps(1, &mut x, &mut streams, &mut scratch);
            paths.iter_mut().for_each(|(_, taken)| *taken += 1);
        }
    }
}

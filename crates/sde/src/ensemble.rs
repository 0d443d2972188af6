//! Monte Carlo: many independent paths of a chain in parallel, with means and standard errors, or their end points.

use crate::chain::Chain;
use crate::error::Error;
use crate::lanes::{LANES, Lanes, gather, scatter};
use crate::memory;
use crate::stream::{Stream, Streams};
use crate::sum::{Sum, merged};
use rayon::prelude::*;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Independent paths of a [`Chain`], each with its own [stream](crate::stream()) of random numbers.
///
/// [`LANES`] paths advance at once in each thread of rayon. Results are the same bits for any number of threads and on
/// any processor, unless the chain's own arithmetic differs between processors, as `exp` and `tanh` may. Memory does
/// not grow with the number of paths.
///
/// ```
/// use msharp_sde::{Ensemble, EulerMaruyama, NoiseType, Sde, at, silent};
///
/// /// dX = −X dt + X/2 dW.
/// struct Decay;
///
/// impl Sde for Decay {
///     fn dim(&self) -> usize {
///         1
///     }
///     fn noise_type(&self) -> NoiseType {
///         NoiseType::Diagonal
///     }
///     fn drift(&self, x: &[f64], drift: &mut [f64]) {
///         drift[0] = -x[0];
///     }
///     fn diffusion(&self, x: &[f64], sigma: &mut [f64]) {
///         sigma[0] = x[0] / 2.;
///     }
/// }
///
/// let chain = EulerMaruyama::new(Decay, 0.01)?;
/// let ensemble = Ensemble { paths: 1000, seed: 0, steps: 100, every: 50 };
/// let moments = ensemble.run(&chain, at(&[1.]), 1, |x, out| out[0] = x[0], &silent)?;
/// let end = moments[2].outputs[0]; // after steps 0, 50 and 100
/// assert!((end.mean - (-1f64).exp()).abs() < 4. * end.standard_error());
/// # Ok::<(), msharp_sde::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ensemble {
    /// The number of paths. With fewer than [`LANES`] per thread, or 16 times as many for [exits](Ensemble::exits),
    /// some threads are idle.
    pub paths: usize,
    /// The seed of all random numbers.
    pub seed: u64,
    /// The number of steps of each path.
    pub steps: usize,
    /// Observe the paths before the first step, after every `every` steps, and after the last step; at least 1.
    pub every: usize,
}

/// Starts every path at `x`, `[d]`. A run panics if the dimension is not that of the chain.
pub fn at(x: &[f64]) -> impl Fn(&mut [f64], &mut Stream) + Sync {
    move |start, _| {
        let (d, found) = (start.len(), x.len());
        assert!(d == found, "a start in {found} dimensions; expected {d}, those of the chain");
        start.copy_from_slice(x);
    }
}

/// A progress callback that does nothing and never stops.
pub fn silent(_done: u64, _of: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// The progress callback returned [`ControlFlow::Break`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the ensemble was stopped before its end")
    }
}

impl std::error::Error for Stopped {}

impl From<Stopped> for Error {
    fn from(_: Stopped) -> Self {
        Error::Stopped
    }
}

/// The Monte Carlo estimate of the expectation of an output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MonteCarlo {
    /// The mean over the paths.
    pub mean: f64,
    /// The unbiased sample variance of the output; 0 for a single path.
    pub variance: f64,
    /// The number of paths.
    pub paths: u64,
}

impl MonteCarlo {
    /// The standard error of the mean, √(variance/paths).
    pub fn standard_error(&self) -> f64 {
        (self.variance / self.paths as f64).sqrt()
    }
}

/// The estimates at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// The number of steps before this time.
    pub step: usize,
    /// An estimate for each output.
    pub outputs: Vec<MonteCarlo>,
}

impl Ensemble {
    /// Means and variances over the paths at several times.
    ///
    /// `start` writes the start of a path, `[d]`, and may draw from the path's stream. `observe` maps a state, `[d]`,
    /// to `[outputs]`. `progress` receives the numbers of completed and of all steps, summed over paths, from any
    /// thread, and stops the run by returning [`ControlFlow::Break`]. Memory is 24 bytes per time and output, a few
    /// times for each thread; it does not grow with paths or steps.
    ///
    /// # Errors
    /// If `progress` stopped the run.
    ///
    /// # Panics
    /// If `paths`, `outputs` or `every` is 0, or times and outputs take more than 4 GiB in one thread.
    #[track_caller]
    pub fn run<C: Chain>(
        &self,
        chain: &C,
        start: impl Fn(&mut [f64], &mut Stream) + Sync,
        outputs: usize,
        observe: impl Fn(&[f64], &mut [f64]) + Sync,
        progress: &(dyn Fn(u64, u64) -> ControlFlow<()> + Sync),
    ) -> Result<Vec<Snapshot>, Stopped> {
        self.assert_paths();
        assert!(self.every > 0, "every is 0; expected at least 1 step between moments");
        assert!(outputs > 0, "outputs is 0; expected at least 1");
        self.assert_room(outputs);
        let moments: Vec<usize> = (0..self.steps).step_by(self.every).chain([self.steps]).collect();
        let report = Report::new(progress, self.all_steps());
        let group = |group: usize| {
            let (mut walk, mut sums) =
                (Walk::new(self, chain, &start, group), vec![Sum::default(); moments.len() * outputs]);
            let (mut point, mut values, mut step) = (vec![0.; chain.dim()], vec![0.; outputs], 0);
            for (moment, sums) in moments.iter().zip(sums.chunks_mut(outputs)) {
                walk.advance(moment - step, &report)?;
                step = *moment;
                for lane in 0..walk.live {
                    gather(&walk.x, lane, &mut point);
                    observe(&point, &mut values);
                    sums.iter_mut().zip(&values).for_each(|(sum, value)| sum.add(*value));
                }
            }
            Ok(sums)
        };
        let sums = merged(0..self.paths.div_ceil(LANES), &group)?;
        let snapshot =
            |(i, step)| Snapshot { step, outputs: sums[i * outputs..][..outputs].iter().map(Sum::estimate).collect() };
        Ok(moments.into_iter().enumerate().map(snapshot).collect())
    }

    /// The states of all paths after the last step, `[paths, d]`. `every` is not used; otherwise as
    /// [`run`](Ensemble::run).
    ///
    /// # Errors
    /// If `progress` stopped the run.
    ///
    /// # Panics
    /// If `paths` is 0, or the states take more than 4 GiB.
    #[track_caller]
    pub fn ends<C: Chain>(
        &self,
        chain: &C,
        start: impl Fn(&mut [f64], &mut Stream) + Sync,
        progress: &(dyn Fn(u64, u64) -> ControlFlow<()> + Sync),
    ) -> Result<Vec<f64>, Stopped> {
        self.assert_paths();
        let d = chain.dim();
        self.assert_fits("the ends of the paths", self.paths as f64 * d as f64);
        let report = Report::new(progress, self.all_steps());
        let mut ends = vec![0.; self.paths * d];
        ends.par_chunks_mut((LANES * d).max(1)).enumerate().try_for_each(|(group, ends)| {
            let mut walk = Walk::new(self, chain, &start, group);
            walk.advance(self.steps, &report)?;
            ends.chunks_mut(d).enumerate().for_each(|(lane, end)| gather(&walk.x, lane, end));
            Ok(())
        })?;
        Ok(ends)
    }

    /// Panics if so many `numbers` do not fit: what is returned has no room for an error.
    #[track_caller]
    pub(crate) fn assert_fits(&self, what: &str, numbers: f64) {
        if let Err(error) = memory::fits(what, memory::numbers(numbers), "take fewer paths") {
            panic!("{error}");
        }
    }

    #[track_caller]
    pub(crate) fn assert_paths(&self) {
        assert!(self.paths > 0, "paths is 0; expected at least 1");
    }

    /// What a thread keeps: its own sums, and those of groups before it that are to be merged.
    #[track_caller]
    fn assert_room(&self, outputs: usize) {
        let moments = (self.steps / self.every) as f64 + 2.;
        let sums = f64::from(usize::BITS - self.paths.div_ceil(LANES).leading_zeros()) + 1.;
        let fits = memory::fits(
            &format!("{outputs} outputs after every {} of {} steps", self.every, self.steps),
            moments * outputs as f64 * sums * size_of::<Sum>() as f64,
            "make `every` larger",
        );
        if let Err(error) = fits {
            panic!("{error}");
        }
    }

    /// Those of all paths; as many as can be counted.
    fn all_steps(&self) -> u64 {
        (self.paths as u64).saturating_mul(self.steps as u64)
    }
}

/// [`LANES`] neighbouring paths, under way.
struct Walk<'a, C> {
    chain: &'a C,
    x: Vec<Lanes>,
    streams: Streams,
    scratch: Vec<Lanes>,
    live: usize,
}

impl<'a, C: Chain> Walk<'a, C> {
    fn new(of: &Ensemble, chain: &'a C, start: &(impl Fn(&mut [f64], &mut Stream) + Sync), group: usize) -> Self {
        let first = group * LANES;
        let live = (of.paths - first).min(LANES);
        let mut streams = Streams::new(of.seed, first as u64, live);
        let (mut x, mut point) = (vec![[0.; LANES]; chain.dim()], vec![0.; chain.dim()]);
        for lane in 0..LANES {
            if lane < live {
                let mut stream = streams.get(lane);
                start(&mut point, &mut stream);
                streams.set(lane, &stream);
            }
            scatter(&point, lane, &mut x); // a lane without a path advances from the start of the last one
        }
        Self { chain, x, streams, scratch: vec![[0.; LANES]; chain.lane_scratch()], live }
    }

    fn advance(&mut self, steps: usize, report: &Report) -> Result<(), Stopped> {
        /// So many between two reports.
        const STRIDE: usize = 4096;
        let mut left = steps;
        while left > 0 {
            let now = left.min(STRIDE);
            self.chain.steps(now, &mut self.x, &mut self.streams, &mut self.scratch);
            report.add((now * self.live) as u64)?;
            left -= now;
        }
        Ok(())
    }
}

/// Counts completed work over all threads, and calls the progress callback.
pub(crate) struct Report<'a> {
    tell: &'a (dyn Fn(u64, u64) -> ControlFlow<()> + Sync),
    done: AtomicU64,
    of: u64,
    stopped: AtomicBool,
}

impl<'a> Report<'a> {
    pub(crate) fn new(tell: &'a (dyn Fn(u64, u64) -> ControlFlow<()> + Sync), of: u64) -> Self {
        Self { tell, done: AtomicU64::new(0), of, stopped: AtomicBool::new(false) }
    }

    /// So much more is done.
    pub(crate) fn add(&self, more: u64) -> Result<(), Stopped> {
        let done = self.done.fetch_add(more, Ordering::Relaxed) + more;
        if self.stopped.load(Ordering::Relaxed) || (self.tell)(done, self.of).is_break() {
            self.stopped.store(true, Ordering::Relaxed);
            return Err(Stopped);
        }
        Ok(())
    }
}

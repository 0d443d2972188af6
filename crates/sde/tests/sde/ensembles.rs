//! Ensembles: the same bits for any number of threads, and what is known of simple chains.

use crate::linear::{B, Kind, SEPARABLE, diagonal, general};
use msharp_sde::{Chain, Ensemble, EulerMaruyama, LANES, Milstein, Stopped, Stream, WeakOrder2, at, silent, stream};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};

/// ±1 with probability 1/2: a walk whose moments and exit times are known. It has lanes by default only.
struct Walk;

impl Chain for Walk {
    fn dim(&self) -> usize {
        1
    }

    fn scratch(&self) -> usize {
        0
    }

    fn step(&self, x: &mut [f64], stream: &mut Stream, _: &mut [f64]) {
        x[0] += if stream.bits() >> 63 == 0 { 1. } else { -1. };
    }
}

fn in_a_pool<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool").install(work)
}

fn square(x: &[f64], to: &mut [f64]) {
    to.copy_from_slice(&[x[0], x[0] * x[0], x[1]]);
}

/// From a point of the path's own.
fn scattered(x: &mut [f64], stream: &mut Stream) {
    msharp_sde::brownian::gaussian(stream, 1., x);
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let chain = EulerMaruyama::new(general(2), 0.01).unwrap();
    for paths in [1, LANES - 1, LANES, LANES + 1, 1000, 1003] {
        let ensemble = Ensemble { paths, seed: 9, steps: 50, every: 20 };
        let all = |threads| {
            in_a_pool(threads, || {
                let means = ensemble.run(&chain, scattered, 3, square, &silent);
                let ends = ensemble.ends(&chain, scattered, &silent);
                let exits = ensemble.exits(&chain, at(&[1., 0.5]), |x| x[0] > 1.1, &silent);
                (means, ends, exits)
            })
        };
        let (means, ends, exits) = all(1);
        for threads in [2, 3] {
            assert!(all(threads) == (means.clone(), ends.clone(), exits.clone()), "{paths} paths, {threads} threads");
        }
        // and the mean is that of the ends
        let (means, ends) = (means.expect("not stopped"), ends.expect("not stopped"));
        let steps: Vec<usize> = means.iter().map(|snapshot| snapshot.step).collect();
        assert_eq!((steps, ends.len()), (vec![0, 20, 40, 50], 2 * paths));
        let mean = ends.iter().step_by(2).sum::<f64>() / paths as f64;
        let last = means[3].outputs[0];
        assert!((last.mean - mean).abs() < 1e-14 && last.paths == paths as u64);
        let variance: f64 = ends.iter().step_by(2).map(|x| (x - mean).powi(2)).sum::<f64>() / (paths - 1).max(1) as f64;
        assert!((last.variance - variance).abs() < 1e-14);
    }
}

/// The vector instructions of this machine and the plain ones that `step` is compiled to: the same bits.
#[test]
fn a_path_of_an_ensemble_is_that_path_alone() {
    fn check(chain: &impl Chain) {
        let ensemble = Ensemble { paths: 21, seed: 4, steps: 33, every: 1 };
        let ends = ensemble.ends(chain, at(&[1., 0.5]), &silent).expect("not stopped");
        let mut scratch = vec![f64::NAN; chain.scratch()];
        for (path, end) in ends.chunks(2).enumerate() {
            let (mut x, mut stream) = ([1., 0.5], stream(4, path as u64));
            (0..33).for_each(|_| chain.step(&mut x, &mut stream, &mut scratch));
            assert_eq!(end, x, "path {path}");
        }
        let exits = ensemble.exits(chain, at(&[1., 0.5]), |x| x[1] > 0.52, &silent).expect("not stopped");
        for (path, found) in exits.steps.iter().enumerate() {
            let (mut x, mut stream) = ([1., 0.5], stream(4, path as u64));
            let mut first = None;
            for taken in 0..34 {
                if first.is_none() && x[1] > 0.52 {
                    first = Some(taken);
                }
                chain.step(&mut x, &mut stream, &mut scratch);
            }
            assert_eq!(*found, first, "path {path}");
        }
        assert!(exits.censored() < 21);
    }
    let dt = 0.02;
    for sde in [general(3), general(1), diagonal(B[0], Kind::Diagonal), diagonal(SEPARABLE, Kind::Additive)] {
        check(&EulerMaruyama::new(&sde, dt).unwrap());
        check(&WeakOrder2::new(&sde, dt).unwrap());
    }
    for sde in [general(1), diagonal(SEPARABLE, Kind::Diagonal)] {
        check(&Milstein::new(&sde, dt).expect("its noise"));
    }
}

#[test]
fn a_mean_is_within_its_standard_error() {
    let ensemble = Ensemble { paths: 20_000, seed: 1, steps: 64, every: 16 };
    let observe = |x: &[f64], to: &mut [f64]| to.copy_from_slice(&[x[0], x[0] * x[0]]);
    let snapshots = ensemble.run(&Walk, at(&[0.]), 2, observe, &silent).expect("not stopped");
    for (snapshot, n) in snapshots.iter().zip([0., 16., 32., 48., 64.]) {
        // x after n steps has mean 0 and variance n, x² has mean n and variance 2 n² − 2 n
        let (sum, square) = (snapshot.outputs[0], snapshot.outputs[1]);
        assert_eq!(snapshot.step as f64, n);
        assert!((sum.variance - n).abs() <= 0.05 * n && (square.variance - 2. * n * (n - 1.)).abs() <= 0.1 * n * n);
        assert!(sum.mean.abs() <= 4. * sum.standard_error(), "{sum:?}");
        assert!((square.mean - n).abs() <= 4. * square.standard_error(), "{square:?}");
    }
}

#[test]
fn exits_take_as_long_as_they_should() {
    // a walk leaves (−5, 5) after 25 steps in the mean; with probability e⁻¹²⁰ or so not before the limit
    let ensemble = Ensemble { paths: 20_000, seed: 2, steps: 10_000, every: 1 };
    let exits = ensemble.exits(&Walk, at(&[0.]), |x| x[0].abs() >= 5., &silent).expect("not stopped");
    let mean = exits.mean();
    assert_eq!((exits.censored(), mean.paths), (0, 20_000));
    assert!((mean.mean - 25.).abs() < 4. * mean.standard_error(), "{mean:?}");
    assert!((exits.rate() * mean.mean - 1.).abs() < 1e-12);
    // given up before the first can be out
    let short = Ensemble { steps: 4, paths: 10, ..ensemble };
    let exits = short.exits(&Walk, at(&[0.]), |x| x[0].abs() >= 5., &silent).expect("not stopped");
    assert!(exits.censored() == 10 && exits.rate() == 0. && exits.mean().mean.is_nan());
    // outside from the start
    let exits = short.exits(&Walk, at(&[7.]), |x| x[0].abs() >= 5., &silent).expect("not stopped");
    assert_eq!(exits.steps, [Some(0); 10]);
}

#[test]
fn no_steps_leave_paths_where_they_start() {
    let ensemble = Ensemble { paths: 1, seed: 0, steps: 0, every: 7 };
    let snapshots = ensemble.run(&Walk, at(&[3.]), 1, |x, to| to[0] = x[0], &silent).expect("not stopped");
    assert_eq!(snapshots.len(), 1);
    let only = snapshots[0].outputs[0];
    assert_eq!((snapshots[0].step, only.mean, only.variance, only.standard_error()), (0, 3., 0., 0.));
    assert_eq!(ensemble.ends(&Walk, at(&[3.]), &silent), Ok(vec![3.]));
    let exits = ensemble.exits(&Walk, at(&[3.]), |_| false, &silent).expect("not stopped");
    assert_eq!((exits.censored(), exits.diverged), (1, 0));
    let lost = ensemble.exits(&Walk, at(&[f64::NAN]), |x| x[0] > 4., &silent).expect("not stopped");
    assert!(lost.diverged == 1 && lost.mean().mean.is_nan() && lost.rate().is_nan(), "{lost:?}");
}

#[test]
fn progress_comes_to_its_end_and_can_stop() {
    let ensemble = Ensemble { paths: 100, seed: 0, steps: 50, every: 10 };
    let most = AtomicU64::new(0);
    let tell = |done, of| {
        assert!(done <= of && of == 5000);
        most.fetch_max(done, Ordering::Relaxed);
        ControlFlow::Continue(())
    };
    assert!(ensemble.run(&Walk, at(&[0.]), 1, |x, to| to[0] = x[0], &tell).is_ok());
    assert_eq!(most.into_inner(), 5000);
    let stop = |_: u64, _: u64| ControlFlow::Break(());
    assert_eq!(ensemble.run(&Walk, at(&[0.]), 1, |x, to| to[0] = x[0], &stop), Err(Stopped));
    assert_eq!(ensemble.ends(&Walk, at(&[0.]), &stop), Err(Stopped));
    // nobody ever leaves, and still it can be stopped
    let endless = Ensemble { steps: usize::MAX, ..ensemble };
    assert_eq!(endless.exits(&Walk, at(&[0.]), |_| false, &stop), Err(Stopped));
}

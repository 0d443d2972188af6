//! The scope in which batch normalisation takes its statistics over the batches of several processes.

use candle_core::{Result, bail};
use std::cell::Cell;

/// What every process gives, in one order that all of them share, of what this one gives. All processes call it at the
/// same time, with as many numbers.
pub type GatherNumbers<'a> = dyn Fn(&[f64]) -> Result<Vec<Vec<f64>>> + 'a;

thread_local! {
    static GATHER: Cell<Option<&'static GatherNumbers<'static>>> = const { Cell::new(None) };
}

/// Runs `pass`, in which [`batch_norm`](crate::batch_norm) in training takes its statistics over the batches of all
/// processes that `gather` connects: a forward, the backward of one, or both. Each layer calls `gather` once with
/// 1 + 2c numbers in the forward, and once with 2c in the backward, for its c channels.
///
/// What the backward adds up over processes are sums of gradients: each process gives those of its share of one loss.
/// All processes make the same passes in the same order. The backward of such a forward outside of a scope is an error.
/// In a pass [in micro-batches](crate::in_micro_batches) each micro-batch is normalised by itself, and nothing is
/// gathered. On the CPU. The scope belongs to the calling thread and ends even if `pass` panics.
pub fn batch_statistics_over<R>(gather: &GatherNumbers, pass: impl FnOnce() -> R) -> R {
    struct Leave(Option<&'static GatherNumbers<'static>>);
    impl Drop for Leave {
        fn drop(&mut self) {
            GATHER.set(self.0);
        }
    }
    // SAFETY: only the lifetime changes. The reference is called inside of `pass` alone, on this thread, where `gather`
    // is borrowed: `Leave` takes it out of the thread before this function ends, also where `pass` panics.
    let gather = unsafe { std::mem::transmute::<&GatherNumbers<'_>, &'static GatherNumbers<'static>>(gather) };
    let _leave = Leave(GATHER.replace(Some(gather)));
    pass()
}

/// Whether such a scope is open on this thread.
pub(crate) fn is_over_processes() -> bool {
    GATHER.get().is_some()
}

/// The numbers of each process; `mine` are this one's.
pub(crate) fn over_processes(op: &str, mine: &[f64]) -> Result<Vec<Vec<f64>>> {
    let Some(gather) = GATHER.get() else {
        bail!(
            "{op}: the forward took its statistics over several processes, and its backward runs outside of \
             `batch_statistics_over`; expected it inside"
        )
    };
    let all = gather(mine)?;
    if all.is_empty() || all.iter().any(|one| one.len() != mine.len()) {
        let lengths: Vec<usize> = all.iter().map(Vec::len).collect();
        bail!("{op}: {lengths:?} numbers came of the processes; expected {} of each", mine.len())
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Epilogue, RunningStats, batch_norm, weighted_sum};
    use candle_core::{DType, Device, Tensor, Var};
    use std::ops::Range;
    use std::sync::{Barrier, Mutex};

    /// x `[b, 2, 2, 3]`, the factors of the losses, γ, β, and the running statistics.
    struct Problem {
        x: Var,
        factors: Tensor,
        affine: [Var; 2],
        running: [Var; 2],
    }

    impl Problem {
        fn new(rows: Range<usize>) -> Result<Self> {
            let of = |offset: usize| {
                let all = (rows.start * 12..rows.end * 12).map(|i| (((i + offset) * 37 % 101) as f64).sqrt() - 5.);
                Tensor::from_iter(all, &Device::Cpu)?.reshape((rows.len(), 2, 2, 3))
            };
            let of_channels = |values: [f64; 3]| Var::new(&values, &Device::Cpu);
            Ok(Self {
                x: Var::from_tensor(&of(0)?)?,
                factors: of(7)?,
                affine: [of_channels([0.7, -1.3, 2.])?, of_channels([0.1, 0., -0.4])?],
                running: [of_channels([0., 1., 2.])?, of_channels([1.; 3])?],
            })
        }

        fn losses(&self) -> Result<Tensor> {
            let [weight, bias] = &self.affine;
            let [mean, var] = &self.running;
            let stats = RunningStats { mean, var, batches: None, momentum: 0.3 };
            let epilogue = Epilogue { residual: None, relu: true };
            let y = batch_norm(self.x.as_tensor(), weight, bias, &stats, true, 1e-5, epilogue)?;
            (y * &self.factors)?.flatten_from(1)?.sum(1)
        }

        /// dx, running mean and variance; and dγ, dβ.
        fn found(&self) -> Result<[Vec<f64>; 2]> {
            let grads = weighted_sum(&self.losses()?, Some(&self.factors.flatten_from(1)?.sum(1)?))?.backward()?;
            let values = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<f64>();
            let of = |var: &Var| values(grads.get(var.as_tensor()).expect("a gradient"));
            let running =
                self.running.iter().map(|var| values(&var.as_detached_tensor())).collect::<Result<Vec<_>>>()?;
            let affine = self.affine.iter().map(of).collect::<Result<Vec<_>>>()?;
            Ok([[of(&self.x)?, running.concat()].concat(), affine.concat()])
        }
    }

    /// What each process finds of its rows.
    fn on_processes(parts: &[Range<usize>]) -> Vec<[Vec<f64>; 2]> {
        let (slots, barrier) = (Mutex::new(vec![vec![]; parts.len()]), Barrier::new(parts.len()));
        std::thread::scope(|scope| {
            let start = |(process, rows): (usize, &Range<usize>)| {
                let (slots, barrier, rows) = (&slots, &barrier, rows.clone());
                scope.spawn(move || {
                    let gather = |mine: &[f64]| {
                        slots.lock().unwrap()[process] = mine.to_vec();
                        barrier.wait();
                        let all = slots.lock().unwrap().clone();
                        barrier.wait();
                        Ok(all)
                    };
                    let problem = Problem::new(rows).unwrap();
                    batch_statistics_over(&gather, || problem.found()).unwrap()
                })
            };
            let all: Vec<_> = parts.iter().enumerate().map(start).collect();
            all.into_iter().map(|process| process.join().unwrap()).collect()
        })
    }

    #[track_caller]
    fn assert_near(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12 * (1. + expected.abs()), "{found} for {expected}");
        }
    }

    #[test]
    fn processes_compute_what_one_computes_on_all_rows() -> Result<()> {
        let [whole, affine] = Problem::new(0..6)?.found()?;
        let (dx, running) = whole.split_at(6 * 12);
        for ends in [&[0, 6][..], &[0, 3, 6], &[0, 3, 5, 6]] {
            let parts: Vec<Range<usize>> = ends.windows(2).map(|pair| pair[0]..pair[1]).collect();
            let mut of_affine = vec![0.; 6];
            for (rows, [found, part]) in parts.iter().zip(on_processes(&parts)) {
                let expected = [&dx[rows.start * 12..rows.end * 12], running].concat();
                assert_near(&found, &expected);
                of_affine.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
            }
            assert_near(&of_affine, &affine);
        }
        let alone = Problem::new(0..3)?.found()?;
        assert!((alone[0][0] - whole[0]).abs() > 1e-3, "without the scope, statistics are those of the own rows");
        Ok(())
    }

    #[test]
    fn what_is_no_pass_of_all_processes_is_an_error() -> Result<()> {
        let problem = Problem::new(0..3)?;
        let echo = |mine: &[f64]| Ok(vec![mine.to_vec()]);
        let losses = batch_statistics_over(&echo, || problem.losses())?;
        let error = losses.sum_all()?.backward().unwrap_err().to_string();
        assert!(error.contains("outside of `batch_statistics_over`"), "{error}");
        batch_statistics_over(&echo, || losses.sum_all()?.backward())?;
        let short = |mine: &[f64]| Ok(vec![mine.to_vec(), mine[1..].to_vec()]);
        let error = batch_statistics_over(&short, || problem.losses()).unwrap_err().to_string();
        assert!(error.contains("[7, 6] numbers") && error.contains("expected 7 of each"), "{error}");
        let panics = std::panic::AssertUnwindSafe(|| batch_statistics_over(&echo, || panic!("inside")));
        assert!(std::panic::catch_unwind(panics).is_err());
        assert!(!is_over_processes());
        let one = Tensor::zeros((1, 3), DType::F64, &Device::Cpu)?;
        let [mean, var] = &problem.running;
        let stats = RunningStats { mean, var, batches: None, momentum: 0.3 };
        let [weight, bias] = &problem.affine;
        let norm = || batch_norm(&one, weight, bias, &stats, true, 1e-5, Epilogue::default());
        let error = batch_statistics_over(&echo, norm).unwrap_err().to_string();
        assert!(error.contains("more than 1 value per channel"), "{error}");
        let two = |mine: &[f64]| Ok(vec![mine.to_vec(); 2]);
        batch_statistics_over(&two, norm)?;
        Ok(())
    }
}

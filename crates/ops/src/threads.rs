//! Threads for a training loop.

use candle_core::{Error, Result};
use rayon::ThreadPoolBuilder;

/// Bytes of the stack of a thread: as much as a main thread has.
const STACK: usize = 8 << 20;

/// Runs `f` on the first of `count` threads of its own, or of one per core for 0, on which its ops compute.
///
/// There an op begins at once. From any other thread each op waits until one of rayon's threads wakes up, which for a
/// small network is a third of the time. Results have the same bits either way.
///
/// Run each of several loops at once on threads of its own: a thread that waits within an op may begin other work of
/// its pool, and the scopes of this crate, such as [`no_grad`](crate::no_grad), belong to threads.
///
/// ```
/// let sum = msharp_ops::on_threads(2, || 1 + 1)?;
/// assert_eq!(sum, 2);
/// # Ok::<(), candle_core::Error>(())
/// ```
///
/// # Errors
/// If the threads cannot be started.
pub fn on_threads<R: Send>(count: usize, f: impl FnOnce() -> R + Send) -> Result<R> {
    let pool = ThreadPoolBuilder::new().num_threads(count).stack_size(STACK).build();
    let pool = pool.map_err(|error| Error::wrap(error).context("cannot start the computing threads"))?;
    Ok(pool.install(f))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{conv2d, no_grad};
    use candle_core::{DType, Device, Tensor, Var};

    /// Ops with several tasks, so that threads wait for each other.
    fn output(weight: &Tensor) -> Result<Tensor> {
        let x = Tensor::ones((8, 16, 16, 8), DType::F32, &Device::Cpu)?;
        conv2d(&x, weight, None, (1, 1), (1, 1))?.sum_all()
    }

    #[test]
    fn two_loops_see_nothing_of_each_others_scopes() -> Result<()> {
        let weight = Var::randn(0f32, 1., (16, 8, 3, 3), &Device::Cpu)?;
        let tracked = || -> Result<bool> {
            on_threads(2, || (0..100).try_fold(true, |all, _| Ok(all && output(&weight)?.track_op())))?
        };
        let untracked = || -> Result<bool> {
            on_threads(2, || (0..100).try_fold(true, |all, _| Ok(all && !no_grad(|| output(&weight))?.track_op())))?
        };
        std::thread::scope(|scope| {
            let (one, other) = (scope.spawn(tracked), scope.spawn(untracked));
            assert!(one.join().expect("no panic")?, "a graph is recorded outside `no_grad`");
            assert!(other.join().expect("no panic")?, "and none inside");
            Ok(())
        })
    }

    #[test]
    fn there_are_as_many_threads_as_were_asked_for() -> Result<()> {
        assert_eq!(on_threads(3, rayon::current_num_threads)?, 3);
        Ok(())
    }
}

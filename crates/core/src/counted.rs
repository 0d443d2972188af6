//! Cost as a measured fact: how many forward and backward passes a rule really made.

use crate::{Batch, Objective};
use candle_core::{Result, Tensor};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An objective that counts the passes through another, in samples. Those inside [`uncounted`] are not counted.
pub struct Counted<'a> {
    objective: &'a dyn Objective,
    forward: Arc<AtomicU64>,
    backward: Arc<AtomicU64>,
}

impl<'a> Counted<'a> {
    /// Nothing is counted yet.
    pub fn new(objective: &'a dyn Objective) -> Self {
        Self { objective, forward: Arc::default(), backward: Arc::default() }
    }

    /// Samples that went forward, and samples that went backward, since the start or the last call.
    pub fn take(&self) -> (u64, u64) {
        (self.forward.swap(0, Ordering::Relaxed), self.backward.swap(0, Ordering::Relaxed))
    }
}

impl Objective for Counted<'_> {
    fn losses(&self, batch: &Batch, train: bool) -> Result<Tensor> {
        let losses = self.objective.losses(batch, train)?;
        if !COUNTS.get() {
            return Ok(losses);
        }
        self.forward.fetch_add(batch.len() as u64, Ordering::Relaxed);
        let (backward, samples) = (self.backward.clone(), losses.elem_count() as u64);
        msharp_ops::on_backward(&losses, move || {
            if COUNTS.get() {
                backward.fetch_add(samples, Ordering::Relaxed);
            }
        })
    }

    fn max_samples(&self) -> Option<usize> {
        self.objective.max_samples()
    }
}

thread_local! {
    static COUNTS: Cell<bool> = const { Cell::new(true) };
}

/// Runs `check`, whose passes no [`Counted`] counts on this thread: comparisons that find a fault, made once by whoever
/// starts, are no part of what a step costs, and a run that is resumed makes them again.
pub fn uncounted<R>(check: impl FnOnce() -> R) -> R {
    struct Leave(bool);
    impl Drop for Leave {
        fn drop(&mut self) {
            COUNTS.set(self.0);
        }
    }
    let _leave = Leave(COUNTS.replace(false));
    check()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BatchLoss, Key, Params};
    use candle_core::{Device, Var};

    #[test]
    fn passes_are_counted_and_the_gradient_is_unchanged() -> Result<()> {
        let x = Var::new(&[2f32], &Device::Cpu)?;
        let params = Params::new([("x".to_owned(), x.clone())])?;
        let f = |batch: &Batch, _: bool| batch.inputs.broadcast_mul(&x)?.sqr();
        let inputs = Tensor::new(&[1f32, 2., 3.], &Device::Cpu)?;
        let batch = Batch::new(inputs.clone(), inputs, Key::new(0));
        let counted = Counted::new(&f);
        let plain = BatchLoss::new(&f, &params, &batch).gradient()?;
        let through = BatchLoss::new(&counted, &params, &batch).gradient()?;
        assert_eq!(plain.grads.to_vec()?, through.grads.to_vec()?);
        assert_eq!(counted.take(), (3, 3));
        assert_eq!(counted.take(), (0, 0));
        let open = counted.losses(&batch, true)?;
        uncounted(|| BatchLoss::new(&counted, &params, &batch).gradient())?;
        uncounted(|| open.sum_all()?.backward())?;
        assert_eq!(counted.take(), (3, 0), "what was counted is the forward before");
        open.sum_all()?.backward()?;
        assert_eq!(counted.take(), (0, 3));
        Ok(())
    }
}

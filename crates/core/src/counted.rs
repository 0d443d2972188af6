//! Cost as a measured fact: how many forward and backward passes a rule really made.

use crate::{Batch, Objective};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, CustomOp1, Layout, Result, Shape, Tensor};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An objective that counts the passes through another, in samples.
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
        self.forward.fetch_add(batch.len() as u64, Ordering::Relaxed);
        self.objective.losses(batch, train)?.apply_op1(CountBackward(self.backward.clone()))
    }

    fn most(&self) -> Option<usize> {
        self.objective.most()
    }
}

/// The identity, whose backward pass counts.
struct CountBackward(Arc<AtomicU64>);

impl CustomOp1 for CountBackward {
    fn name(&self) -> &'static str {
        "count-backward"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        whole(layout)?;
        Ok((storage.try_clone(layout)?, layout.shape().clone()))
    }

    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        whole(layout)?;
        Ok((storage.try_clone(layout)?, layout.shape().clone()))
    }

    fn bwd(&self, losses: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        self.0.fetch_add(losses.elem_count() as u64, Ordering::Relaxed);
        Ok(Some(grad.clone()))
    }
}

/// `Err` for a view into a larger tensor.
fn whole(layout: &Layout) -> Result<()> {
    match layout.contiguous_offsets() {
        Some((0, _)) => Ok(()),
        _ => {
            candle_core::bail!("an objective's losses are a tensor of their own, and these have the layout {layout:?}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Key, Params, gradient_at};
    use candle_core::{Device, Var};

    #[test]
    fn passes_are_counted_and_the_gradient_is_unchanged() -> Result<()> {
        let x = Var::new(&[2f32], &Device::Cpu)?;
        let params = Params::new([("x".to_owned(), x.clone())])?;
        let f = |batch: &Batch, _: bool| batch.inputs.broadcast_mul(&x)?.sqr();
        let inputs = Tensor::new(&[1f32, 2., 3.], &Device::Cpu)?;
        let batch = Batch::new(inputs.clone(), inputs, Key::new(0));
        let counted = Counted::new(&f);
        let plain = gradient_at(&f, &params, &batch, None, None)?;
        let through = gradient_at(&counted, &params, &batch, None, None)?;
        assert_eq!(plain.grads.to_vec()?, through.grads.to_vec()?);
        assert_eq!(counted.take(), (3, 3));
        assert_eq!(counted.take(), (0, 0));
        Ok(())
    }
}

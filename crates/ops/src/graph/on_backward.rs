//! A callback in every backward pass through a tensor.

use crate::per_sample::last_layer::note_identity;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

/// `x`, and `call` is called in each backward pass that reaches it: for counts. The gradient passes unchanged, and
/// [`last_layer_norms`](crate::last_layer_norms) treats the result as `x`.
///
/// `Err` if `x` is a view of a larger tensor.
pub fn on_backward(x: &Tensor, call: impl Fn() + Send + Sync + 'static) -> Result<Tensor> {
    let y = x.apply_op1(OnBackward(Box::new(call)))?;
    note_identity(x, &y);
    Ok(y)
}

/// The identity, whose backward pass calls.
struct OnBackward(Box<dyn Fn() + Send + Sync>);

impl CustomOp1 for OnBackward {
    fn name(&self) -> &'static str {
        "on-backward"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        whole(layout)?;
        Ok((storage.try_clone(layout)?, layout.shape().clone()))
    }

    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        whole(layout)?;
        Ok((storage.try_clone(layout)?, layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        (self.0)();
        Ok(Some(grad.clone()))
    }
}

/// `Err` for a view into a larger tensor.
fn whole(layout: &Layout) -> Result<()> {
    match layout.contiguous_offsets() {
        Some((0, _)) => Ok(()),
        _ => bail!("an objective's losses are a tensor of their own, and these have the layout {layout:?}"),
    }
}

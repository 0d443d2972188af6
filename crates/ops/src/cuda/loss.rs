//! Losses of samples and of batches.

use super::device_of;
use super::gpu::Gpu;
use super::launch::{Grid, Pointer, arguments};
use crate::graph::{Pass, Recorded};
use candle_core::{DType, Result, Tensor, bail};

/// A warp for each row.
fn grid(rows: usize) -> Grid {
    Grid::of(rows.div_ceil(8))
}

/// [`cross_entropy`](crate::cross_entropy), whose shapes are checked.
pub(crate) fn cross_entropy(
    gpu: &Gpu,
    logits: &Tensor,
    targets: &Tensor,
    label_smoothing: f64,
    shape: [usize; 2],
) -> Result<Tensor> {
    by_rows(gpu, ["cross_entropy", "cross_entropy_gradient"], logits, targets, label_smoothing, shape)
}

/// [`cross_entropy`](crate::cross_entropy) against distributions `[b, k]`.
pub(crate) fn cross_entropy_of_distributions(
    gpu: &Gpu,
    logits: &Tensor,
    targets: &Tensor,
    label_smoothing: f64,
    shape: [usize; 2],
) -> Result<Tensor> {
    let kernels = ["cross_entropy_of_distributions", "cross_entropy_of_distributions_gradient"];
    by_rows(gpu, kernels, logits, targets, label_smoothing, shape)
}

/// By a kernel of the losses, and one of their gradients.
fn by_rows(
    gpu: &Gpu,
    [kernel, gradient]: [&'static str; 2],
    logits: &Tensor,
    targets: &Tensor,
    label_smoothing: f64,
    [b, k]: [usize; 2],
) -> Result<Tensor> {
    if logits.dtype() != DType::F32 {
        bail!("cross_entropy: logits on a GPU are f32, not {:?}", logits.dtype());
    }
    let targets = targets.detach().contiguous()?;
    let losses = gpu.empty(DType::F32, b)?;
    let (x, y) = (Pointer::of(logits)?, Pointer::of(&targets)?);
    gpu.launch(kernel, grid(b), arguments![x, y, losses.pointer()?, b, k, label_smoothing])?;
    let losses = losses.into_storage();
    Tensor::record("cross_entropy", &[logits], &[], losses, b, move |Pass { inputs: [logits], dy, .. }| {
        let gpu = device_of(dy)?;
        let grad = gpu.empty(DType::F32, b * k)?;
        let (x, y, dy) = (Pointer::of(logits)?, Pointer::of(&targets)?, Pointer::of(dy)?);
        let arguments = arguments![x, y, dy, grad.pointer()?, b, k, label_smoothing];
        gpu.launch(gradient, grid(b), arguments)?;
        Ok([Some(grad.into_tensor((b, k)))])
    })
}

/// [`last_layer_norms`](crate::last_layer_norms) of logits `[b, k]` and features `[b, c]`.
pub(crate) fn last_layer_norms(
    gpu: &Gpu,
    logits: &Tensor,
    targets: &Tensor,
    smoothing: f64,
    features: &Tensor,
    has_bias: bool,
) -> Result<Tensor> {
    if logits.dtype() != DType::F32 || features.dtype() != DType::F32 {
        bail!(
            "last_layer_norms: logits and features on a GPU are f32, not {:?}, {:?}",
            logits.dtype(),
            features.dtype()
        );
    }
    if targets.rank() == 2 {
        bail!("last_layer_norms: targets that are distributions are for the CPU; expected classes on a GPU");
    }
    let ((b, k), c) = (logits.dims2()?, features.dims2()?.1);
    let (norms, targets) = (gpu.empty(DType::F64, b)?, targets.detach().contiguous()?);
    let from = [Pointer::of(logits)?, Pointer::of(&targets)?, Pointer::of(features)?];
    let arguments = arguments![from[0], from[1], from[2], norms.pointer()?, b, k, c, smoothing, has_bias];
    gpu.launch("last_layer_norms", grid(b), arguments)?;
    Ok(norms.into_tensor(b))
}

/// [`weighted_sum`](crate::weighted_sum), whose shapes are checked.
pub(crate) fn weighted_sum(gpu: &Gpu, losses: &Tensor, weights: Option<Tensor>) -> Result<Tensor> {
    if losses.dtype() != DType::F32 {
        bail!("weighted_sum: losses on a GPU are f32, not {:?}", losses.dtype());
    }
    let (b, sum) = (losses.elem_count(), gpu.empty(DType::F32, 1)?);
    let from = [Pointer::of(losses)?, Pointer::of_optional(weights.as_ref())?];
    gpu.launch("weighted_sum", Grid::of(1), arguments![from[0], from[1], sum.pointer()?, b])?;
    Tensor::record("weighted_sum", &[losses], &[], sum.into_storage(), (), move |Pass { dy, .. }: Pass<1>| {
        let gpu = device_of(dy)?;
        let grad = gpu.empty(DType::F32, b)?;
        let arguments = arguments![Pointer::of_optional(weights.as_ref())?, Pointer::of(dy)?, grad.pointer()?, b];
        gpu.launch("weighted_sum_gradient", Grid::of(b.div_ceil(256)), arguments)?;
        Ok([Some(grad.into_tensor(b))])
    })
}

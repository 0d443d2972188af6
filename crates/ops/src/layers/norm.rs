//! Normalisations; batch and group normalisation with a fused epilogue: y = relu?(norm(x) + residual?).

use super::{Epilogue, RunningStats, is_over_processes, same_dtype};
use crate::dispatch::on_device;
use crate::graph::{Activation, Recorded};
use candle_core::{Result, Tensor, bail};

/// relu?((x − μ) / √(σ² + eps) · weight + bias + residual?) per channel of `x` `[b, h, w, c]` (or `[b, .., c]`), as
/// PyTorch's `batch_norm`; `weight` and `bias` are `[c]`.
///
/// In training μ and σ² are the mean and the biased variance over everything but the channels, and the running
/// statistics move towards μ and the *unbiased* variance (also inside [`no_grad`](crate::no_grad), never in a
/// backward). In evaluation they are the running statistics, constants to the gradient.
///
/// Several processes have the statistics of all their batches inside of
/// [`batch_statistics_over`](crate::batch_statistics_over).
///
/// `Err` if shapes or element types do not fit, or for a single value per channel in training, which has no variance.
pub fn batch_norm<X: Activation>(
    activation: &X,
    weight: &Tensor,
    bias: &Tensor,
    stats: &RunningStats,
    train: bool,
    eps: f64,
    epilogue: Epilogue<X>,
) -> Result<X> {
    let c = check("batch_norm", activation, weight, bias, &epilogue)?;
    for (name, tensor) in [("running mean", stats.mean), ("running variance", stats.var)] {
        if tensor.dims() != [c] {
            bail!("batch_norm: x {:?} needs a {name} [{c}], got {:?}", activation.values().dims(), tensor.dims());
        }
    }
    let activation = &activation.input()?;
    let x = activation.values();
    if train && is_over_processes() && !x.device().is_cpu() {
        bail!("batch_norm: statistics over several processes are for the CPU, and x is on {:?}", x.device());
    }
    if train && x.elem_count() == c && !is_over_processes() {
        bail!("batch_norm: expected more than 1 value per channel when training, got x {:?}", x.dims());
    }
    on_device!(x, X::batch_norm(activation, (weight, bias), stats, train, eps, epilogue))
}

/// relu?((x − μ) / √(σ² + eps) · weight + bias + residual?), μ and σ² (biased) over each sample's group of channels
/// and all its positions; `x` is `[b, h, w, c]` (or `[b, .., c]`), `weight` and `bias` `[c]`. As PyTorch's
/// `group_norm`.
///
/// `Err` if shapes or element types do not fit or `groups` does not divide the channels.
pub fn group_norm<X: Activation>(
    activation: &X,
    groups: usize,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
    epilogue: Epilogue<X>,
) -> Result<X> {
    let c = check("group_norm", activation, weight, bias, &epilogue)?;
    if groups == 0 || !c.is_multiple_of(groups) {
        bail!("group_norm: {groups} groups do not divide the {c} channels of x {:?}", activation.values().dims());
    }
    let activation = &activation.input()?;
    on_device!(activation.values(), X::group_norm(activation, groups, (weight, bias), eps, epilogue))
}

/// (x − μ) / √(σ² + eps) · weight + bias, μ and σ² (biased) over the last dimension of `x` `[.., c]`; `weight` and
/// `bias` are `[c]`. As PyTorch's `layer_norm` (Ba, Kiros, Hinton 2016, <https://arxiv.org/abs/1607.06450>).
///
/// Sums are in f64. `Err` if the shapes or element types do not fit.
pub fn layer_norm<X: Activation>(x: &X, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<X> {
    let dims = x.values().dims();
    let Some(&c) = dims.last().filter(|c| **c > 0) else {
        bail!("layer_norm: expected x [.., c] with c of at least 1, got {dims:?}")
    };
    for (name, tensor) in [("weight", weight), ("bias", bias)] {
        if tensor.dims() != [c] {
            bail!("layer_norm: x {dims:?} needs a {name} [{c}], got {:?}", tensor.dims());
        }
    }
    same_dtype("layer_norm", &[weight, bias])?;
    let (x, weight, bias) = (&x.input()?, &weight.input()?, &bias.input()?);
    on_device!(x.values(), X::layer_norm(x, (weight, bias), eps))
}

/// Checks the shapes that batch and group normalisation share; returns the number of channels.
fn check<X: Activation>(op: &str, x: &X, weight: &Tensor, bias: &Tensor, epilogue: &Epilogue<X>) -> Result<usize> {
    let x = x.values();
    let Some(&c) = x.dims().last().filter(|_| x.rank() >= 2) else {
        bail!("{op}: expected x [b, .., c], got {:?}", x.dims())
    };
    if x.elem_count() == 0 {
        bail!("{op}: x {:?} has no elements", x.dims());
    }
    for (name, tensor) in [("weight", weight), ("bias", bias)] {
        if tensor.dims() != [c] {
            bail!("{op}: x {:?} needs a {name} [{c}], got {:?}", x.dims(), tensor.dims());
        }
    }
    same_dtype(op, &[weight, bias])?;
    if !x.device().is_cuda() {
        same_dtype(op, &[x, weight])?; // on a GPU, activations may be shorter than parameters
    }
    if let Some(residual) = epilogue.residual {
        let residual = residual.values();
        if residual.dims() != x.dims() {
            bail!("{op}: x {:?} and residual {:?} differ in shape", x.dims(), residual.dims());
        }
        same_dtype(op, &[x, residual])?;
    }
    Ok(c)
}

//! Cross-entropy of each sample, accurate relative to the loss itself.

use crate::dispatch::on_device;
use crate::graph::Recorded;
use crate::per_sample::last_layer::note_cross_entropy;
use candle_core::{DType, Result, Tensor, bail};

/// (1 − s) · (−log p_y) + s · mean_j(−log p_j) of each sample, p = softmax(logits): `[b]`, not averaged.
///
/// `logits` `[b, k]`, `targets` u32 `[b]` below k, `s` = `label_smoothing` in [0, 1] as PyTorch defines it.
///
/// `targets` `[b, k]` of the logits' element type are a distribution over the classes for each sample, as Mixup makes
/// them: Σ_j (−log p_j) t'_j with t' = (1 − s) t + s/k.
///
/// The arithmetic is f64. −log p_y is log1p(Σ_{j≠y} exp(x_j − x_y)) where x_y is the largest logit, so that a loss of
/// 1e-8 keeps as many digits as a loss of 1: finite differences of nearly memorised samples depend on them. The
/// gradient is accurate relative to itself, too: its entry of the target is expm1(−loss), not a difference of
/// near-equal numbers.
///
/// `Err` if shapes or element types do not fit, a target is not a class, or a row of `targets` is no distribution. On a
/// GPU the loss of such a sample is NaN instead, since a check would need a host-device synchronisation.
pub fn cross_entropy(logits: &Tensor, targets: &Tensor, label_smoothing: f64) -> Result<Tensor> {
    let (shapes, types) = ((logits.dims(), targets.dims()), (logits.dtype(), targets.dtype()));
    let (&[b, k], true) = (logits.dims(), targets.dims() == [shapes.0[0]] || shapes.0 == shapes.1) else {
        bail!("cross_entropy: expected logits [b, k] and targets [b] or [b, k], got {:?} and {:?}", shapes.0, shapes.1)
    };
    let is_distribution = targets.rank() == 2;
    if is_distribution && types.0 != types.1 {
        bail!("cross_entropy: expected targets [b, k] of the logits' type, {:?}, got {:?}", types.0, types.1);
    }
    if !is_distribution && types.1 != DType::U32 {
        bail!("cross_entropy: expected u32 targets, got {:?}", types.1);
    }
    if !(0.0..=1.0).contains(&label_smoothing) {
        bail!("cross_entropy: expected a label smoothing in [0, 1], got {label_smoothing}");
    }
    let input = &logits.input()?;
    let losses = match is_distribution {
        true => on_device!(input, cross_entropy_of_distributions(input, targets, label_smoothing, [b, k]))?,
        false => on_device!(input, cross_entropy(input, targets, label_smoothing, [b, k]))?,
    };
    note_cross_entropy(&losses, logits, targets, label_smoothing);
    Ok(losses)
}

/// (1 − s) t + s/k
pub(crate) fn smoothed(targets: &Tensor, s: f64) -> Result<Tensor> {
    targets.detach().affine(1. - s, s / targets.dim(1)?.max(1) as f64)?.contiguous()
}

//! Cross-entropy of each sample, accurate relative to the loss itself.

use crate::dispatch::on_device;
use crate::graph::Recorded;
use crate::per_sample::last_layer::note_cross_entropy;
use candle_core::{DType, Result, Tensor, bail};

/// (1 − s) · (−log p_y) + s · mean_j(−log p_j) of each sample, p = softmax(logits): `[b]`, not averaged.
///
/// `logits` `[b, k]`, `targets` u32 `[b]` below k, `s` = `label_smoothing` in [0, 1] as PyTorch defines it.
///
/// The arithmetic is f64. −log p_y is log1p(Σ_{j≠y} exp(x_j − x_y)) where x_y is the largest logit, so that a loss of
/// 1e-8 keeps as many digits as a loss of 1: finite differences of nearly memorised samples depend on them. The
/// gradient is accurate relative to itself, too: its entry of the target is expm1(−loss), not a difference of
/// near-equal numbers.
///
/// `Err` if shapes or element types do not fit, or a target is not a class. On a GPU the loss of such a sample is NaN
/// instead, since a check would need a host-device synchronisation.
pub fn cross_entropy(logits: &Tensor, targets: &Tensor, label_smoothing: f64) -> Result<Tensor> {
    let (&[b, k], true) = (logits.dims(), targets.dims() == [logits.dims()[0]]) else {
        bail!("cross_entropy: expected logits [b, k] and targets [b], got {:?} and {:?}", logits.dims(), targets.dims())
    };
    if targets.dtype() != DType::U32 {
        bail!("cross_entropy: expected u32 targets, got {:?}", targets.dtype());
    }
    if !(0.0..=1.0).contains(&label_smoothing) {
        bail!("cross_entropy: expected a label smoothing in [0, 1], got {label_smoothing}");
    }
    let input = &logits.input()?;
    let losses = on_device!(input, cross_entropy(input, targets, label_smoothing, [b, k]))?;
    note_cross_entropy(&losses, logits, targets, label_smoothing);
    Ok(losses)
}

//! Cross-entropy of each sample, accurate relative to the loss itself.

use crate::float::{Float, with_float, with_slice};
use crate::last_layer::saw_cross_entropy;
use crate::node::{Pass, Recorded, constant, on_cpu};
use crate::parallel::{build, rows_per_chunk};
use candle_core::{DType, Result, Tensor, bail};

/// (1 − s) · (−log p_y) + s · mean_j(−log p_j) of each sample, p = softmax(logits): `[b]`, not averaged.
///
/// `logits` `[b, k]`, `targets` u32 `[b]` below k, `s` = `label_smoothing` in [0, 1] as PyTorch defines it.
///
/// Inside it is f64. −log p_y is log1p(Σ_{j≠y} exp(x_j − x_y)) where y leads, so that a loss of 1e-8 keeps as many
/// digits as a loss of 1: probes of nearly memorised samples depend on them. The gradient, too, is relative to itself:
/// its entry of the target is expm1(−loss), not a difference of near-equal numbers.
///
/// `Err` if shapes or element types do not fit, or a target is not a class; on a GPU such a sample's loss is NaN
/// instead, since to look would be to wait.
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
    let losses = each(logits, targets, label_smoothing, b, k)?;
    saw_cross_entropy(&losses, logits, targets, label_smoothing);
    Ok(losses)
}

fn each(logits: &Tensor, targets: &Tensor, label_smoothing: f64, b: usize, k: usize) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if let Some(gpu) = crate::cuda::Gpu::of(logits)? {
        return crate::cuda::loss::cross_entropy(&gpu, logits, targets, label_smoothing);
    }
    let targets = targets.to_vec1::<u32>()?;
    if let Some((i, target)) = targets.iter().enumerate().find(|(_, target)| **target as usize >= k) {
        bail!("cross_entropy: target {target} of sample {i} is not below the number of classes, {k}");
    }
    let logits = &logits.input()?;
    let rows = rows_per_chunk(k);
    with_float!("cross_entropy", logits, T => {
        let losses = with_slice::<T, _>(logits, |x| {
            // SAFETY: a chunk of `out` is as long as its part of `targets`, so the zip writes all of it.
            Ok(unsafe {
                build(b, rows, |i, out| {
                    let samples = targets[i * rows..].iter().zip(x[i * rows * k..].chunks_exact(k));
                    for (out, (target, x)) in out.iter_mut().zip(samples) {
                        out.write(T::narrow(loss(x, *target as usize, label_smoothing)));
                    }
                })
            })
        })?;
        Tensor::record("cross_entropy", &[logits], &[], on_cpu(losses), b, move |Pass { inputs: [logits], dy: dlosses, .. }| {
            let grad = with_slice::<T, _>(logits, |x| with_slice::<T, _>(dlosses, |dlosses| {
                // SAFETY: `out` is whole rows of k, and `gradient` writes each.
                Ok(unsafe {
                    build(b * k, rows * k, |i, out| {
                        let samples = targets[i * rows..].iter().zip(&dlosses[i * rows..]);
                        let samples = samples.zip(x[i * rows * k..].chunks_exact(k));
                        for (out, ((target, dloss), x)) in out.chunks_exact_mut(k).zip(samples) {
                            gradient(x, *target as usize, label_smoothing, dloss.wide(), |j, value| {
                                out[j].write(T::narrow(value));
                            });
                        }
                    })
                })
            }))?;
            Ok([Some(constant(grad, (b, k))?)])
        })
    })
}

/// −log p_y of one sample.
fn nll<T: Float>(x: &[T], y: usize) -> f64 {
    let top = x.iter().fold(f64::NEG_INFINITY, |top, x| top.max(x.wide()));
    let x_y = x[y].wide();
    if x_y == top {
        let others = x.iter().enumerate().filter(|(j, _)| *j != y);
        others.map(|(_, x)| (x.wide() - x_y).exp()).sum::<f64>().ln_1p()
    } else {
        (top - x_y) + x.iter().map(|x| (x.wide() - top).exp()).sum::<f64>().ln()
    }
}

fn loss<T: Float>(x: &[T], y: usize, smoothing: f64) -> f64 {
    let nll = nll(x, y);
    if smoothing == 0.0 {
        return nll;
    }
    // mean_j(−log p_j) = −log p_y + mean_j(x_y − x_j)
    let margin = x.iter().map(|x_j| x[y].wide() - x_j.wide()).sum::<f64>() / x.len() as f64;
    nll + smoothing * margin
}

/// Calls `write(j, dloss · ∂loss/∂x_j)` for every class.
pub(crate) fn gradient<T: Float>(x: &[T], y: usize, smoothing: f64, dloss: f64, mut write: impl FnMut(usize, f64)) {
    let nll = nll(x, y);
    let share = smoothing / x.len() as f64;
    for (j, x_j) in x.iter().enumerate() {
        let p = if j == y { (-nll).exp_m1() + smoothing } else { (x_j.wide() - x[y].wide() - nll).exp() };
        write(j, dloss * (p - share));
    }
}

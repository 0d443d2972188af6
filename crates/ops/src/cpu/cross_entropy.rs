//! Losses of samples, and the part of their gradients that belongs to the last layer.

use super::float::{Float, constant, on_cpu, with_float, with_slice};
use super::parallel::{build, rows_per_chunk};
use crate::graph::{Pass, Recorded};
use crate::layers::smoothed;
use candle_core::{Device, Result, Tensor, bail};

/// [`cross_entropy`](crate::cross_entropy) of logits `[b, k]`.
pub(crate) fn cross_entropy(
    logits: &Tensor,
    targets: &Tensor,
    label_smoothing: f64,
    [b, k]: [usize; 2],
) -> Result<Tensor> {
    let targets = targets.to_vec1::<u32>()?;
    if let Some((i, target)) = targets.iter().enumerate().find(|(_, target)| **target as usize >= k) {
        bail!("cross_entropy: target {target} of sample {i} is not below the number of classes, {k}");
    }
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

/// [`cross_entropy`](crate::cross_entropy) of logits `[b, k]` against distributions `[b, k]` of the same type.
pub(crate) fn cross_entropy_of_distributions(
    logits: &Tensor,
    targets: &Tensor,
    label_smoothing: f64,
    [b, k]: [usize; 2],
) -> Result<Tensor> {
    let (targets, rows) = (smoothed(targets, label_smoothing)?, rows_per_chunk(k));
    with_float!("cross_entropy", logits, T => {
        let losses = with_slice::<T, _>(logits, |x| with_slice::<T, _>(&targets, |t| {
            check_distributions(t, k)?;
            // SAFETY: a chunk of `out` is as long as its rows of `x` and `t`, so the zip writes all of it.
            Ok(unsafe {
                build(b, rows, |i, out| {
                    let samples = x[i * rows * k..].chunks_exact(k).zip(t[i * rows * k..].chunks_exact(k));
                    for (out, (x, t)) in out.iter_mut().zip(samples) {
                        out.write(T::narrow(loss_against(x, t)));
                    }
                })
            })
        }))?;
        Tensor::record("cross_entropy", &[logits], &[], on_cpu(losses), b, move |Pass { inputs: [logits], dy: dlosses, .. }| {
            let grad = with_slice::<T, _>(logits, |x| with_slice::<T, _>(&targets, |t| with_slice::<T, _>(dlosses, |dlosses| {
                // SAFETY: `out` is whole rows of k, and `gradient_against` writes each.
                Ok(unsafe {
                    build(b * k, rows * k, |i, out| {
                        let samples = x[i * rows * k..].chunks_exact(k).zip(t[i * rows * k..].chunks_exact(k));
                        for (out, ((x, t), dloss)) in out.chunks_exact_mut(k).zip(samples.zip(&dlosses[i * rows..])) {
                            gradient_against(x, t, |j, value| {
                                out[j].write(T::narrow(dloss.wide() * value));
                            });
                        }
                    })
                })
            })))?;
            Ok([Some(constant(grad, (b, k))?)])
        })
    })
}

/// Shares of at least 0 with the sum 1, up to rounding.
fn check_distributions<T: Float>(t: &[T], k: usize) -> Result<()> {
    for (i, t) in t.chunks_exact(k.max(1)).enumerate() {
        let sum: f64 = t.iter().map(|t| t.wide()).sum();
        if !((sum - 1.).abs() < 1e-3 && t.iter().all(|t| t.wide() >= 0.)) {
            bail!(
                "cross_entropy: the target of sample {i} has the sum {sum}; expected shares of at least 0 with the sum 1"
            );
        }
    }
    Ok(())
}

/// log Σ_j exp x_j
fn log_sum<T: Float>(x: &[T]) -> f64 {
    let top = x.iter().fold(f64::NEG_INFINITY, |top, x| top.max(x.wide()));
    top + x.iter().map(|x| (x.wide() - top).exp()).sum::<f64>().ln()
}

/// Σ_j t_j (−log p_j) of one sample.
fn loss_against<T: Float>(x: &[T], t: &[T]) -> f64 {
    let log_sum = log_sum(x);
    x.iter().zip(t).map(|(x, t)| t.wide() * (log_sum - x.wide())).sum()
}

/// Calls `write(j, p_j Σt − t_j)` for every class: the derivative of [`loss_against`] by x_j.
fn gradient_against<T: Float>(x: &[T], t: &[T], mut write: impl FnMut(usize, f64)) {
    let (log_sum, sum) = (log_sum(x), t.iter().map(|t| t.wide()).sum::<f64>());
    for (j, (x, t)) in x.iter().zip(t).enumerate() {
        write(j, (x.wide() - log_sum).exp() * sum - t.wide());
    }
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
fn gradient<T: Float>(x: &[T], y: usize, smoothing: f64, dloss: f64, mut write: impl FnMut(usize, f64)) {
    let nll = nll(x, y);
    let share = smoothing / x.len() as f64;
    for (j, x_j) in x.iter().enumerate() {
        let p = if j == y { (-nll).exp_m1() + smoothing } else { (x_j.wide() - x[y].wide() - nll).exp() };
        write(j, dloss * (p - share));
    }
}

/// [`last_layer_norms`](crate::last_layer_norms) of logits `[b, k]` and features `[b, c]`; targets as `cross_entropy`
/// takes them.
pub(crate) fn last_layer_norms(
    logits: &Tensor,
    targets: &Tensor,
    smoothing: f64,
    features: &Tensor,
    has_bias: bool,
) -> Result<Tensor> {
    let (b, k) = logits.dims2()?;
    let lengths = with_float!("last_layer_norms", features, T => with_slice::<T, _>(features, |h| {
        let square = |h: &[T]| h.iter().map(|h| h.wide().powi(2)).sum::<f64>();
        Ok(h.chunks_exact(h.len() / b).map(|h| square(h) + f64::from(u8::from(has_bias))).collect::<Vec<f64>>())
    }))?;
    // ‖p − t‖² of every sample.
    let squares: Vec<f64> = with_float!("last_layer_norms", logits, T => with_slice::<T, _>(logits, |x| {
        if targets.rank() == 2 {
            return with_slice::<T, _>(&smoothed(targets, smoothing)?, |t| {
                let one = |(x, t): (&[T], &[T])| {
                    let mut square = 0.;
                    gradient_against(x, t, |_, g| square += g * g);
                    square
                };
                Ok(x.chunks_exact(k).zip(t.chunks_exact(k)).map(one).collect())
            });
        }
        let one = |(x, y): (&[T], u32)| {
            let mut square = 0.;
            gradient(x, y as usize, smoothing, 1., |_, g| square += g * g);
            square
        };
        Ok(x.chunks_exact(k).zip(targets.to_vec1::<u32>()?).map(one).collect())
    }))?;
    let norms: Vec<f64> = squares.iter().zip(&lengths).map(|(square, length)| (square * length).sqrt()).collect();
    Tensor::from_vec(norms, b, &Device::Cpu)
}

//! Batch normalisation with running statistics.

use super::spans::{Moments, Spans};
use super::{Epilogue, Normalised, check, named, record};
use crate::float::{Float, with_float, with_slice};
use crate::ghost::samples_are_coupled;
use crate::node::{Activation, constant};
use crate::profile::timed;
use candle_core::{Device, Result, Tensor, Var, bail};

/// The running statistics of a batch normalisation; read in evaluation, updated by a forward in training.
#[derive(Clone, Copy, Debug)]
pub struct RunningStats<'a> {
    /// Mean of each channel, `[c]`.
    pub mean: &'a Var,
    /// Unbiased variance of each channel, `[c]`.
    pub var: &'a Var,
    /// Number of batches seen, i64 `[]`, if it is counted.
    pub batches: Option<&'a Var>,
    /// Weight of the new batch: running = (1 − momentum) running + momentum batch. PyTorch's default is 0.1.
    pub momentum: f64,
}

/// relu?((x − μ) / √(σ² + eps) · weight + bias + residual?) per channel of `x` `[b, h, w, c]` (or `[b, .., c]`), as
/// PyTorch's `batch_norm`; `weight` and `bias` are `[c]`.
///
/// In training μ and σ² are the mean and the biased variance over everything but the channels, and the running
/// statistics move towards μ and the *unbiased* variance (also inside [`no_grad`](crate::no_grad), never in a
/// backward). In evaluation they are the running statistics, constants to the gradient.
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
    #[cfg(feature = "cuda")]
    if let Some(gpu) = crate::cuda::Gpu::of(x)? {
        if train && x.elem_count() == c {
            bail!("batch_norm: expected more than 1 value per channel when training, got x {:?}", x.dims());
        }
        return crate::cuda::batch_norm(&gpu, activation, (weight, bias), stats, train, eps, epilogue);
    }
    let spans = Spans { spans: 1, rows: x.elem_count() / c.max(1), c };
    with_float!("batch_norm", x, T => {
        let n = spans.rows as f64;
        let (mean, var) = if train {
            if spans.rows < 2 {
                bail!("batch_norm: expected more than 1 value per channel when training, got x {:?}", x.dims());
            }
            samples_are_coupled();
            let batches = stats.batches.map(|batches| batches.to_scalar::<i64>()).transpose()?;
            let Moments { mean, var } = timed(|| named("moments", x.dims()), || with_slice::<T, _>(x, |x| Ok(spans.moments(x))))?;
            update(stats.mean, &mean, stats.momentum)?;
            update(stats.var, &var.iter().map(|var| var * n / (n - 1.0)).collect::<Vec<_>>(), stats.momentum)?;
            if let (Some(var), Some(batches)) = (stats.batches, batches) {
                var.set(&Tensor::new(batches + 1, &Device::Cpu)?)?;
            }
            (mean, var)
        } else {
            (values(stats.mean)?, values(stats.var)?)
        };
        let rstd = var.iter().map(|var| 1.0 / (var + eps).sqrt()).collect();
        record::<T, X>("batch_norm", activation, (weight, bias), Normalised { spans, mean, rstd }, epilogue, Box::new(
            move |sums: &[Vec<f64>], weight: &[f64]| {
                // In evaluation the statistics are constants: nothing flows through them.
                let scale = if train { 1.0 / n } else { 0.0 };
                let terms = |offset: usize| (0..c).map(|j| weight[j] * sums[0][offset + j] * scale).collect();
                (terms(0), terms(c))
            },
        ))
    })
}

/// The elements of a variable as f64.
fn values(var: &Var) -> Result<Vec<f64>> {
    fn wide<T: Float>(var: &Tensor) -> Result<Vec<f64>> {
        with_slice::<T, _>(var, |values| Ok(values.iter().map(|value| value.wide()).collect()))
    }
    with_float!("batch_norm", var, T => wide::<T>(&var.as_detached_tensor().contiguous()?))
}

/// running = (1 − momentum) running + momentum batch.
fn update(running: &Var, batch: &[f64], momentum: f64) -> Result<()> {
    let mixed = values(running)?.into_iter().zip(batch).map(|(old, new)| (1.0 - momentum) * old + momentum * new);
    let mixed = with_float!("batch_norm", running, T => constant(mixed.map(T::narrow).collect(), running.shape())?);
    running.set(&mixed)
}

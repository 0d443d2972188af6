//! Batch normalisation with running statistics.

use super::spans::{Moments, Spans};
use super::{Normalised, named, record};
use crate::cpu::float::{Float, constant, with_float, with_slice};
use crate::graph::Activation;
use crate::layers::{Epilogue, RunningStats};
use crate::per_sample::ghost::samples_are_coupled;
use crate::profile::timed;
use candle_core::{Device, Result, Tensor, Var};

/// [`batch_norm`](crate::batch_norm), whose shapes are checked.
pub(crate) fn batch_norm<X: Activation>(
    activation: &X,
    (weight, bias): (&Tensor, &Tensor),
    stats: &RunningStats,
    train: bool,
    eps: f64,
    epilogue: Epilogue<X>,
) -> Result<X> {
    let (x, c) = (activation.values(), weight.elem_count());
    let spans = Spans { spans: 1, rows: x.elem_count() / c.max(1), c };
    with_float!("batch_norm", x, T => {
        let n = spans.rows as f64;
        let (mean, var) = if train {
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

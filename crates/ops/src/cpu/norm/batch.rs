//! Batch normalisation with running statistics.

use super::spans::{Moments, Spans};
use super::{Normalised, named, record};
use crate::cpu::float::{Float, constant, with_float, with_slice};
use crate::graph::Activation;
use crate::layers::{Epilogue, RunningStats, is_over_processes, over_processes};
use crate::per_sample::groups::Groups;
use crate::per_sample::recorder::{micro_batch_size, samples_are_coupled};
use crate::profile::timed;
use candle_core::{Device, Result, Tensor, Var, bail};

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
    let (b, rows) = (x.dims()[0], x.elem_count() / c.max(1));
    // What is normalised together: all rows, one span, and those of other processes where they share their statistics;
    // or each micro-batch, a span being a sample of it.
    let (spans, groups) = match micro_batch_size() {
        None => (Spans { spans: 1, rows, c }, Groups { samples: 1, size: 1 }),
        Some(size) => (Spans { spans: b, rows: rows / b, c }, Groups { samples: b, size }),
    };
    let is_shared = train && is_over_processes() && micro_batch_size().is_none();
    with_float!("batch_norm", x, T => {
        let mut counts: Vec<f64> = groups.all().map(|group| (group.len() * spans.rows) as f64).collect();
        let (mean, var) = if train {
            if is_shared || groups.samples == 1 && b > 1 {
                samples_are_coupled();
            }
            let batches = stats.batches.map(|batches| batches.to_scalar::<i64>()).transpose()?;
            let moments = timed(|| named("moments", x.dims()), || with_slice::<T, _>(x, |x| Ok(spans.moments(x))))?;
            let of_groups = if is_shared {
                let (moments, count) = moments_of_processes(&moments, counts[0])?;
                counts = vec![count];
                vec![moments]
            } else {
                moments_of_groups(&moments, groups, c)
            };
            for (moments, n) in of_groups.iter().zip(&counts) {
                if *n == 1. {
                    bail!("batch_norm: expected more than 1 value per channel when training, got a micro-batch of 1 sample of x {:?}", x.dims());
                }
                update(stats.mean, &moments.mean, stats.momentum)?;
                update(stats.var, &moments.var.iter().map(|var| var * n / (n - 1.0)).collect::<Vec<_>>(), stats.momentum)?;
            }
            if let (Some(var), Some(batches)) = (stats.batches, batches) {
                var.set(&Tensor::new(batches + groups.count() as i64, &Device::Cpu)?)?;
            }
            let of_spans = |f: fn(&Moments) -> &Vec<f64>| for_spans(&of_groups.iter().map(f).collect::<Vec<_>>(), groups);
            (of_spans(|moments| &moments.mean), of_spans(|moments| &moments.var))
        } else {
            (values(stats.mean)?.repeat(spans.spans), values(stats.var)?.repeat(spans.spans))
        };
        let rstd = var.iter().map(|var| 1.0 / (var + eps).sqrt()).collect();
        record::<T, X>("batch_norm", activation, (weight, bias), Normalised { spans, mean, rstd }, epilogue, Box::new(
            move |sums: &[Vec<f64>], weight: &[f64]| {
                let of_all = is_shared.then(|| sum_over_processes(&sums[0])).transpose()?;
                let sums = of_all.as_ref().map_or(sums, std::slice::from_ref);
                let terms = |offset: usize| {
                    let mean = |(group, n): (std::ops::Range<usize>, &f64)| -> Vec<f64> {
                        // In evaluation the statistics are constants: nothing flows through them.
                        let scale = if train { 1.0 / n } else { 0.0 };
                        let channel = |j: usize| group.clone().map(|i| weight[i * c + j] * sums[i][offset + j]).sum::<f64>();
                        (0..c).map(|j| channel(j) * scale).collect()
                    };
                    for_spans(&groups.all().zip(&counts).map(mean).collect::<Vec<_>>(), groups)
                };
                Ok((terms(0), terms(c)))
            },
        ))
    })
}

/// The moments of each group of spans: their means' mean, and their variances' mean plus the variance between them.
fn moments_of_groups(Moments { mean, var }: &Moments, groups: Groups, c: usize) -> Vec<Moments> {
    let of_group = |group: std::ops::Range<usize>| {
        let over = |j: usize, f: &dyn Fn(usize) -> f64| {
            group.clone().map(|span| f(span * c + j)).sum::<f64>() / group.len() as f64
        };
        let centre: Vec<f64> = (0..c).map(|j| over(j, &|i| mean[i])).collect();
        let var = (0..c).map(|j| over(j, &|i| var[i] + (mean[i] - centre[j]).powi(2))).collect();
        Moments { mean: centre, var }
    };
    groups.all().map(of_group).collect()
}

/// The moments over the values of all processes, `count` of which are this one's, and how many they are: the means'
/// mean, and the variances' mean plus the variance between them, weighted by the values of each.
fn moments_of_processes(Moments { mean, var }: &Moments, count: f64) -> Result<(Moments, f64)> {
    let (c, all) = (mean.len(), over_processes("batch_norm", &[&[count][..], mean, var].concat())?);
    let n: f64 = all.iter().map(|one| one[0]).sum();
    let over = |f: &dyn Fn(&[f64]) -> f64| all.iter().map(|one| one[0] * f(one)).sum::<f64>() / n;
    let centre: Vec<f64> = (0..c).map(|j| over(&|one| one[1 + j])).collect();
    let var = (0..c).map(|j| over(&|one| one[1 + c + j] + (one[1 + j] - centre[j]).powi(2))).collect();
    Ok((Moments { mean: centre, var }, n))
}

/// The sums of all processes, added up in their order.
fn sum_over_processes(mine: &[f64]) -> Result<Vec<f64>> {
    let all = over_processes("batch_norm", mine)?;
    Ok((0..mine.len()).map(|j| all.iter().map(|one| one[j]).sum()).collect())
}

/// What each group has, for each of its spans: `[spans, c]`.
fn for_spans<R: AsRef<[f64]>>(of_groups: &[R], groups: Groups) -> Vec<f64> {
    groups.all().zip(of_groups).flat_map(|(group, values)| values.as_ref().repeat(group.len())).collect()
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

//! Group normalisation: the statistics of each sample alone.

use super::spans::{Moments, Spans};
use super::{Normalised, named, record};
use crate::cpu::float::{with_float, with_slice};
use crate::graph::Activation;
use crate::layers::Epilogue;
use crate::profile::timed;
use candle_core::{Result, Tensor};

/// [`group_norm`](crate::group_norm), whose shapes are checked.
pub(crate) fn group_norm<X: Activation>(
    activation: &X,
    groups: usize,
    (weight, bias): (&Tensor, &Tensor),
    eps: f64,
    epilogue: Epilogue<X>,
) -> Result<X> {
    let (x, c) = (activation.values(), weight.elem_count());
    let batch = x.dims()[0];
    let spans = Spans { spans: batch, rows: x.elem_count() / (batch * c).max(1), c };
    let size = c / groups; // channels of a group
    with_float!("group_norm", x, T => {
        let moments = || with_slice::<T, _>(x, |x| Ok(spans.moments(x)));
        let Moments { mean, var } = timed(|| named("moments", x.dims()), moments)?;
        // All channels of a group have as many values, so the group's mean is the mean of theirs, and its variance
        // the mean of theirs plus the variance between them.
        let group_mean = per_group(&mean, size);
        let spread: Vec<f64> =
            mean.iter().zip(&var).zip(&group_mean).map(|((m, v), group)| v + (m - group).powi(2)).collect();
        let rstd = per_group(&spread, size).iter().map(|var| 1.0 / (var + eps).sqrt()).collect();
        let rows = spans.rows as f64;
        let normalised = Normalised { spans, mean: group_mean, rstd };
        record::<T, X>("group_norm", activation, (weight, bias), normalised, epilogue, Box::new(
            move |sums: &[Vec<f64>], weight: &[f64]| {
                let terms = |offset: usize| {
                    let all: Vec<f64> = sums
                        .iter()
                        .zip(weight.chunks_exact(c))
                        .flat_map(|(sums, weight)| (0..c).map(move |j| weight[j] * sums[offset + j] / rows))
                        .collect();
                    per_group(&all, size)
                };
                Ok((terms(0), terms(c)))
            },
        ))
    })
}

/// Every run of `size` values replaced by its mean.
fn per_group(values: &[f64], size: usize) -> Vec<f64> {
    values
        .chunks_exact(size)
        .flat_map(|group| {
            let mean = group.iter().sum::<f64>() / size as f64;
            std::iter::repeat_n(mean, size)
        })
        .collect()
}

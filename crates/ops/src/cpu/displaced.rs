//! Parameters that are displaced for each micro-batch, and sums of the micro-batches' gradients.

use super::conv;
use super::float::{Float, constant, with_float, with_slice};
use crate::per_sample::groups::Groups;
use crate::per_sample::micro::Displacement;
use crate::per_sample::recorder::Gradients;
use candle_core::{Result, Tensor, bail};
use std::borrow::Cow;

/// The values of a parameter: the same for all samples, or displaced for each micro-batch.
pub(super) struct Values<'a, T: Clone> {
    all: Cow<'a, [T]>,
    len: usize,
    /// Rows that share them.
    rows: usize,
}

impl<'a, T: Float> Values<'a, T> {
    /// The same for all.
    pub(super) fn plain(param: &'a [T]) -> Self {
        Self { all: Cow::Borrowed(param), len: param.len(), rows: usize::MAX }
    }

    /// Those of a parameter of `op` for a batch of so many samples, of so many rows each.
    pub(super) fn of(
        op: &str,
        param: &'a [T],
        displaced: Option<&Displacement>,
        (samples, rows): (usize, usize),
    ) -> Result<Self> {
        let Some(displaced) = displaced else { return Ok(Self::plain(param)) };
        let groups = displaced.groups_of(op, samples)?;
        let scales = displaced.scales.to_vec1::<f64>()?;
        let all = scales.iter().enumerate().map(|(j, scale)| at(param, &displaced.gradients, *scale, j));
        let all = all.collect::<Result<Vec<_>>>()?;
        Ok(Self { all: Cow::Owned(all.concat()), len: param.len(), rows: groups.size * rows })
    }

    /// Those that row i has.
    #[inline(always)]
    pub(super) fn of_row(&self, i: usize) -> &[T] {
        &self.all[i / self.rows * self.len..][..self.len]
    }
}

/// The parameter for micro-batch j, which has this scale.
fn at<T: Float>(param: &[T], gradients: &Gradients, scale: f64, j: usize) -> Result<Vec<T>> {
    let Gradients::Formed(gradients) = gradients else { bail!("a gradient that is kept as factors has no values") };
    let len = param.len();
    with_slice::<T, _>(gradients, |g| Ok(moved(param, scale, &g[j * len..][..len])))
}

/// w + c g
pub(super) fn moved<T: Float>(w: &[T], c: f64, g: &[T]) -> Vec<T> {
    let c = T::narrow(c);
    w.iter().zip(g).map(|(w, g)| *w + c * *g).collect()
}

/// Σ wⱼ gⱼ, flat.
pub(crate) fn weighted_gradient(gradients: &Gradients, groups: Groups, weights: &Tensor) -> Result<Tensor> {
    let weights = &weights.to_vec1::<f64>()?;
    match gradients {
        Gradients::Formed(gradients) => with_float!("weighted", gradients, T => {
            let mut sum = vec![0.; gradients.elem_count() / groups.count().max(1)];
            with_slice::<T, _>(gradients, |gradients| {
                for (row, weight) in gradients.chunks_exact(sum.len().max(1)).zip(weights) {
                    sum.iter_mut().zip(row).for_each(|(sum, g)| *sum += weight * g.wide());
                }
                Ok(())
            })?;
            let len = sum.len();
            constant(sum.into_iter().map(T::narrow).collect(), len)
        }),
        Gradients::Factors(factors) => conv::weighted_gradient(factors, groups, weights),
    }
}

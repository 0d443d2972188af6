//! The passes over memory that the normalisations share.
//!
//! A tensor is rows of `c` channels. A *span* is a run of rows with one set of coefficients per channel: the whole
//! batch for batch normalisation, an image for group normalisation. Coefficients are `[spans, c]`.

use crate::cpu::float::Float;
use crate::cpu::parallel::{add_up, build, results, rows_per_chunk};
use crate::cpu::vector::vectorised;

/// How a tensor of `spans * rows` rows of `c` channels is split.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spans {
    pub spans: usize,
    pub rows: usize,
    pub c: usize,
}

/// Mean, biased variance `[spans, c]` of each channel of each span.
pub(crate) struct Moments {
    pub mean: Vec<f64>,
    pub var: Vec<f64>,
}

/// y = (x − mean) · scale + shift per channel, the centre and scale in the element type.
pub(crate) struct Affine<T> {
    pub mean: Vec<T>,
    pub scale: Vec<T>,
    pub shift: Vec<T>,
}

/// dx = g · weight − shift − (x − mean) · slope per channel.
pub(crate) struct GradAffine<T> {
    pub mean: Vec<T>,
    pub weight: Vec<T>,
    pub shift: Vec<T>,
    pub slope: Vec<T>,
}

impl Spans {
    /// Elements of a chunk: whole rows of one span.
    fn chunk(&self) -> usize {
        rows_per_chunk(self.c).min(self.rows.max(1)) * self.c
    }

    /// Chunks of a span.
    fn chunks(&self) -> usize {
        (self.rows * self.c).div_ceil(self.chunk().max(1))
    }

    /// Runs `f(span, elements)` over the chunks and adds the results `[2 c]` up in order, per span.
    fn reduce(&self, f: impl Fn(usize, std::ops::Range<usize>) -> Vec<f64> + Sync) -> Vec<Vec<f64>> {
        let (len, chunk, chunks) = (self.rows * self.c, self.chunk(), self.chunks());
        let partials = results(self.spans * chunks, |i| {
            let (span, start) = (i / chunks, i % chunks * chunk);
            let elements = span * len + start..span * len + (start + chunk).min(len);
            vectorised(
                #[inline(always)]
                || f(span, elements),
            )
        });
        (0..self.spans).map(|span| add_up(&partials[span * chunks..(span + 1) * chunks], 2 * self.c)).collect()
    }

    /// Mean and variance, with sums in f64 of the distances to each span's first row, which keeps them accurate for
    /// channels whose mean is far from zero.
    pub(crate) fn moments<T: Float>(&self, x: &[T]) -> Moments {
        let c = self.c;
        let origin = |span: usize| &x[span * self.rows * c..][..c];
        let sums = self.reduce(
            #[inline(always)]
            |span, elements| {
                let mut sums = vec![0.0; 2 * c];
                let (first, second) = sums.split_at_mut(c);
                for row in x[elements].chunks_exact(c) {
                    for (((x, origin), first), second) in
                        row.iter().zip(origin(span)).zip(&mut *first).zip(&mut *second)
                    {
                        let distance = x.wide() - origin.wide();
                        *first += distance;
                        *second += distance * distance;
                    }
                }
                sums
            },
        );
        let rows = self.rows as f64;
        let mut moments = Moments { mean: vec![], var: vec![] };
        for (span, sums) in sums.iter().enumerate() {
            for channel in 0..c {
                let mean = sums[channel] / rows;
                moments.mean.push(origin(span)[channel].wide() + mean);
                moments.var.push((sums[c + channel] / rows - mean * mean).max(0.0));
            }
        }
        moments
    }

    /// y = relu?(affine(x) + residual?).
    pub(crate) fn apply<T: Float>(&self, x: &[T], affine: &Affine<T>, residual: Option<&[T]>, relu: bool) -> Vec<T> {
        match (residual, relu) {
            (None, false) => self.map(x, x, |x, _, mean, scale, shift| (x - mean) * scale + shift, affine),
            (None, true) => self.map(x, x, |x, _, mean, scale, shift| positive((x - mean) * scale + shift), affine),
            (Some(r), false) => self.map(x, r, |x, r, mean, scale, shift| (x - mean) * scale + shift + r, affine),
            (Some(r), true) => {
                self.map(x, r, |x, r, mean, scale, shift| positive((x - mean) * scale + shift + r), affine)
            }
        }
    }

    #[inline(always)]
    fn map<T: Float>(&self, x: &[T], r: &[T], f: impl Fn(T, T, T, T, T) -> T + Sync, affine: &Affine<T>) -> Vec<T> {
        let (c, task) = (self.c, self.c * self.rows_per_task());
        // SAFETY: `out`, and the same elements of x and r, are whole rows of `c`, all of which are visited.
        unsafe {
            build(
                x.len(),
                task,
                #[inline(always)]
                |i, out| {
                    let start = i * task;
                    let span = self.span_of(start) * c;
                    let (mean, scale, shift) =
                        (&affine.mean[span..][..c], &affine.scale[span..][..c], &affine.shift[span..][..c]);
                    let rows = x[start..].chunks_exact(c).zip(r[start..].chunks_exact(c));
                    for (out, (x, r)) in out.chunks_exact_mut(c).zip(rows) {
                        for j in 0..c {
                            out[j].write(f(x[j], r[j], mean[j], scale[j], shift[j]));
                        }
                    }
                },
            )
        }
    }

    /// Rows of a task that writes: a divisor of the rows of a span near the usual chunk, so that no task straddles two.
    fn rows_per_task(&self) -> usize {
        if self.spans == 1 {
            return rows_per_chunk(self.c);
        }
        let target = rows_per_chunk(self.c).min(self.rows.max(1));
        (1..=target).rev().find(|rows| self.rows.is_multiple_of(*rows)).unwrap_or(1)
    }

    /// Σ g and Σ g (x − mean) rstd of each channel, `[spans][2 c]`; g is dy, behind a ReLU with output `y` if given.
    pub(crate) fn grad_sums<T: Float>(
        &self,
        x: &[T],
        dy: &[T],
        y: Option<&[T]>,
        mean: &[f64],
        rstd: &[f64],
    ) -> Vec<Vec<f64>> {
        match y {
            Some(y) => self.grad_sums_of(x, dy, y, masked, mean, rstd),
            None => self.grad_sums_of(x, dy, dy, |_, dy| dy, mean, rstd),
        }
    }

    #[inline(always)]
    fn grad_sums_of<T: Float>(
        &self,
        x: &[T],
        dy: &[T],
        y: &[T],
        g: impl Fn(T, T) -> T + Sync,
        mean: &[f64],
        rstd: &[f64],
    ) -> Vec<Vec<f64>> {
        let c = self.c;
        let mut sums = self.reduce(
            #[inline(always)]
            |span, elements| {
                let mean = &mean[span * c..][..c];
                let mut sums = vec![0.0; 2 * c];
                let (first, second) = sums.split_at_mut(c);
                let rows = x[elements.clone()].chunks_exact(c).zip(dy[elements.clone()].chunks_exact(c));
                for ((x, dy), y) in rows.zip(y[elements].chunks_exact(c)) {
                    for j in 0..c {
                        let g = g(y[j], dy[j]).wide();
                        first[j] += g;
                        second[j] += g * (x[j].wide() - mean[j]);
                    }
                }
                sums
            },
        );
        for (sums, rstd) in sums.iter_mut().zip(rstd.chunks_exact(c)) {
            for (sum, rstd) in sums[c..].iter_mut().zip(rstd) {
                *sum *= rstd;
            }
        }
        sums
    }

    /// dx from dy, behind a ReLU with output `y` if given.
    pub(crate) fn grad_input<T: Float>(&self, x: &[T], dy: &[T], y: Option<&[T]>, grad: &GradAffine<T>) -> Vec<T> {
        match y {
            Some(y) => self.grad_input_of(x, dy, y, masked, grad),
            None => self.grad_input_of(x, dy, dy, |_, dy| dy, grad),
        }
    }

    #[inline(always)]
    fn grad_input_of<T: Float>(
        &self,
        x: &[T],
        dy: &[T],
        y: &[T],
        g: impl Fn(T, T) -> T + Sync,
        grad: &GradAffine<T>,
    ) -> Vec<T> {
        let (c, task) = (self.c, self.c * self.rows_per_task());
        // SAFETY: `out`, and the same elements of x, dy and y, are whole rows of `c`, all of which are visited.
        unsafe {
            build(
                x.len(),
                task,
                #[inline(always)]
                |i, out| {
                    let start = i * task;
                    let span = self.span_of(start) * c;
                    let (mean, weight) = (&grad.mean[span..][..c], &grad.weight[span..][..c]);
                    let (shift, slope) = (&grad.shift[span..][..c], &grad.slope[span..][..c]);
                    let rows =
                        x[start..].chunks_exact(c).zip(dy[start..].chunks_exact(c)).zip(y[start..].chunks_exact(c));
                    for (out, ((x, dy), y)) in out.chunks_exact_mut(c).zip(rows) {
                        for j in 0..c {
                            let g = g(y[j], dy[j]);
                            out[j].write(g * weight[j] - shift[j] - (x[j] - mean[j]) * slope[j]);
                        }
                    }
                },
            )
        }
    }

    /// The span of an element.
    fn span_of(&self, element: usize) -> usize {
        element / (self.rows * self.c)
    }
}

/// The gradient behind a ReLU whose output was `y`.
#[inline(always)]
pub(crate) fn masked<T: Float>(y: T, dy: T) -> T {
    if y <= T::zero() { T::zero() } else { dy }
}

/// max(x, 0), NaN kept.
#[inline(always)]
pub(crate) fn positive<T: Float>(x: T) -> T {
    if x <= T::zero() { T::zero() } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A channel that alternates between m and m + 1 has mean m + 1/2 and variance 1/4, however large m is.
    #[test]
    fn moments_survive_a_mean_far_from_zero() {
        let spans = Spans { spans: 2, rows: 20_000, c: 3 };
        for offset in [0.0, 1e3, 1e9] {
            let value = |i: usize| offset * (i % 3) as f64 + (i / 3 % 2) as f64;
            let x: Vec<f64> = (0..spans.spans * spans.rows * spans.c).map(value).collect();
            let Moments { mean, var } = spans.moments(&x);
            for i in 0..6 {
                assert_eq!((mean[i], var[i]), (offset * (i % 3) as f64 + 0.5, 0.25));
            }
        }
    }
}

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

    /// Two sums over the rows of each channel of each span, `[spans][2 c]`: of the `terms` of an element, which get
    /// what x, dy and y have there, and `centre` `[spans, c]`. Chunks are summed alone, then added up in order.
    #[inline(always)]
    fn sums<T: Float>(
        &self,
        [x, dy, y]: [&[T]; 3],
        centre: &[f64],
        terms: impl Fn([T; 3], f64) -> [f64; 2] + Sync,
    ) -> Vec<Vec<f64>> {
        let (c, len, chunk, chunks) = (self.c, self.rows * self.c, self.chunk(), self.chunks());
        let partials = results(self.spans * chunks, |i| {
            let (span, start) = (i / chunks, i % chunks * chunk);
            let elements = span * len + start..span * len + (start + chunk).min(len);
            let inputs = [&x[elements.clone()], &dy[elements.clone()], &y[elements]];
            vectorised(
                #[inline(always)]
                || {
                    let (mut sums, centre) = (vec![0.; 2 * c], &centre[span * c..][..c]);
                    let mut first = 0;
                    while first < c {
                        let of = (c, first, inputs, centre);
                        first += match c - first {
                            64.. => sums_of_columns::<T, 64>(of, &terms, &mut sums),
                            16.. => sums_of_columns::<T, 16>(of, &terms, &mut sums),
                            4.. => sums_of_columns::<T, 4>(of, &terms, &mut sums),
                            _ => sums_of_columns::<T, 1>(of, &terms, &mut sums),
                        };
                    }
                    sums
                },
            )
        });
        (0..self.spans).map(|span| add_up(&partials[span * chunks..(span + 1) * chunks], 2 * c)).collect()
    }

    /// Mean and variance, with sums in f64 of the distances to each span's first row, which keeps them accurate for
    /// channels whose mean is far from zero.
    pub(crate) fn moments<T: Float>(&self, x: &[T]) -> Moments {
        let (c, len) = (self.c, self.rows * self.c);
        let origin: Vec<f64> = (0..self.spans).flat_map(|span| &x[span * len..][..c]).map(|x| x.wide()).collect();
        let sums = self.sums(
            [x; 3],
            &origin,
            #[inline(always)]
            |[x, ..], origin| {
                let distance = x.wide() - origin;
                [distance, distance * distance]
            },
        );
        let rows = self.rows as f64;
        let mut moments = Moments { mean: vec![], var: vec![] };
        for (span, sums) in sums.iter().enumerate() {
            for channel in 0..c {
                let mean = sums[channel] / rows;
                moments.mean.push(origin[span * c + channel] + mean);
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
        let mut sums = self.sums(
            [x, dy, y],
            mean,
            #[inline(always)]
            |[x, dy, y], mean| {
                let g = g(y, dy).wide();
                [g, g * (x.wide() - mean)]
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

/// `c` channels, the first whose terms are summed, x, dy and y, and a number for each channel.
type Columns<'a, T> = (usize, usize, [&'a [T]; 3], &'a [f64]);

/// Writes the sums of the terms of N channels over all rows to `sums` `[2, c]`, and returns N. Those of 16 channels are
/// in registers.
#[inline(always)]
fn sums_of_columns<T: Float, const N: usize>(
    (c, first, [x, dy, y], centre): Columns<T>,
    terms: impl Fn([T; 3], f64) -> [f64; 2],
    sums: &mut [f64],
) -> usize {
    let of_channels = |row: &[T]| -> [T; N] { row[first..first + N].try_into().expect("as many as there are") };
    let centre: [f64; N] = centre[first..first + N].try_into().expect("as many as there are");
    let mut both = [[0.; N]; 2];
    for ((x, dy), y) in x.chunks_exact(c).zip(dy.chunks_exact(c)).zip(y.chunks_exact(c)) {
        let (x, dy, y) = (of_channels(x), of_channels(dy), of_channels(y));
        for j in 0..N {
            let [one, other] = terms([x[j], dy[j], y[j]], centre[j]);
            both[0][j] += one;
            both[1][j] += other;
        }
    }
    for (sums, both) in sums.chunks_exact_mut(c).zip(&both) {
        sums[first..first + N].copy_from_slice(both);
    }
    N
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

    /// A channel that alternates between m and m + 1 has mean m + 1/2 and variance 1/4, however large m is, and however
    /// many channels are summed at once.
    #[test]
    fn moments_survive_a_mean_far_from_zero() {
        for (c, offset) in [1, 3, 4, 15, 16, 23, 64, 87].into_iter().flat_map(|c| [0., 1e3, 1e9].map(|m| (c, m))) {
            let spans = Spans { spans: 2, rows: 10_000 / c * 2, c };
            let value = |i: usize| offset * (i % c) as f64 + (i / c % 2) as f64;
            let x: Vec<f64> = (0..spans.spans * spans.rows * c).map(value).collect();
            let Moments { mean, var } = spans.moments(&x);
            for i in 0..2 * c {
                assert_eq!((mean[i], var[i]), (offset * (i % c) as f64 + 0.5, 0.25), "channel {i} of {c}");
            }
        }
    }

    /// Each sum over a channel is that of its own terms, for every way to take channels together.
    #[test]
    fn sums_of_the_backward_pass_are_those_of_their_definition() {
        for c in [1, 3, 4, 15, 16, 23, 64, 87] {
            let spans = Spans { spans: 3, rows: 700, c };
            let numbers = |seed: usize| -> Vec<f32> {
                let number = |i: usize| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001. - 1.;
                (0..spans.spans * spans.rows * c).map(number).collect()
            };
            let (x, dy, y) = (numbers(1), numbers(2), numbers(3));
            let of_channels = |seed: usize| -> Vec<f64> { (0..3 * c).map(|i| ((i + seed) % 5) as f64 / 4.).collect() };
            let (mean, rstd) = (of_channels(1), of_channels(2));
            for y in [None, Some(&y[..])] {
                let found = spans.grad_sums(&x, &dy, y, &mean, &rstd);
                for (span, j) in (0..3).flat_map(|span| (0..c).map(move |j| (span, j))) {
                    let (mut first, mut second) = (0., 0.);
                    for row in 0..spans.rows {
                        let i = (span * spans.rows + row) * c + j;
                        let g = if y.is_some_and(|y| y[i] <= 0.) { 0. } else { f64::from(dy[i]) };
                        first += g;
                        second += g * (f64::from(x[i]) - mean[span * c + j]) * rstd[span * c + j];
                    }
                    for (found, wanted) in [(found[span][j], first), (found[span][c + j], second)] {
                        assert!((found - wanted).abs() < 1e-9, "channel {j} of {c}: {found}, not {wanted}");
                    }
                }
            }
        }
    }
}

//! Several paths at once in the lanes of vector instructions, and numbers that are of one path or of several.

use crate::sde::{NoiseType, Sde, split};
use crate::stream::{Stream, Streams};

/// The number of paths that advance at once. It is fixed, so that results do not depend on the processor.
pub const LANES: usize = 16;

/// One number of each of [`LANES`] paths. A point of ℝᵈ for each is `[Lanes; d]`: component by component, not path by
/// path.
pub type Lanes = [f64; LANES];

/// Copies the path of one lane out of `from`, `[n]` lanes, into `to`, `[n]`.
#[inline(always)]
pub(crate) fn gather(from: &[Lanes], lane: usize, to: &mut [f64]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = from[lane];
    }
}

/// Copies `from`, `[n]`, into one lane of `to`, `[n]` lanes.
#[inline(always)]
pub(crate) fn scatter(from: &[f64], lane: usize, to: &mut [Lanes]) {
    for (from, to) in from.iter().zip(to) {
        to[lane] = *from;
    }
}

/// A number of one path, `f64`, or of several, [`Lanes`], so that code written once computes both, with the same bits.
///
/// Use it to write the drift and the diffusion of an equation of your own once, for [`Sde::drift`] and [`Sde::drifts`].
/// It is implemented for these two types only.
pub trait Number: Copy {
    /// The random generator of the path or paths.
    type Source;

    /// The same number in every lane.
    fn splat(value: f64) -> Self;

    /// f of `N` numbers, in every lane.
    fn zip<const N: usize>(of: [&Self; N], f: impl Fn([f64; N]) -> f64) -> Self;

    /// Two numbers, f of 64 random bits, in every lane.
    fn draw(source: &mut Self::Source, f: impl Fn(u64) -> (f64, f64)) -> (Self, Self);

    /// Two numbers, f of twice 64 random bits, in every lane.
    fn draw_twice(source: &mut Self::Source, f: impl Fn(u64, u64) -> (f64, f64)) -> (Self, Self);

    /// b(x) into `drift`, `[d]`. `spare` has at least [`spare`](Number::spare) elements.
    fn drift<E: Sde>(sde: &E, x: &[Self], drift: &mut [Self], spare: &mut [Self]);

    /// σ(x) into `sigma`, `[len]`.
    fn diffusion<E: Sde>(sde: &E, x: &[Self], sigma: &mut [Self], spare: &mut [Self]);

    /// Column `source` of σ(x) into `column`, `[d]`.
    fn column<E: Sde>(sde: &E, source: usize, x: &[Self], column: &mut [Self], spare: &mut [Self]);

    /// The number of elements that these three need in `spare`.
    fn spare<E: Sde>(sde: &E) -> usize;
}

impl Number for f64 {
    type Source = Stream;

    #[inline(always)]
    fn splat(value: f64) -> Self {
        value
    }

    #[inline(always)]
    fn zip<const N: usize>(of: [&Self; N], f: impl Fn([f64; N]) -> f64) -> Self {
        f(of.map(|number| *number))
    }

    #[inline(always)]
    fn draw(source: &mut Stream, f: impl Fn(u64) -> (f64, f64)) -> (Self, Self) {
        f(source.bits())
    }

    #[inline(always)]
    fn draw_twice(source: &mut Stream, f: impl Fn(u64, u64) -> (f64, f64)) -> (Self, Self) {
        let first = source.bits();
        f(first, source.bits())
    }

    #[inline(always)]
    fn drift<E: Sde>(sde: &E, x: &[Self], drift: &mut [Self], _: &mut [Self]) {
        sde.drift(x, drift);
    }

    #[inline(always)]
    fn diffusion<E: Sde>(sde: &E, x: &[Self], sigma: &mut [Self], _: &mut [Self]) {
        sde.diffusion(x, sigma);
    }

    #[inline(always)]
    fn column<E: Sde>(sde: &E, source: usize, x: &[Self], column: &mut [Self], spare: &mut [Self]) {
        sde.column(source, x, column, spare);
    }

    fn spare<E: Sde>(sde: &E) -> usize {
        sde.noise_type().len(sde.dim())
    }
}

impl Number for Lanes {
    type Source = Streams;

    #[inline(always)]
    fn splat(value: f64) -> Self {
        [value; LANES]
    }

    #[inline(always)]
    fn zip<const N: usize>(of: [&Self; N], f: impl Fn([f64; N]) -> f64) -> Self {
        // Nothing, but nothing that the compiler can look through: it would otherwise take a loop over components, each
        // of which comes here, for one to vectorise, and gather numbers that lie [`LANES`] apart. Up to 2.5 times as
        // fast.
        std::hint::black_box(());
        let mut out = [0.; LANES];
        for (lane, out) in out.iter_mut().enumerate() {
            *out = f(of.map(|number| number[lane]));
        }
        out
    }

    #[inline(always)]
    fn draw(source: &mut Streams, f: impl Fn(u64) -> (f64, f64)) -> (Self, Self) {
        let bits = source.bits();
        let (mut a, mut b) = ([0.; LANES], [0.; LANES]);
        for lane in 0..LANES {
            (a[lane], b[lane]) = f(bits[lane]);
        }
        (a, b)
    }

    #[inline(always)]
    fn draw_twice(source: &mut Streams, f: impl Fn(u64, u64) -> (f64, f64)) -> (Self, Self) {
        let (first, second) = (source.bits(), source.bits());
        let (mut a, mut b) = ([0.; LANES], [0.; LANES]);
        for lane in 0..LANES {
            (a[lane], b[lane]) = f(first[lane], second[lane]);
        }
        (a, b)
    }

    #[inline(always)]
    fn drift<E: Sde>(sde: &E, x: &[Self], drift: &mut [Self], spare: &mut [Self]) {
        sde.drifts(x, drift, spare.as_flattened_mut());
    }

    #[inline(always)]
    fn diffusion<E: Sde>(sde: &E, x: &[Self], sigma: &mut [Self], spare: &mut [Self]) {
        sde.diffusions(x, sigma, spare.as_flattened_mut());
    }

    #[inline(always)]
    fn column<E: Sde>(sde: &E, source: usize, x: &[Self], column: &mut [Self], spare: &mut [Self]) {
        let (d, len) = (sde.dim(), sde.noise_type().len(sde.dim()));
        let spare = spare.as_flattened_mut();
        let (point, value) = spare.split_at_mut(d);
        let (value, sigma) = split(value, d, len);
        for lane in 0..LANES {
            gather(x, lane, point);
            sde.column(source, point, value, sigma);
            scatter(value, lane, column);
        }
    }

    fn spare<E: Sde>(sde: &E) -> usize {
        let d = sde.dim();
        (2 * d + sde.noise_type().len(d)).div_ceil(LANES)
    }
}

impl NoiseType {
    /// Adds σ ΔW to `x`, `[d]`, for `sigma` as [`Sde::diffusion`] writes it and `increments`, `[q]`.
    #[inline(always)]
    pub(crate) fn add<T: Number>(self, sigma: &[T], increments: &[T], x: &mut [T]) {
        let plus = |x: &mut T, sigma: &T, increment: &T| *x = T::zip([x, sigma, increment], |[x, a, b]| x + a * b);
        match self {
            NoiseType::Diagonal => {
                for ((x, sigma), increment) in x.iter_mut().zip(sigma).zip(increments) {
                    plus(x, sigma, increment);
                }
            }
            NoiseType::General(sources) => {
                for (x, row) in x.iter_mut().zip(sigma.chunks_exact(sources.max(1))) {
                    let mut sum = *x;
                    for (sigma, increment) in row.iter().zip(increments) {
                        plus(&mut sum, sigma, increment);
                    }
                    *x = sum;
                }
            }
        }
    }

    /// Copies column `source` of `sigma` into `column`, `[d]`.
    #[inline(always)]
    pub(crate) fn column<T: Number>(self, source: usize, sigma: &[T], column: &mut [T]) {
        match self {
            NoiseType::Diagonal => {
                column.fill(T::splat(0.));
                column[source] = sigma[source];
            }
            NoiseType::General(sources) => {
                for (to, row) in column.iter_mut().zip(sigma.chunks_exact(sources)) {
                    *to = row[source];
                }
            }
        }
    }

    /// Adds column `source` of `sigma`, times `by`, to `x`, `[d]`.
    #[inline(always)]
    pub(crate) fn add_column<T: Number>(self, source: usize, sigma: &[T], by: &T, x: &mut [T]) {
        let plus = |x: &mut T, sigma: &T| *x = T::zip([x, sigma, by], |[x, a, b]| x + a * b);
        match self {
            NoiseType::Diagonal => plus(&mut x[source], &sigma[source]),
            NoiseType::General(sources) => {
                x.iter_mut().zip(sigma.chunks_exact(sources)).for_each(|(x, row)| plus(x, &row[source]));
            }
        }
    }
}

//! LayerScale: a residual block whose branch has a scale for every feature.

use super::displaced::Values;
use super::float::{Float, constant, on_cpu, with_float, with_slice};
use super::parallel::{add_up, build, results, rows_per_chunk};
use super::vector::vectorised;
use crate::graph::{Activation, Pass};
use crate::layers::same_dtype;
use crate::per_sample::groups::{Groups, samples};
use crate::per_sample::recorder::{Terms, take_part};
use crate::profile::timed;
use candle_core::{Result, Tensor};

/// [`layer_scale`](crate::layer_scale), whose shapes are checked.
pub(crate) fn layer_scale<X: Activation>(h: &X, x: &X, gamma: &Tensor) -> Result<X> {
    let d = gamma.elem_count();
    same_dtype("layer_scale", &[x.values(), gamma])?;
    let named = |pass: &str, x: &[usize]| (format!("layer_scale {x:?} {pass}"), 0.0);
    with_float!("layer_scale", x.values(), T => {
        let part = take_part("layer_scale", [gamma]);
        let samples = samples(x.values());
        let rows_of_sample = x.values().elem_count() / d / samples.max(1);
        let shape = (samples, rows_of_sample);
        let forward = || with_slice::<T, _>(h.values(), |h| {
            with_slice(x.values(), |x| with_slice(gamma, |gamma| {
                Ok(forward(h, x, d, &Values::of("layer_scale", gamma, part.displaced(0), shape)?))
            }))
        });
        let y = timed(|| named("forward", x.values().dims()), forward)?;
        X::record("layer_scale", &[h, x], &[gamma], on_cpu(y), x.values().shape(), move |Pass { inputs: [_, x, gamma], wanted, dy, .. }| {
            let rows = |rows: usize| with_slice::<T, _>(x, |x| with_slice(dy, |dy| Ok(products(x, dy, d, rows))));
            let sums = || {
                let sums = add_up(&rows(rows_per_chunk(d))?, d);
                constant(sums.into_iter().map(T::narrow).collect(), d)
            };
            let terms = |size, keeps| {
                let (of_samples, groups) = (rows(rows_of_sample)?, Groups { samples, size });
                Terms::of_sums(groups, &groups.sums(&of_samples), keeps, dy)
            };
            let backward = || {
                let dx = || with_slice::<T, _>(dy, |dy| with_slice(gamma, |gamma| {
                    let gamma = Values::of("layer_scale", gamma, part.displaced(0), shape)?;
                    constant(scaled(dy, d, &gamma), x.shape())
                }));
                Ok([wanted[0].then(|| dy.clone()), wanted[1].then(dx).transpose()?, part.gradient(0, wanted[2], sums, terms)?])
            };
            timed(|| named("backward", x.dims()), backward)
        })
    })
}

/// h + γ ⊙ x
fn forward<T: Float>(h: &[T], x: &[T], d: usize, gammas: &Values<T>) -> Vec<T> {
    let rows = rows_per_chunk(d);
    // SAFETY: a chunk is whole rows of `d`, as h and x are, so the loops write all of it.
    unsafe {
        build(
            x.len(),
            rows * d,
            #[inline(always)]
            |i, out| {
                let (h, x) = (h[i * rows * d..].chunks_exact(d), x[i * rows * d..].chunks_exact(d));
                for (row, ((out, h), x)) in out.chunks_exact_mut(d).zip(h).zip(x).enumerate() {
                    let gamma = gammas.of_row(i * rows + row);
                    for (((out, &h), &x), &gamma) in out.iter_mut().zip(h).zip(x).zip(gamma) {
                        out.write(h + gamma * x);
                    }
                }
            },
        )
    }
}

/// γ ⊙ dy
fn scaled<T: Float>(dy: &[T], d: usize, gammas: &Values<T>) -> Vec<T> {
    let rows = rows_per_chunk(d);
    // SAFETY: a chunk is whole rows of `d`, as dy is, so the loops write all of it.
    unsafe {
        build(
            dy.len(),
            rows * d,
            #[inline(always)]
            |i, out| {
                for (row, (out, dy)) in out.chunks_exact_mut(d).zip(dy[i * rows * d..].chunks_exact(d)).enumerate() {
                    let gamma = gammas.of_row(i * rows + row);
                    for ((out, &dy), &gamma) in out.iter_mut().zip(dy).zip(gamma) {
                        out.write(gamma * dy);
                    }
                }
            },
        )
    }
}

/// Σ dy ⊙ x of every `rows` rows, in f64 `[d]` each.
fn products<T: Float>(x: &[T], dy: &[T], d: usize, rows: usize) -> Vec<Vec<f64>> {
    let task = rows.max(1) * d;
    results(x.len().div_ceil(task), |i| {
        let end = x.len().min((i + 1) * task);
        vectorised(
            #[inline(always)]
            || {
                let mut sums = vec![0.0; d];
                for (x, dy) in x[i * task..end].chunks_exact(d).zip(dy[i * task..end].chunks_exact(d)) {
                    for ((sum, x), dy) in sums.iter_mut().zip(x).zip(dy) {
                        *sum += x.wide() * dy.wide();
                    }
                }
                sums
            },
        )
    })
}

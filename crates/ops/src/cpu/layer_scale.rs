//! LayerScale: a residual block whose branch has a scale for every feature.

use super::float::{Float, constant, on_cpu, with_float, with_slice};
use super::parallel::{add_up, build, results, rows_per_chunk};
use super::squares::sum_of_squares;
use super::vector::vectorised;
use crate::graph::{Activation, Pass};
use crate::layers::same_dtype;
use crate::per_sample::ghost::take_part;
use crate::profile::timed;
use candle_core::{Result, Tensor};

/// [`layer_scale`](crate::layer_scale), whose shapes are checked.
pub(crate) fn layer_scale<X: Activation>(h: &X, x: &X, gamma: &Tensor) -> Result<X> {
    let d = gamma.elem_count();
    same_dtype("layer_scale", &[x.values(), gamma])?;
    let named = |pass: &str, x: &[usize]| (format!("layer_scale {x:?} {pass}"), 0.0);
    with_float!("layer_scale", x.values(), T => {
        let forward = || with_slice::<T, _>(h.values(), |h| {
            with_slice(x.values(), |x| with_slice(gamma, |gamma| Ok(forward(h, x, gamma))))
        });
        let y = timed(|| named("forward", x.values().dims()), forward)?;
        let ghost = take_part("layer_scale", [gamma]);
        X::record("layer_scale", &[h, x], &[gamma], on_cpu(y), x.values().shape(), move |Pass { inputs: [_, x, gamma], wanted, dy, .. }| {
            let samples = if x.rank() > 1 { x.dims()[0] } else { 1 };
            let rows = |rows: usize| with_slice::<T, _>(x, |x| with_slice(dy, |dy| Ok(products(x, dy, d, rows))));
            let sums = || {
                let sums = add_up(&rows(rows_per_chunk(d))?, d);
                constant(sums.into_iter().map(T::narrow).collect(), d)
            };
            let squares = || {
                let of_samples = rows(x.elem_count() / d / samples.max(1))?;
                Ok(of_samples.iter().map(|sums| sum_of_squares(sums)).collect())
            };
            let backward = || {
                let dx = || with_slice::<T, _>(dy, |dy| with_slice(gamma, |gamma| constant(scaled(dy, gamma), x.shape())));
                Ok([wanted[0].then(|| dy.clone()), wanted[1].then(dx).transpose()?, ghost.gradient(0, wanted[2], sums, squares)?])
            };
            timed(|| named("backward", x.dims()), backward)
        })
    })
}

/// h + γ ⊙ x
fn forward<T: Float>(h: &[T], x: &[T], gamma: &[T]) -> Vec<T> {
    let (d, chunk) = (gamma.len(), rows_per_chunk(gamma.len()) * gamma.len());
    // SAFETY: a chunk is whole rows of `d`, as h and x are, so the loops write all of it.
    unsafe {
        build(
            x.len(),
            chunk,
            #[inline(always)]
            |i, out| {
                let (h, x) = (h[i * chunk..].chunks_exact(d), x[i * chunk..].chunks_exact(d));
                for ((out, h), x) in out.chunks_exact_mut(d).zip(h).zip(x) {
                    for (((out, &h), &x), &gamma) in out.iter_mut().zip(h).zip(x).zip(gamma) {
                        out.write(h + gamma * x);
                    }
                }
            },
        )
    }
}

/// γ ⊙ dy
fn scaled<T: Float>(dy: &[T], gamma: &[T]) -> Vec<T> {
    let (d, chunk) = (gamma.len(), rows_per_chunk(gamma.len()) * gamma.len());
    // SAFETY: a chunk is whole rows of `d`, as dy is, so the loops write all of it.
    unsafe {
        build(
            dy.len(),
            chunk,
            #[inline(always)]
            |i, out| {
                for (out, dy) in out.chunks_exact_mut(d).zip(dy[i * chunk..].chunks_exact(d)) {
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

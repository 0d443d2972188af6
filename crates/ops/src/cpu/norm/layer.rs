//! Layer normalisation: each row by itself.

use crate::cpu::displaced::Values;
use crate::cpu::float::{Float, constant, on_cpu, with_float, with_slice};
use crate::cpu::parallel::{Region, add_up, for_chunks, results, rows_per_chunk};
use crate::cpu::rows::{product, sum};
use crate::cpu::vector::vectorised;
use crate::graph::{Activation, Pass};
use crate::layers::same_dtype;
use crate::per_sample::groups::{Groups, samples};
use crate::per_sample::recorder::{Terms, take_part};
use crate::profile::timed;
use candle_core::{Result, Tensor};
use std::mem::MaybeUninit;

/// [`layer_norm`](crate::layer_norm), whose shapes are checked.
pub(crate) fn layer_norm<X: Activation>(x: &X, (weight, bias): (&Tensor, &Tensor), eps: f64) -> Result<X> {
    let c = weight.elem_count();
    same_dtype("layer_norm", &[x.values(), weight])?;
    let named = |pass: &str, x: &[usize]| (format!("layer_norm {x:?} {pass}"), 0.0);
    with_float!("layer_norm", x.values(), T => {
        let part = take_part("layer_norm", [weight, bias]);
        let samples = samples(x.values());
        let of_sample = x.values().elem_count() / c / samples.max(1);
        let forward = || with_slice::<T, _>(x.values(), |x| {
            with_slice(weight, |weight| with_slice(bias, |bias| {
                let values = |k: usize, param| Values::of("layer_norm", param, part.displaced(k), (samples, of_sample));
                Ok(forward(x, &values(0, weight)?, &values(1, bias)?, c, eps))
            }))
        });
        let (y, rows) = timed(|| named("forward", x.values().dims()), forward)?;
        X::record("layer_norm", &[x], &[weight, bias], on_cpu(y), x.values().shape(), move |Pass { inputs: [x, weight, _], wanted, dy, .. }| {
            let measuring = part.measures(0) || part.measures(1);
            let task = if measuring { of_sample } else { rows_per_chunk(c) };
            let backward = || with_slice::<T, _>(x, |x| {
                with_slice(weight, |weight| with_slice(dy, |dy| {
                    let weight = Values::of("layer_norm", weight, part.displaced(0), (samples, of_sample))?;
                    Ok(backward(x, &weight, dy, &rows, (task, c), wanted))
                }))
            });
            let (dx, parts) = timed(|| named("backward", x.dims()), backward)?;
            let parameter = |k: usize| {
                let half = k * c..(k + 1) * c;
                let sums = || constant(add_up(&parts, 2 * c)[half.clone()].iter().map(|sum| T::narrow(*sum)).collect(), c);
                let terms = |size, keeps| {
                    let (groups, halves) = (Groups { samples, size }, parts.iter().map(|sums| &sums[half.clone()]));
                    Terms::of_sums(groups, &groups.sums(&halves.collect::<Vec<_>>()), keeps, dy)
                };
                part.gradient(k, wanted[1 + k], sums, terms)
            };
            Ok([wanted[0].then(|| constant(dx, x.shape())).transpose()?, parameter(0)?, parameter(1)?])
        })
    })
}

/// What a row is normalised by.
#[derive(Clone, Copy)]
struct Row<T> {
    mean: T,
    /// 1 / √(var + eps)
    rstd: T,
}

/// y and the statistics of every row.
fn forward<T: Float>(x: &[T], weight: &Values<T>, bias: &Values<T>, c: usize, eps: f64) -> (Vec<T>, Vec<Row<T>>) {
    let rows = x.len() / c;
    let (mut y, mut statistics) = (Vec::with_capacity(x.len()), Vec::<Row<T>>::with_capacity(rows));
    let task = rows_per_chunk(c);
    let of_rows = Region::of_capacity(&mut statistics);
    for_chunks(&mut y.spare_capacity_mut()[..x.len()], task * c, |index, y| {
        vectorised(
            #[inline(always)]
            || {
                for (i, (y, x)) in y.chunks_exact_mut(c).zip(x[index * task * c..].chunks_exact(c)).enumerate() {
                    let mean = sum(x, |x| x) / c as f64;
                    let var = sum(x, |x| (x - mean) * (x - mean)) / c as f64;
                    let row = Row { mean: T::narrow(mean), rstd: T::narrow(1.0 / (var + eps).sqrt()) };
                    let at = index * task + i;
                    for (((y, &x), &weight), &bias) in y.iter_mut().zip(x).zip(weight.of_row(at)).zip(bias.of_row(at)) {
                        y.write((x - row.mean) * row.rstd * weight + bias);
                    }
                    // SAFETY: rows belong to one task each, and there is room for all.
                    unsafe { of_rows.at(at).write(row) };
                }
            },
        )
    });
    // SAFETY: the capacities are at least these, and every row of both is written.
    unsafe {
        y.set_len(x.len());
        statistics.set_len(rows);
    }
    (y, statistics)
}

/// dx (empty unless wanted) and, in f64, Σ dy x̂ and Σ dy over the rows of each task, `[2 c]`.
fn backward<T: Float>(
    x: &[T],
    weight: &Values<T>,
    dy: &[T],
    rows: &[Row<T>],
    (task, c): (usize, usize),
    wanted: [bool; 3],
) -> (Vec<T>, Vec<Vec<f64>>) {
    let len = if wanted[0] { x.len() } else { 0 };
    let mut dx: Vec<T> = Vec::with_capacity(len);
    let out = Region::of_capacity(&mut dx);
    let task = task.max(1);
    let partials = results(rows.len().div_ceil(task), |index| {
        let first = index * task;
        let rows = &rows[first..rows.len().min(first + task)];
        vectorised(
            #[inline(always)]
            || {
                let mut sums = vec![0.0; 2 * c];
                let (scale, shift) = sums.split_at_mut(c);
                let mut scratch = [vec![T::ZERO; c], vec![T::ZERO; c]];
                let [normalised, inner] = &mut scratch;
                for (i, &Row { mean, rstd }) in rows.iter().enumerate() {
                    let at = (first + i) * c;
                    let (x, dy) = (&x[at..][..c], &dy[at..][..c]);
                    for (((normalised, inner), (&x, &dy)), &weight) in
                        normalised.iter_mut().zip(&mut *inner).zip(x.iter().zip(dy)).zip(weight.of_row(first + i))
                    {
                        *normalised = (x - mean) * rstd;
                        *inner = dy * weight;
                    }
                    for (scale, (dy, normalised)) in scale.iter_mut().zip(dy.iter().zip(&*normalised)) {
                        *scale += dy.wide() * normalised.wide();
                    }
                    for (shift, dy) in shift.iter_mut().zip(dy) {
                        *shift += dy.wide();
                    }
                    if wanted[0] {
                        let average = T::narrow(sum(inner, |g| g) / c as f64);
                        let slope = T::narrow(product(inner, normalised) / c as f64);
                        // SAFETY: rows of dx belong to one task each, and there is room for all.
                        let dx = unsafe { std::slice::from_raw_parts_mut(out.at(at).cast::<MaybeUninit<T>>(), c) };
                        for (dx, (&normalised, &inner)) in dx.iter_mut().zip(normalised.iter().zip(&*inner)) {
                            dx.write(rstd * (inner - average - normalised * slope));
                        }
                    }
                }
                sums
            },
        )
    });
    // SAFETY: the tasks have written every row, if any.
    unsafe { dx.set_len(len) };
    (dx, partials)
}

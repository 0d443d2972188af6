//! The softmax of rows.

use super::float::{Float, constant, on_cpu, with_float, with_slice};
use super::parallel::{build, rows_per_chunk};
use super::rows;
use crate::graph::{Activation, Pass};
use crate::profile::timed;
use candle_core::Result;

/// [`softmax`](crate::softmax) of rows of `c`.
pub(crate) fn softmax<X: Activation>(x: &X, c: usize) -> Result<X> {
    let named = |pass: &str, x: &[usize]| (format!("softmax {x:?} {pass}"), 0.0);
    with_float!("softmax", x.values(), T => {
        let y = timed(|| named("forward", x.values().dims()), || with_slice(x.values(), |x| Ok(forward::<T>(x, c))))?;
        X::record("softmax", &[x], &[], on_cpu(y), x.values().shape(), move |Pass { y, dy, .. }| {
            let dx = || with_slice(y, |y| with_slice(dy, |dy| Ok(grad_input::<T>(y, dy, c))));
            Ok([Some(constant(timed(|| named("dx", y.dims()), dx)?, y.shape())?)])
        })
    })
}

/// A row of numbers times `scale` becomes eˣ over the largest; returns the largest and the sum of the results.
#[inline(always)]
pub(super) fn exponentials<T: Float>(row: &mut [T], scale: T) -> (T, f64) {
    let most = rows::largest(row);
    for x in &mut *row {
        *x = ((*x - most) * scale).exp_negative();
    }
    (most, rows::sum(row, |x| x))
}

fn forward<T: Float>(x: &[T], c: usize) -> Vec<T> {
    let task = rows_per_chunk(c) * c;
    // SAFETY: every chunk is copied as a whole.
    unsafe {
        build(
            x.len(),
            task,
            #[inline(always)]
            |i, out| {
                let out = out.write_copy_of_slice(&x[i * task..][..out.len()]);
                for row in out.chunks_exact_mut(c) {
                    let (_, sum) = exponentials(row, T::one());
                    let share = T::narrow(1.0 / sum);
                    row.iter_mut().for_each(|y| *y *= share);
                }
            },
        )
    }
}

fn grad_input<T: Float>(y: &[T], dy: &[T], c: usize) -> Vec<T> {
    let task = rows_per_chunk(c) * c;
    // SAFETY: a chunk of the output is whole rows, each of which is written.
    unsafe {
        build(
            y.len(),
            task,
            #[inline(always)]
            |i, out| {
                let rows = y[i * task..].chunks_exact(c).zip(dy[i * task..].chunks_exact(c));
                for (out, (y, dy)) in out.chunks_exact_mut(c).zip(rows) {
                    let mean = T::narrow(rows::product(y, dy));
                    for ((dx, &y), &dy) in out.iter_mut().zip(y).zip(dy) {
                        dx.write(y * (dy - mean));
                    }
                }
            },
        )
    }
}

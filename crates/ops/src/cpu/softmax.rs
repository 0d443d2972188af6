//! The softmax of rows.

use crate::float::{Float, with_float, with_slice};
use crate::node::{Activation, Pass, constant, on_cpu};
use crate::parallel::{build, rows_per_chunk};
use crate::profile::timed;
use crate::rows;
use candle_core::{Result, bail};

/// exp(xᵢ) / Σⱼ exp(xⱼ) over the last dimension of `x` `[.., c]`: PyTorch's `softmax(dim=-1)`. The largest element is
/// subtracted first, so nothing overflows, and −∞ becomes 0.
///
/// Its gradient is yᵢ (dyᵢ − Σⱼ dyⱼ yⱼ). `Err` for a scalar, or an element type that is no float.
pub fn softmax<X: Activation>(x: &X) -> Result<X> {
    let Some(&c) = x.values().dims().last() else { bail!("softmax: expected x [.., c], got a scalar") };
    let x = &x.input()?;
    #[cfg(feature = "cuda")]
    if let Some(gpu) = crate::cuda::Gpu::of(x.values())? {
        return crate::cuda::softmax(&gpu, x, c);
    }
    let named = |pass: &str, x: &[usize]| (format!("softmax {x:?} {pass}"), 0.0);
    with_float!("softmax", x.values(), T => {
        let y = timed(|| named("forward", x.values().dims()), || with_slice(x.values(), |x| Ok(forward::<T>(x, c))))?;
        X::record("softmax", &[x], &[], on_cpu(y), x.values().shape(), move |Pass { y, dy, .. }| {
            let dx = || with_slice(y, |y| with_slice(dy, |dy| Ok(grad_input::<T>(y, dy, c))));
            Ok([Some(constant(timed(|| named("dx", y.dims()), dx)?, y.shape())?)])
        })
    })
}

/// A row of numbers times `scale` becomes eˣ over the largest; returns the largest of `row` and the sum of the results.
#[inline(always)]
pub(crate) fn exponentials<T: Float>(row: &mut [T], scale: T) -> (T, f64) {
    let most = rows::largest(row);
    shifted_exponentials(row, scale, most);
    (most, rows::sum(row, |x| x))
}

/// e to the power of (x − most) · scale.
#[inline(always)]
pub(crate) fn shifted_exponentials<T: Float>(row: &mut [T], scale: T, most: T) {
    for x in row {
        *x = ((*x - most) * scale).exp_negative();
    }
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

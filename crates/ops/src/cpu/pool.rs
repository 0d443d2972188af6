//! Pooling over windows and over the whole image, channels last.

use super::float::{Float, constant, on_cpu, with_float, with_slice};
use super::parallel::{build, filled};
use crate::graph::{Activation, Pass};
use crate::layers::{Pooling, Window2d};
use crate::profile::timed;
use candle_core::Result;

impl Pooling {
    /// Input pixels, within their image, of output pixel (oy, ox) that are not padding, row by row.
    fn pixels(&self, oy: usize, ox: usize) -> impl Iterator<Item = usize> {
        let Window2d { kernel, stride, padding } = self.window;
        let inside = |o: usize, stride: usize, padding: usize, kernel: usize, size: usize| {
            (o * stride).saturating_sub(padding)..(o * stride + kernel).saturating_sub(padding).min(size)
        };
        let columns = inside(ox, stride.1, padding.1, kernel.1, self.w);
        let w = self.w;
        inside(oy, stride.0, padding.0, kernel.0, self.h).flat_map(move |y| columns.clone().map(move |x| y * w + x))
    }

    /// Visits each output pixel of an image: `f(output elements, input pixels)`.
    #[inline(always)]
    fn visit(&self, mut f: impl FnMut(std::ops::Range<usize>, &mut dyn Iterator<Item = usize>)) {
        for oy in 0..self.oh {
            for ox in 0..self.ow {
                let start = (oy * self.ow + ox) * self.c;
                f(start..start + self.c, &mut self.pixels(oy, ox));
            }
        }
    }

    fn image(&self) -> usize {
        self.h * self.w * self.c
    }

    fn out_image(&self) -> usize {
        self.oh * self.ow * self.c
    }
}

/// [`max_pool2d`](crate::max_pool2d)
pub(crate) fn max_pool2d<X: Activation>(x: &X, p: Pooling, shape: &[usize]) -> Result<X> {
    let named = |pass: &str, x: &[usize]| (format!("max_pool2d {x:?} {pass}"), 0.0);
    with_float!("max_pool2d", x.values(), T => {
        let y = timed(|| named("forward", x.values().dims()), || with_slice(x.values(), |x| Ok(max::<T>(&p, x))))?;
        X::record("max_pool2d", &[x], &[], on_cpu(y), shape, move |Pass { inputs: [x], y, dy, .. }| {
            let dx = || with_slice::<T, _>(x, |x| with_slice(y, |y| with_slice(dy, |dy| Ok(grad_max(&p, x, y, dy)))));
            Ok([Some(constant(timed(|| named("dx", x.dims()), dx)?, x.shape())?)])
        })
    })
}

/// [`avg_pool2d`](crate::avg_pool2d)
pub(crate) fn averages<X: Activation>(x: &X, p: Pooling, shape: &[usize]) -> Result<X> {
    with_float!("avg_pool2d", x.values(), T => {
        let y = with_slice(x.values(), |x| Ok(average::<T>(&p, x)))?;
        X::record("avg_pool2d", &[x], &[], on_cpu(y), shape, move |Pass { inputs: [x], dy, .. }| {
            let dx = with_slice::<T, _>(dy, |dy| Ok(grad_average(&p, dy)))?;
            Ok([Some(constant(dx, x.shape())?)])
        })
    })
}

/// Replaces `best` by the candidate if it is larger, or NaN.
#[inline(always)]
fn beats<T: Float>(candidate: T, best: T) -> bool {
    #[allow(clippy::eq_op, reason = "NaN alone differs from itself")]
    let is_nan = candidate != candidate;
    candidate > best || is_nan
}

fn max<T: Float>(p: &Pooling, x: &[T]) -> Vec<T> {
    let len = x.len() / p.image().max(1) * p.out_image();
    // SAFETY: `visit` reaches every output pixel, and `filled` writes it.
    unsafe {
        build(
            len,
            p.out_image(),
            #[inline(always)]
            |n, out| {
                let x = &x[n * p.image()..];
                p.visit(
                    #[inline(always)]
                    |elements, pixels| {
                        let out = filled(&mut out[elements], T::narrow(f64::NEG_INFINITY));
                        for pixel in pixels {
                            for (best, &x) in out.iter_mut().zip(&x[pixel * p.c..]) {
                                *best = if beats(x, *best) { x } else { *best };
                            }
                        }
                    },
                );
            },
        )
    }
}

/// dx of [`max`]: the first pixel of a window with its maximum gets the gradient. Finding it again is cheaper than
/// storing where it was. An image per task.
fn grad_max<T: Float>(p: &Pooling, x: &[T], y: &[T], dy: &[T]) -> Vec<T> {
    let c = p.c;
    // SAFETY: `filled` writes every element.
    unsafe {
        build(
            x.len(),
            p.image(),
            #[inline(always)]
            |n, dx| {
                let dx = filled(dx, T::zero());
                let (x, out) = (&x[n * p.image()..], n * p.out_image());
                let mut left = vec![T::zero(); c]; // the gradient that no pixel has got yet
                p.visit(
                    #[inline(always)]
                    |elements, pixels| {
                        let elements = out + elements.start..out + elements.end;
                        let y = &y[elements.clone()];
                        left.copy_from_slice(&dy[elements]);
                        for pixel in pixels {
                            let (x, dx) = (&x[pixel * c..][..c], &mut dx[pixel * c..][..c]);
                            for (((left, dx), x), y) in left.iter_mut().zip(dx).zip(x).zip(y) {
                                let found = same(*x, *y);
                                *dx += if found { *left } else { T::zero() };
                                *left = if found { T::zero() } else { *left };
                            }
                        }
                    },
                );
            },
        )
    }
}

/// Whether `x` is the maximum `y`, which is NaN where one of its window is.
#[inline(always)]
fn same<T: Float>(x: T, y: T) -> bool {
    #[allow(clippy::eq_op, reason = "NaN alone differs from itself")]
    let both_nan = x != x && y != y;
    x == y || both_nan
}

fn average<T: Float>(p: &Pooling, x: &[T]) -> Vec<T> {
    let len = x.len() / p.image().max(1) * p.out_image();
    let share = 1.0 / (p.window.kernel.0 * p.window.kernel.1) as f64;
    // SAFETY: `visit` reaches every output pixel, and the zip writes it.
    unsafe {
        build(len, p.out_image(), |n, out| {
            let x = &x[n * p.image()..];
            let mut sums = vec![0.0; p.c];
            p.visit(|elements, pixels| {
                sums.fill(0.0);
                for pixel in pixels {
                    for (sum, x) in sums.iter_mut().zip(&x[pixel * p.c..]) {
                        *sum += x.wide();
                    }
                }
                for (out, sum) in out[elements].iter_mut().zip(&sums) {
                    out.write(T::narrow(sum * share));
                }
            });
        })
    }
}

/// dx of [`average`]: an equal share to every pixel of the window. An image per task.
fn grad_average<T: Float>(p: &Pooling, dy: &[T]) -> Vec<T> {
    let len = dy.len() / p.out_image().max(1) * p.image();
    let share = T::narrow(1.0 / (p.window.kernel.0 * p.window.kernel.1) as f64);
    // SAFETY: `filled` writes every element.
    unsafe {
        build(len, p.image(), |n, dx| {
            let dx = filled(dx, T::zero());
            let dy = &dy[n * p.out_image()..];
            p.visit(|elements, pixels| {
                for pixel in pixels {
                    for (dx, dy) in dx[pixel * p.c..].iter_mut().zip(&dy[elements.clone()]) {
                        *dx += *dy * share;
                    }
                }
            });
        })
    }
}

//! Images cut into patches.

use super::float::{Float, constant, on_cpu, with_float, with_slice};
use super::parallel::build;
use crate::graph::{Activation, Pass};
use crate::layers::Cut;
use crate::profile::timed;
use candle_core::Result;

/// [`patches`](crate::patches)
pub(crate) fn patches<X: Activation>(x: &X, cut: Cut, shape: &[usize]) -> Result<X> {
    let named = |pass: &str, x: &[usize]| (format!("patches {x:?} {pass}"), 0.0);
    with_float!("patches", x.values(), T => {
        let y = timed(|| named("forward", x.values().dims()), || with_slice(x.values(), |x| Ok(cut.patches::<T>(x))))?;
        X::record("patches", &[x], &[], on_cpu(y), shape, move |Pass { inputs: [x], dy, .. }| {
            let dx = || with_slice(dy, |dy| Ok(cut.images::<T>(dy)));
            Ok([Some(constant(timed(|| named("dx", x.dims()), dx)?, x.shape())?)])
        })
    })
}

impl Cut {
    fn image(&self) -> usize {
        self.h * self.w * self.c
    }

    /// Runs `f(image element, patch element)` for every pixel's first channel, the other channels of the patch being
    /// `size`² apart.
    #[inline(always)]
    fn visit(&self, mut f: impl FnMut(usize, usize)) {
        let &Cut { h, w, c, size } = self;
        for y in 0..h {
            for x in 0..w {
                let patch = (y / size) * (w / size) + x / size;
                f((y * w + x) * c, patch * c * size * size + (y % size) * size + x % size);
            }
        }
    }

    /// An image per task.
    fn patches<T: Float>(&self, x: &[T]) -> Vec<T> {
        let area = self.size * self.size;
        // SAFETY: `visit` reaches every pixel, and with its channels every element of the patches.
        unsafe {
            build(x.len(), self.image(), |n, out| {
                let x = &x[n * self.image()..];
                self.visit(|pixel, place| {
                    for j in 0..self.c {
                        out[place + j * area].write(x[pixel + j]);
                    }
                });
            })
        }
    }

    /// The inverse.
    fn images<T: Float>(&self, y: &[T]) -> Vec<T> {
        let area = self.size * self.size;
        // SAFETY: `visit` reaches every pixel.
        unsafe {
            build(y.len(), self.image(), |n, out| {
                let y = &y[n * self.image()..];
                self.visit(|pixel, place| {
                    for j in 0..self.c {
                        out[pixel + j].write(y[place + j * area]);
                    }
                });
            })
        }
    }
}

//! Images cut into patches.

use crate::float::{Float, with_float, with_slice};
use crate::node::{Activation, Pass, constant, on_cpu};
use crate::parallel::build;
use crate::profile::timed;
use candle_core::{Result, bail};

/// How images `[h, w, c]` are cut into patches of `size` × `size`.
#[derive(Clone, Copy)]
pub(crate) struct Cut {
    pub(crate) h: usize,
    pub(crate) w: usize,
    pub(crate) c: usize,
    pub(crate) size: usize,
}

/// The patches of `size` × `size` pixels of `x` `[b, h, w, c]`, row by row of the image: `[b, h/size · w/size, c ·
/// size²]`, a patch in the order (channel, row, column), which is that of a convolution's weight. So
/// [`linear`](crate::linear) with a weight `[out, c, size, size]` makes of them what a convolution with `size` as
/// kernel and stride makes of the images.
///
/// `Err` for another rank, or a size that does not divide the image's.
pub fn patches<X: Activation>(x: &X, size: usize) -> Result<X> {
    let &[b, h, w, c] = x.values().dims() else {
        bail!("patches: expected x [b, h, w, c], got {:?}", x.values().dims())
    };
    if size == 0 || !h.is_multiple_of(size) || !w.is_multiple_of(size) {
        bail!("patches: a size of {size} does not divide the images of x {:?}", x.values().dims());
    }
    let cut = Cut { h, w, c, size };
    let shape = [b, (h / size) * (w / size), c * size * size];
    let x = &x.input()?;
    #[cfg(feature = "cuda")]
    if let Some(gpu) = crate::cuda::Gpu::of(x.values())? {
        return crate::cuda::patches(&gpu, x, cut, &shape);
    }
    let named = |pass: &str, x: &[usize]| (format!("patches {x:?} {pass}"), 0.0);
    with_float!("patches", x.values(), T => {
        let y = timed(|| named("forward", x.values().dims()), || with_slice(x.values(), |x| Ok(cut.patches::<T>(x))))?;
        X::record("patches", &[x], &[], on_cpu(y), shape.as_slice(), move |Pass { inputs: [x], dy, .. }| {
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

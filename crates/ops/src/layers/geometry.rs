//! The sizes of a convolution, and how its work is split.

use candle_core::{Result, Tensor, bail};

/// Sizes of one convolution of `[batch, height, width, c_in]` to `[batch, out_height, out_width, c_out]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Geometry {
    pub batch: usize,
    pub height: usize,
    pub width: usize,
    pub c_in: usize,
    pub out_height: usize,
    pub out_width: usize,
    pub c_out: usize,
    pub kernel: (usize, usize),
    pub stride: (usize, usize),
    pub padding: (usize, usize),
}

/// The number of windows of `kernel` along `size` elements with `padding` on both sides, or an `Err` naming `op`.
pub(crate) fn windows(op: &str, size: usize, kernel: usize, stride: usize, padding: usize) -> Result<usize> {
    if kernel == 0 || stride == 0 {
        bail!("{op}: kernel and stride must be at least 1, got kernel {kernel} and stride {stride}");
    }
    if size + 2 * padding < kernel {
        bail!("{op}: a kernel of {kernel} does not fit into {size} elements padded by {padding} on both sides");
    }
    Ok((size + 2 * padding - kernel) / stride + 1)
}

impl Geometry {
    /// The sizes of `conv2d(x [b, h, w, c_in], weight [c_out, c_in, kh, kw])`, or an `Err` with both shapes.
    pub(crate) fn of(x: &Tensor, weight: &Tensor, stride: (usize, usize), padding: (usize, usize)) -> Result<Self> {
        let (&[batch, height, width, c_in], &[c_out, w_in, kh, kw]) = (x.dims(), weight.dims()) else {
            bail!(
                "conv2d: expected x [b, h, w, c_in] and weight [c_out, c_in, kh, kw], got {:?} and {:?}",
                x.dims(),
                weight.dims()
            )
        };
        if c_in != w_in {
            bail!(
                "conv2d: x {:?} has {c_in} channels (its last dimension), but weight {:?} expects {w_in}",
                x.dims(),
                weight.dims()
            );
        }
        Ok(Self {
            batch,
            height,
            width,
            c_in,
            out_height: windows("conv2d", height, kh, stride.0, padding.0)?,
            out_width: windows("conv2d", width, kw, stride.1, padding.1)?,
            c_out,
            kernel: (kh, kw),
            stride,
            padding,
        })
    }

    /// A 1 x 1 convolution of `pixels` pixels.
    pub(crate) fn pointwise(pixels: usize, c_in: usize, c_out: usize) -> Self {
        Self {
            batch: pixels,
            height: 1,
            width: 1,
            c_in,
            out_height: 1,
            out_width: 1,
            c_out,
            kernel: (1, 1),
            stride: (1, 1),
            padding: (0, 0),
        }
    }

    /// Positions of the kernel's window.
    pub(crate) fn taps(&self) -> usize {
        self.kernel.0 * self.kernel.1
    }

    /// Elements of one window: the inner dimension of the product.
    pub(crate) fn window(&self) -> usize {
        self.taps() * self.c_in
    }

    /// Output pixels of the whole batch.
    pub(crate) fn pixels(&self) -> usize {
        self.batch * self.out_height * self.out_width
    }
}

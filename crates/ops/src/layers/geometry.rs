//! What the kernels of an op take on every device: its sizes, and the mask of a dropout.

use super::Window2d;
use candle_core::{Result, Tensor, bail};

/// Sizes of one convolution of `[batch, height, width, c_in]` to `[batch, out_height, out_width, c_out]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Geometry {
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
fn windows(op: &str, size: usize, kernel: usize, stride: usize, padding: usize) -> Result<usize> {
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

/// Sizes of one pooling of `[b, h, w, c]` to `[b, oh, ow, c]`.
#[derive(Clone, Copy)]
pub struct Pooling {
    pub h: usize,
    pub w: usize,
    pub c: usize,
    pub oh: usize,
    pub ow: usize,
    pub window: Window2d,
}

impl Pooling {
    pub(super) fn of(op: &str, x: &Tensor, window: Window2d) -> Result<Self> {
        let &[_, h, w, c] = x.dims() else { bail!("{op}: expected x [b, h, w, c], got {:?}", x.dims()) };
        let Window2d { kernel, stride, padding } = window;
        if padding.0 > kernel.0 / 2 || padding.1 > kernel.1 / 2 {
            bail!("{op}: padding {padding:?} must be at most half the kernel {kernel:?}");
        }
        let oh = windows(op, h, kernel.0, stride.0, padding.0)?;
        let ow = windows(op, w, kernel.1, stride.1, padding.1)?;
        Ok(Self { h, w, c, oh, ow, window })
    }
}

/// How images `[h, w, c]` are cut into patches of `size` × `size`.
#[derive(Clone, Copy)]
pub struct Cut {
    pub h: usize,
    pub w: usize,
    pub c: usize,
    pub size: usize,
}

/// Sizes of one attention: samples, tokens, features of all heads, heads.
#[derive(Clone, Copy, Debug)]
pub struct AttentionSize {
    pub b: usize,
    pub n: usize,
    pub d: usize,
    pub heads: usize,
}

impl AttentionSize {
    /// Features of a head.
    pub(crate) fn features(&self) -> usize {
        self.d / self.heads
    }

    /// 1 / √features
    pub(crate) fn scale(&self) -> f64 {
        1.0 / (self.features() as f64).sqrt()
    }
}

/// The factor of each element: 0 for word i of the stream of `seed` below `drop_below`, else `scale`.
#[derive(Clone, Copy)]
pub struct Mask {
    pub seed: [u8; 32],
    /// From 0 to 2³².
    pub drop_below: u64,
    pub scale: f64,
}

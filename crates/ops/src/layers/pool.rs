//! Pooling over windows and over the whole image, channels last.

use super::{Pooling, Window2d};
use crate::dispatch::on_device;
use crate::graph::Activation;
use candle_core::{Result, bail};

/// The largest value in each window of `x` `[b, h, w, c]`, giving `[b, h', w', c]` with h' = ⌊(h + 2·padding − kernel)
/// / stride⌋ + 1. As in PyTorch, padding counts as −∞, a NaN counts as the largest, and the gradient goes to the first
/// maximum.
///
/// `Err` if the shape does not fit or the padding exceeds half the kernel.
pub fn max_pool2d<X: Activation>(x: &X, window: Window2d) -> Result<X> {
    let p = Pooling::of("max_pool2d", x.values(), window)?;
    let x = &x.input()?;
    let shape = &[x.values().dims()[0], p.oh, p.ow, p.c];
    on_device!(x.values(), X::max_pool2d(x, p, shape))
}

/// The mean of each window of `x` `[b, h, w, c]`, giving `[b, h', w', c]` as [`max_pool2d`] does. As PyTorch's default:
/// padding counts as zeros, so the divisor is always the size of the kernel.
///
/// `Err` if the shape does not fit or the padding exceeds half the kernel.
pub fn avg_pool2d<X: Activation>(x: &X, window: Window2d) -> Result<X> {
    let p = Pooling::of("avg_pool2d", x.values(), window)?;
    averages(x, p, &[x.values().dims()[0], p.oh, p.ow, p.c])
}

/// The mean over all pixels of `x` `[b, h, w, c]`, giving `[b, c]`. `Err` for another rank or an image without pixels.
pub fn global_avg_pool2d<X: Activation>(x: &X) -> Result<X> {
    let &[b, h, w, c] = x.values().dims() else {
        bail!("global_avg_pool2d: expected x [b, h, w, c], got {:?}", x.values().dims())
    };
    let whole = Window2d { kernel: (h, w), stride: (1, 1), padding: (0, 0) };
    averages(x, Pooling::of("global_avg_pool2d", x.values(), whole)?, &[b, c])
}

fn averages<X: Activation>(x: &X, p: Pooling, shape: &[usize]) -> Result<X> {
    let x = &x.input()?;
    on_device!(x.values(), X::averages(x, p, shape))
}

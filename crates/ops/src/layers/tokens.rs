//! The ends of a vision transformer: patches become tokens after a class token, which the classifier reads in the end.

use super::{Cut, same_dtype};
use crate::dispatch::on_device;
use crate::graph::{Activation, Recorded};
use candle_core::{Result, Tensor, bail};

/// The patches of `size` × `size` pixels of `x` `[b, h, w, c]`, row by row of the image: `[b, h/size · w/size, c ·
/// size²]`, a patch in the order (channel, row, column), which is that of a convolution's weight. So
/// [`linear`](crate::linear) with a weight `[out, c, size, size]` of these patches is the convolution of the images
/// with `size` as kernel and stride.
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
    let shape = &[b, (h / size) * (w / size), c * size * size];
    let x = &x.input()?;
    on_device!(x.values(), X::patches(x, cut, shape))
}

/// `class_token` `[1, 1, d]` before the patches `x` `[b, n, d]` of every sample, plus `positions` `[1, n + 1, d]`:
/// `[b, n + 1, d]`. What timm's ViT does with `cls_token` and `pos_embed` before its first block.
///
/// The gradients of the parameters are sums over the batch. `Err` if the shapes or element types do not fit.
pub fn tokens<X: Activation>(x: &X, class_token: &Tensor, positions: &Tensor) -> Result<X> {
    let &[_, n, d] = x.values().dims() else { bail!("tokens: expected x [b, n, d], got {:?}", x.values().dims()) };
    for (name, tensor, expected) in
        [("class token", class_token, [1, 1, d]), ("table of positions", positions, [1, n + 1, d])]
    {
        if tensor.dims() != expected {
            bail!("tokens: x {:?} needs a {name} {expected:?}, got {:?}", x.values().dims(), tensor.dims());
        }
    }
    same_dtype("tokens", &[class_token, positions])?;
    let (x, class_token, positions) = (&x.input()?, &class_token.input()?, &positions.input()?);
    on_device!(x.values(), X::tokens(x, class_token, positions))
}

/// The first token of every sample of `x` `[b, n, d]`, giving `[b, d]`: the class token, which a classifier reads.
///
/// `Err` for another rank or samples without tokens.
pub fn first_token<X: Activation>(x: &X) -> Result<X> {
    let &[b, n, d] = x.values().dims() else { bail!("first_token: expected x [b, n, d], got {:?}", x.values().dims()) };
    if n == 0 {
        bail!("first_token: samples of x {:?} have no tokens", x.values().dims());
    }
    let x = &x.input()?;
    on_device!(x.values(), X::first_token(x, [b, n, d]))
}

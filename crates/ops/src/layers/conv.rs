//! Convolutions and linear maps.

use super::Geometry;
use crate::dispatch::on_device;
use crate::graph::{Activation, Recorded};
use crate::per_sample::last_layer::note_linear;
use candle_core::{Result, Tensor, bail};

/// Cross-correlation of `x` `[b, h, w, c_in]` with `weight` `[c_out, c_in, kh, kw]`, plus `bias` `[c_out]`, giving
/// `[b, h', w', c_out]` with h' = ⌊(h + 2·padding − kh) / stride⌋ + 1: PyTorch's `conv2d` on channels-last activations.
///
/// The gradient of an untracked input or weight is not computed. The bits of the result do not depend on the number of
/// threads. `Err` if the shapes or element types do not fit or the kernel is larger than the padded image.
pub fn conv2d<X: Activation>(
    x: &X,
    weight: &Tensor,
    bias: Option<&Tensor>,
    stride: (usize, usize),
    padding: (usize, usize),
) -> Result<X> {
    let g = Geometry::of(x.values(), weight, stride, padding)?;
    if let Some(bias) = bias
        && bias.dims() != [g.c_out]
    {
        bail!("conv2d: weight {:?} needs a bias [{}], got {:?}", weight.dims(), g.c_out, bias.dims());
    }
    convolution("conv2d", x, weight, bias, g, vec![g.batch, g.out_height, g.out_width, g.c_out])
}

/// `x` `[.., in]` times `weightᵀ` `[in, out]` plus `bias` `[out]`, giving `[.., out]`: PyTorch's `linear`.
///
/// A weight of more dimensions, `[out, ..]`, counts as the matrix of its rows: that of a convolution, for
/// [`patches`](crate::patches). `Err` if the shapes or element types do not fit.
pub fn linear<X: Activation>(x: &X, weight: &Tensor, bias: Option<&Tensor>) -> Result<X> {
    let (activation, x) = (x, x.values());
    let (&[ref leading @ .., c_in], &[c_out, ref w_in @ .., last]) = (x.dims(), weight.dims()) else {
        bail!("linear: expected x [.., in] and weight [out, in], got {:?} and {:?}", x.dims(), weight.dims())
    };
    let w_in = w_in.iter().product::<usize>() * last;
    if c_in != w_in {
        bail!("linear: x {:?} has {c_in} features, but weight {:?} expects {w_in}", x.dims(), weight.dims());
    }
    if let Some(bias) = bias
        && bias.dims() != [c_out]
    {
        bail!("linear: weight {:?} needs a bias [{c_out}], got {:?}", weight.dims(), bias.dims());
    }
    // A linear map of n rows is a 1 x 1 convolution of n pixels.
    let pixels = Geometry::pointwise(leading.iter().product(), c_in, c_out);
    let y = convolution("linear", activation, weight, bias, pixels, [leading, &[c_out]].concat())?;
    note_linear(x, weight, bias, y.values());
    Ok(y)
}

/// The convolution `g`; its output gets `shape`, and errors name `op`.
fn convolution<X: Activation>(
    op: &'static str,
    x: &X,
    weight: &Tensor,
    bias: Option<&Tensor>,
    g: Geometry,
    shape: Vec<usize>,
) -> Result<X> {
    let (x, weight, bias) = (&x.input()?, &weight.input()?, bias.map(Recorded::input).transpose()?);
    on_device!(x.values(), X::convolution(op, x, weight, bias.as_ref(), g, shape))
}

//! 2-D convolution, channels last.

mod algorithm;
mod direct;
mod geometry;
mod kernels;
mod winograd;

pub(crate) use geometry::{Geometry, windows};

use algorithm::Algorithm;
use crate::float::{Float, same_dtype, with_float, with_slice};
use crate::node::{constant, input, record2, record3};
use crate::parallel::column_sums;
use candle_core::{Result, Tensor, bail};

/// Cross-correlation of `x` `[b, h, w, c_in]` with `weight` `[c_out, c_in, kh, kw]`, plus `bias` `[c_out]`, giving
/// `[b, h', w', c_out]` with h' = ⌊(h + 2·padding − kh) / stride⌋ + 1: PyTorch's `conv2d` on channels-last activations.
///
/// The gradient of an untracked input or weight is not computed. The bits of the result do not depend on the number of
/// threads. `Err` if the shapes or element types do not fit or the kernel is larger than the padded image.
pub fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    stride: (usize, usize),
    padding: (usize, usize),
) -> Result<Tensor> {
    let g = Geometry::of(x, weight, stride, padding)?;
    if let Some(bias) = bias
        && bias.dims() != [g.c_out]
    {
        bail!("conv2d: weight {:?} needs a bias [{}], got {:?}", weight.dims(), g.c_out, bias.dims());
    }
    record("conv2d", x, weight, bias, g, vec![g.batch, g.out_height, g.out_width, g.c_out])
}

/// The convolution `g` as a node of the graph; its output gets `shape`, and errors name `op`.
pub(crate) fn record(
    op: &'static str,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    g: Geometry,
    shape: Vec<usize>,
) -> Result<Tensor> {
    let (x, weight, bias) = (input(x)?, input(weight)?, bias.map(input).transpose()?);
    same_dtype(op, &[&x, &weight])?;
    if let Some(bias) = &bias {
        same_dtype(op, &[&weight, bias])?;
    }
    with_float!(op, x, T => match &bias {
        None => {
            let y = forward::<T>(&g, &x, &weight, None)?;
            record2(op, (&x, &weight), y, shape, move |[x, weight], _, dy| {
                Ok([grad_input::<T>(&g, x, weight, dy)?, grad_weight::<T>(&g, x, weight, dy)?])
            })
        }
        Some(bias) => {
            let y = forward::<T>(&g, &x, &weight, Some(bias))?;
            record3(op, (&x, &weight, bias), y, shape, move |[x, weight, bias], _, dy| {
                Ok([
                    grad_input::<T>(&g, x, weight, dy)?,
                    grad_weight::<T>(&g, x, weight, dy)?,
                    grad_bias::<T>(bias, dy)?,
                ])
            })
        }
    })
}

fn forward<T: Float>(g: &Geometry, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Vec<T>> {
    let algorithm = Algorithm::of(g);
    with_slice(x, |x| {
        with_slice(weight, |weight| match bias {
            Some(bias) => with_slice(bias, |bias| Ok(algorithm.forward(x, weight, Some(bias)))),
            None => Ok(algorithm.forward(x, weight, None)),
        })
    })
}

fn grad_input<T: Float>(g: &Geometry, x: &Tensor, weight: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
    if !x.track_op() {
        return Ok(None);
    }
    let algorithm = Algorithm::of(g);
    let dx = with_slice::<T, _>(weight, |weight| with_slice(dy, |dy| Ok(algorithm.grad_input(weight, dy))))?;
    constant(dx, x.shape()).map(Some)
}

fn grad_weight<T: Float>(g: &Geometry, x: &Tensor, weight: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
    if !weight.track_op() {
        return Ok(None);
    }
    let algorithm = Algorithm::of(g);
    let dw = with_slice::<T, _>(x, |x| with_slice(dy, |dy| Ok(algorithm.grad_weight(x, dy))))?;
    constant(dw, weight.shape()).map(Some)
}

fn grad_bias<T: Float>(bias: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
    if !bias.track_op() {
        return Ok(None);
    }
    let sums = with_slice::<T, _>(dy, |dy| Ok(column_sums(dy, bias.elem_count())))?;
    constant(sums.into_iter().map(T::narrow).collect(), bias.shape()).map(Some)
}

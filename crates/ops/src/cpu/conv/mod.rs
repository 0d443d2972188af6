//! Convolutions and linear maps: products of matrices by kernels of our own.

// Kernels index the rows and columns of a register tile, as their formulas do.
#![allow(clippy::needless_range_loop)]

mod algorithm;
mod direct;
mod gram;
mod pointwise;
mod squares;
mod winograd;

use super::float::{Float, constant, on_cpu, with_float, with_slice};
use super::parallel::column_sums;
use super::squares::squares_of_sums;
use crate::graph::{Activation, Pass};
use crate::layers::{Geometry, same_dtype};
use crate::per_sample::ghost::take_part;
use crate::profile::timed;
use algorithm::Algorithm;
pub use algorithm::direct_convolutions;
use candle_core::{Result, Tensor};

/// [`conv2d`](crate::conv2d) and [`linear`](crate::linear), whose shapes are checked.
pub(crate) fn convolution<X: Activation>(
    op: &'static str,
    x: &X,
    weight: &Tensor,
    bias: Option<&Tensor>,
    g: Geometry,
    shape: Vec<usize>,
) -> Result<X> {
    same_dtype(op, &[x.values(), weight])?;
    if let Some(bias) = bias {
        same_dtype(op, &[weight, bias])?;
    }
    with_float!(op, x.values(), T => match bias {
        None => {
            let y = forward::<T>(&g, x.values(), weight, None)?;
            let ghost = take_part(op, [weight]);
            X::record(op, &[x], &[weight], on_cpu(y), shape, move |Pass { inputs: [x, weight], wanted, dy, .. }| {
                Ok([
                    wanted[0].then(|| grad_input::<T>(&g, x, weight, dy)).transpose()?,
                    ghost.gradient(0, wanted[1], || grad_weight::<T>(&g, x, weight, dy), || weight_squares::<T>(&g, x, dy))?,
                ])
            })
        }
        Some(bias) => {
            let y = forward::<T>(&g, x.values(), weight, Some(bias))?;
            let ghost = take_part(op, [weight, bias]);
            X::record(op, &[x], &[weight, bias], on_cpu(y), shape, move |Pass { inputs: [x, weight, bias], wanted, dy, .. }| {
                Ok([
                    wanted[0].then(|| grad_input::<T>(&g, x, weight, dy)).transpose()?,
                    ghost.gradient(0, wanted[1], || grad_weight::<T>(&g, x, weight, dy), || weight_squares::<T>(&g, x, dy))?,
                    ghost.gradient(1, wanted[2], || grad_bias::<T>(bias, dy), || bias_squares::<T>(bias, samples(x), dy))?,
                ])
            })
        }
    })
}

fn forward<T: Float>(g: &Geometry, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Vec<T>> {
    let algorithm = Algorithm::of(g);
    let forward = |x: &[T], weight: &[T], bias: Option<&[T]>| {
        timed(|| named(g, "forward"), || algorithm.forward(x, weight, bias))
    };
    with_slice(x, |x| {
        with_slice(weight, |weight| match bias {
            Some(bias) => with_slice(bias, |bias| Ok(forward(x, weight, Some(bias)))),
            None => Ok(forward(x, weight, None)),
        })
    })
}

fn grad_input<T: Float>(g: &Geometry, x: &Tensor, weight: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let algorithm = Algorithm::of(g);
    let grad_input = |weight: &[T], dy: &[T]| timed(|| named(g, "dx"), || algorithm.grad_input(weight, dy));
    let dx = with_slice(weight, |weight| with_slice(dy, |dy| Ok(grad_input(weight, dy))))?;
    constant(dx, x.shape())
}

fn grad_weight<T: Float>(g: &Geometry, x: &Tensor, weight: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let algorithm = Algorithm::of(g);
    let grad_weight = |x: &[T], dy: &[T]| timed(|| named(g, "dw"), || algorithm.grad_weight(x, dy));
    let dw = with_slice(x, |x| with_slice(dy, |dy| Ok(grad_weight(x, dy))))?;
    constant(dw, weight.shape())
}

/// The first dimension of a batch.
fn samples(x: &Tensor) -> usize {
    if x.rank() > 1 { x.dims()[0] } else { 1 }
}

/// ‖dwᵢ‖² of every sample i.
fn weight_squares<T: Float>(g: &Geometry, x: &Tensor, dy: &Tensor) -> Result<Vec<f64>> {
    let one = Geometry { batch: g.batch / samples(x).max(1), ..*g };
    let squares = |x: &[T], dy: &[T]| timed(|| named(g, "squares"), || squares::of_weights(&one, x, dy));
    with_slice(x, |x| with_slice(dy, |dy| Ok(squares(x, dy))))
}

fn bias_squares<T: Float>(bias: &Tensor, samples: usize, dy: &Tensor) -> Result<Vec<f64>> {
    with_slice::<T, _>(dy, |dy| Ok(squares_of_sums(dy, samples, bias.elem_count())))
}

/// A pass of a convolution in a profile, and the operations of its definition.
fn named(g: &Geometry, pass: &str) -> (String, f64) {
    let &Geometry { kernel: (kh, kw), stride: (sy, _), c_in, c_out, height, width, .. } = g;
    let name = format!("conv {kh}×{kw}/{sy} {c_in}→{c_out} at {height}×{width} {pass}");
    (name, 2.0 * (g.pixels() * g.window() * c_out) as f64)
}

fn grad_bias<T: Float>(bias: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let named = || (format!("bias {:?} gradient", dy.dims()), 0.0);
    let sums = timed(named, || with_slice::<T, _>(dy, |dy| Ok(column_sums(dy, bias.elem_count()))))?;
    constant(sums.into_iter().map(T::narrow).collect(), bias.shape())
}

//! Convolutions and linear maps: products of matrices by kernels of our own.

// Kernels index the rows and columns of a register tile, as their formulas do.
#![allow(clippy::needless_range_loop)]

mod algorithm;
mod direct;
mod displaced;
mod gram;
mod low_rank;
mod pointwise;
mod squares;
mod winograd;

use super::float::{Float, constant, on_cpu, with_float, with_slice};
use super::parallel::column_sums;
use super::squares::sums_of_samples;
use crate::graph::{Activation, Pass};
use crate::layers::{Geometry, same_dtype};
use crate::per_sample::groups::{Groups, samples};
use crate::per_sample::micro::Displacement;
use crate::per_sample::recorder::{Terms, take_part};
use crate::profile::timed;
use algorithm::Algorithm;
pub use algorithm::direct_convolutions;
use candle_core::{Result, Tensor};
pub(crate) use displaced::weighted_gradient;

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
            let part = take_part(op, [weight]);
            let y = forward::<T>(&g, x.values(), (weight, part.displaced(0)), None)?;
            X::record(op, &[x], &[weight], on_cpu(y), shape, move |Pass { inputs: [x, weight], wanted, dy, .. }| {
                let terms = |size, keeps| displaced::weight_terms::<T>(&g, Groups { samples: samples(x), size }, keeps, [x, dy]);
                Ok([
                    wanted[0].then(|| grad_input::<T>(&g, x, (weight, part.displaced(0)), dy)).transpose()?,
                    part.gradient(0, wanted[1], || grad_weight::<T>(&g, x, weight, dy), terms)?,
                ])
            })
        }
        Some(bias) => {
            let part = take_part(op, [weight, bias]);
            let y = forward::<T>(&g, x.values(), (weight, part.displaced(0)), Some((bias, part.displaced(1))))?;
            X::record(op, &[x], &[weight, bias], on_cpu(y), shape, move |Pass { inputs: [x, weight, bias], wanted, dy, .. }| {
                let groups = |size| Groups { samples: samples(x), size };
                let terms = |size, keeps| displaced::weight_terms::<T>(&g, groups(size), keeps, [x, dy]);
                Ok([
                    wanted[0].then(|| grad_input::<T>(&g, x, (weight, part.displaced(0)), dy)).transpose()?,
                    part.gradient(0, wanted[1], || grad_weight::<T>(&g, x, weight, dy), terms)?,
                    part.gradient(1, wanted[2], || grad_bias::<T>(bias, dy), |size, keeps| bias_terms::<T>(bias, groups(size), keeps, dy))?,
                ])
            })
        }
    })
}

/// A parameter, and what it is displaced by.
type Displaced<'a> = (&'a Tensor, Option<&'a Displacement>);

fn forward<T: Float>(g: &Geometry, x: &Tensor, (weight, moved): Displaced, bias: Option<Displaced>) -> Result<Vec<T>> {
    let displacement = moved.or(bias.and_then(|(_, moved)| moved));
    let groups = displacement.map(|displacement| displacement.groups_of("convolution", samples(x))).transpose()?;
    let forward = |x: &[T], weight: &[T], bias: Option<(&[T], Option<&Displacement>)>| {
        let pass = || match groups {
            None => Ok(Algorithm::of(g).forward(x, weight, bias.map(|(bias, _)| bias))),
            Some(groups) => displaced::forward(g, x, (weight, moved), bias, groups),
        };
        timed(|| named(g, "forward"), pass)
    };
    with_slice(x, |x| {
        with_slice(weight, |weight| match bias {
            Some((bias, moved)) => with_slice(bias, |bias| forward(x, weight, Some((bias, moved)))),
            None => forward(x, weight, None),
        })
    })
}

fn grad_input<T: Float>(g: &Geometry, x: &Tensor, (weight, moved): Displaced, dy: &Tensor) -> Result<Tensor> {
    let grad_input = |weight: &[T], dy: &[T]| {
        let pass = || match moved {
            None => Ok(Algorithm::of(g).grad_input(weight, dy)),
            Some(moved) => displaced::grad_input(g, weight, dy, moved, moved.groups_of("convolution", samples(x))?),
        };
        timed(|| named(g, "dx"), pass)
    };
    let dx = with_slice(weight, |weight| with_slice(dy, |dy| grad_input(weight, dy)))?;
    constant(dx, x.shape())
}

fn grad_weight<T: Float>(g: &Geometry, x: &Tensor, weight: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let algorithm = Algorithm::of(g);
    let grad_weight = |x: &[T], dy: &[T]| timed(|| named(g, "dw"), || algorithm.grad_weight(x, dy));
    let dw = with_slice(x, |x| with_slice(dy, |dy| Ok(grad_weight(x, dy))))?;
    constant(dw, weight.shape())
}

fn bias_terms<T: Float>(bias: &Tensor, groups: Groups, keeps: bool, dy: &Tensor) -> Result<Terms> {
    let of_samples = with_slice::<T, _>(dy, |dy| Ok(sums_of_samples(dy, groups.samples, bias.elem_count())))?;
    Terms::of_sums(groups, &groups.sums(&of_samples), keeps, dy)
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

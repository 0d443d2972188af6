//! The ops on the CPU, for f32 and f64.
//!
//! This module and `cuda` have the same functions, one for each op; [`on_device!`](crate::dispatch) chooses between
//! them. Below the ops lie what they share: element types (`float`), vector instructions (`vector`), the product of
//! a register tile (`kernels`) and of matrices (`product`, and `amx` on processors that have it), parallel loops
//! (`parallel`), sums along rows (`rows`), squared norms per sample (`squares`), memory of a thread (`scratch`).

mod activations;
mod amx;
mod attention;
mod compiled;
mod conv;
mod cross_entropy;
mod curve;
mod displaced;
mod dropout;
mod float;
mod kernels;
mod layer_scale;
mod norm;
mod parallel;
mod parameters;
mod patches;
mod pool;
mod product;
mod rows;
mod samples;
mod scratch;
mod softmax;
mod squares;
mod tokens;
mod vector;

pub(crate) use activations::{cast, copied, gelu, number, relu, sum, zero};
pub use amx::has_amx;
pub(crate) use attention::attention;
pub(crate) use compiled::Compiled;
pub(crate) use conv::convolution;
pub use conv::direct_convolutions;
pub(crate) use cross_entropy::{cross_entropy, cross_entropy_of_distributions, last_layer_norms};
pub(crate) use displaced::weighted_gradient;
pub(crate) use dropout::dropout;
pub(crate) use layer_scale::layer_scale;
pub(crate) use norm::{batch_norm, group_norm, layer_norm};
pub(crate) use parameters::{adamw_step, add_scaled, displaced, displaced_by_signs, dot, saved, scale, sgd_step};
pub(crate) use patches::patches;
pub(crate) use pool::{averages, max_pool2d};
pub(crate) use samples::{norms_of_columns, reweight, rms_slopes, weighted_sum};
pub(crate) use softmax::softmax;
pub(crate) use squares::sum_of_squares;
pub(crate) use tokens::{first_token, tokens};

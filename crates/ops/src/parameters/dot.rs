//! The inner product of two vectors in parameter space, accumulated in f64.

use super::lists::{check, plain};
use crate::dispatch::on_device;
use candle_core::{Result, Tensor};

/// Σ aᵢ bᵢ over all elements of all tensors, f64 `[]` on their device: the inner product of two vectors in parameter
/// space.
///
/// Blocks of fixed size are summed in parallel and added in order, so the bits do not depend on the number of threads.
/// `Err` if shapes or element types differ.
pub fn dot(a: &[&Tensor], b: &[&Tensor]) -> Result<Tensor> {
    check("dot", a, b)?;
    let (a, b) = (plain(a)?, plain(b)?);
    on_device!(a.first(), dot(&a, &b))
}

/// Σ aᵢ², f64 `[]` on their device: the squared length of a vector in parameter space.
pub fn sum_of_squares(a: &[&Tensor]) -> Result<Tensor> {
    dot(a, a)
}

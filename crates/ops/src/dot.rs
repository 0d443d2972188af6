//! The inner product of two tensors, accumulated in f64.

use crate::float::{Float, same_dtype, with_float, with_slice};
use crate::parallel::CHUNK;
use crate::vector::vectorised;
use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

/// Σ aᵢ bᵢ over all elements, in f64: `dot(a, a)` is ‖a‖². Not differentiable.
///
/// Blocks of fixed size are summed in parallel and added in order, so the bits do not depend on the number of threads.
/// `Err` if shapes or element types differ.
pub fn dot(a: &Tensor, b: &Tensor) -> Result<f64> {
    if a.dims() != b.dims() {
        bail!("dot: shapes differ: {:?} and {:?}", a.dims(), b.dims());
    }
    same_dtype("dot", &[a, b])?;
    let (a, b) = (&a.detach().contiguous()?, &b.detach().contiguous()?);
    with_float!("dot", a, T => with_slice::<T, _>(a, |a| with_slice(b, |b| Ok(sum_of_products(a, b)))))
}

fn sum_of_products<T: Float>(a: &[T], b: &[T]) -> f64 {
    let blocks: Vec<f64> = a
        .par_chunks(CHUNK)
        .zip(b.par_chunks(CHUNK))
        .map(|(a, b)| {
            vectorised(
                #[inline(always)]
                || block(a, b),
            )
        })
        .collect();
    blocks.iter().sum()
}

/// One block in eight independent sums, which the compiler turns into vectors.
#[inline(always)]
fn block<T: Float>(a: &[T], b: &[T]) -> f64 {
    let mut sums = [0.0; 8];
    let (a_blocks, a_rest) = a.as_chunks::<8>();
    let (b_blocks, b_rest) = b.as_chunks::<8>();
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for j in 0..8 {
            sums[j] += a[j].wide() * b[j].wide();
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a.wide() * b.wide()).sum();
    sums.iter().sum::<f64>() + rest
}

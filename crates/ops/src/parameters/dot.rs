//! The inner product of two vectors in parameter space, accumulated in f64.

use super::{check, plain};
use crate::float::{Float, with_float, with_slice};
use crate::parallel::CHUNK;
use crate::vector::vectorised;
use candle_core::{Device, Result, Tensor};
use rayon::prelude::*;

/// Σ aᵢ bᵢ over all elements of all tensors, f64 `[]` on their device: the inner product of two vectors in parameter
/// space.
///
/// Blocks of fixed size are summed in parallel and added in order, so the bits do not depend on the number of threads.
/// `Err` if shapes or element types differ.
pub fn dot(a: &[&Tensor], b: &[&Tensor]) -> Result<Tensor> {
    check("dot", a, b)?;
    let (a, b) = (plain(a)?, plain(b)?);
    #[cfg(feature = "cuda")]
    if let Some(gpu) = crate::cuda::gpu_of_all(&a)? {
        return crate::cuda::parameters::dot(&gpu, &a, &b);
    }
    let part = |(a, b): (&Tensor, &Tensor)| with_float!("dot", a, T => with_slice::<T, _>(a, |a| with_slice(b, |b| Ok(sum_of_products(a, b)))));
    let sum: f64 = a.iter().zip(&b).map(part).collect::<Result<Vec<f64>>>()?.iter().sum();
    Tensor::new(sum, &Device::Cpu)
}

/// Σ aᵢ², f64 `[]` on their device: the squared length of a vector in parameter space.
pub fn sum_of_squares(a: &[&Tensor]) -> Result<Tensor> {
    dot(a, a)
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

//! Squared norms and sums over the positions of a sample, in f64.

use super::float::Float;
use super::parallel::of_chunks;
use super::rows;
use super::vector::vectorised;

/// ‖rowᵢ‖² of the `rows` rows of `x`, of any length.
pub(crate) fn squares_of_rows<T: Float>(x: &[T], rows: usize) -> Vec<f64> {
    of_chunks(x, x.len() / rows.max(1), sum_of_squares)
}

/// Σₚ xᵢₚ of every sample i, for `x` `[samples, p, width]`: of a parameter that is added to every position.
pub(crate) fn sums_of_samples<T: Float>(x: &[T], samples: usize, width: usize) -> Vec<Vec<f64>> {
    let one = |x: &[T]| {
        let mut sums = vec![0.; width];
        for x in x.chunks_exact(width) {
            sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += x.wide());
        }
        sums
    };
    of_chunks(x, x.len() / samples.max(1), one)
}

/// Σ xⱼ² in f64, in an order that is a function of the length.
pub(crate) fn sum_of_squares<T: Float>(x: &[T]) -> f64 {
    product(x, x)
}

/// Σ xⱼ yⱼ in f64, in an order that is a function of the length.
pub(crate) fn product<T: Float>(x: &[T], y: &[T]) -> f64 {
    vectorised(
        #[inline(always)]
        || rows::product(x, y),
    )
}

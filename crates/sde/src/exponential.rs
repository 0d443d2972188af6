//! The exponential of an operator, where numbers reach far enough for it.

use nalgebra::DMatrix;

/// So many matrices of its size are held at once while an exponential is computed.
pub(crate) const MATRICES: f64 = 20.;

/// e^`matrix`; all NaN where it cannot be computed: an entry is no finite number, or the tenth power of the norm, from
/// which the number of squarings is taken, is none.
///
/// Its error in a row is small for the entries of that row: the number of squarings goes by powers of the matrix, in
/// which a large coefficient of one row counts for little in the others.
pub(crate) fn exponential(matrix: &DMatrix<f64>) -> DMatrix<f64> {
    let sums = matrix.column_iter().map(|column| column.iter().map(|a| a.abs()).sum::<f64>());
    let computable = sums.max_by(f64::total_cmp).is_none_or(|norm| norm < 1e30); // which NaN is not
    if computable { matrix.exp() } else { DMatrix::from_element(matrix.nrows(), matrix.ncols(), f64::NAN) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two rows that go to constants of very different size: x' = s − x.
    #[test]
    fn a_small_row_beside_a_large_one_is_exact() {
        let (large, small) = (1e12, 1e-12);
        let found = exponential(&DMatrix::from_row_slice(3, 3, &[0., 0., 0., large, -1., 0., small, 0., -1.]));
        let risen = -(-1f64).exp_m1();
        for (found, size) in [(found[(1, 0)], large), (found[(2, 0)], small)] {
            assert!((found / (size * risen) - 1.).abs() < 1e-13, "{found:e}");
        }
    }

    #[test]
    fn what_is_no_number_or_too_large_is_undefined() {
        for entry in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e200] {
            let found = exponential(&DMatrix::from_row_slice(2, 2, &[1., entry, 0., 1.]));
            assert!(found.iter().all(|e| e.is_nan()), "{entry}");
        }
    }
}

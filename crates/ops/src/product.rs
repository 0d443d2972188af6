//! Safe matrix products over gemm, on the calling thread.

use crate::float::Float;
use std::mem::MaybeUninit;

/// A view of a slice as a matrix: element (i, j) is `data[i * row_stride + j * col_stride]`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// The first `rows * cols` elements, row by row.
    pub(crate) fn new(data: &'a [T], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// Rows that start `row_stride` elements apart.
    #[track_caller]
    pub(crate) fn strided(data: &'a [T], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(
            rows == 0 || cols == 0 || (rows - 1) * row_stride + cols <= data.len(),
            "a {rows} x {cols} matrix with row stride {row_stride} needs more than {} elements",
            data.len()
        );
        Self { data, rows, cols, row_stride, col_stride: 1 }
    }

    /// The transpose.
    pub(crate) fn t(self) -> Self {
        Self {
            data: self.data,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }
}

/// `out = a b`, row by row; writes every element of `out` `[a.rows * b.cols]`.
#[track_caller]
pub(crate) fn product<T: Float>(a: Matrix<T>, b: Matrix<T>, out: &mut [MaybeUninit<T>]) {
    assert_eq!((a.cols, a.rows * b.cols), (b.rows, out.len()));
    // SAFETY: both views are in bounds (`strided` has checked), `out` holds a.rows * b.cols elements, the borrows keep
    // it apart from the inputs, and gemm does not read it when it is told so.
    unsafe { gemm(a, b, out.as_mut_ptr().cast(), false) }
}

/// `out += a b`, row by row.
#[track_caller]
pub(crate) fn add_product<T: Float>(a: Matrix<T>, b: Matrix<T>, out: &mut [T]) {
    assert_eq!((a.cols, a.rows * b.cols), (b.rows, out.len()));
    // SAFETY: as in `product`; `out` is initialised.
    unsafe { gemm(a, b, out.as_mut_ptr(), true) }
}

/// # Safety
/// `out` must hold `a.rows * b.cols` elements apart from the inputs, initialised if `accumulate`.
unsafe fn gemm<T: Float>(a: Matrix<T>, b: Matrix<T>, out: *mut T, accumulate: bool) {
    // SAFETY: the caller's promise, and the bounds that every `Matrix` has checked; T is f32 or f64.
    unsafe {
        gemm::gemm(
            a.rows,
            b.cols,
            a.cols,
            out,
            1,
            b.cols as isize,
            accumulate,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            T::one(),
            T::one(),
            false,
            false,
            false,
            gemm::Parallelism::None,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The triple loop, over shapes that reach each of gemm's special cases; the output starts as NaN, so that a read
    /// of it would show.
    #[test]
    fn equals_the_triple_loop_and_does_not_read_the_output() {
        for (m, n, k) in [(1, 1, 1), (1, 7, 5), (7, 1, 5), (5, 6, 2), (3, 4, 9), (20, 30, 17), (70, 65, 40), (9, 40, 1)]
        {
            let a: Vec<f64> = (0..m * k).map(|i| ((i * 7919) % 23) as f64 - 11.0).collect();
            let b: Vec<f64> = (0..k * n).map(|i| ((i * 104_729) % 19) as f64 - 9.0).collect();
            let expected: Vec<f64> =
                (0..m * n).map(|index| (0..k).map(|l| a[index / n * k + l] * b[l * n + index % n]).sum()).collect();
            let mut at = vec![0.0; m * k];
            let mut bt = vec![0.0; k * n];
            for l in 0..k {
                (0..m).for_each(|i| at[l * m + i] = a[i * k + l]);
                (0..n).for_each(|j| bt[j * k + l] = b[l * n + j]);
            }
            for a in [Matrix::new(&a, m, k), Matrix::new(&at, k, m).t()] {
                for b in [Matrix::new(&b, k, n), Matrix::new(&bt, n, k).t()] {
                    let mut out = vec![MaybeUninit::new(f64::NAN); m * n];
                    product(a, b, &mut out);
                    // SAFETY: every element was NaN before and a number now.
                    let mut out: Vec<f64> = out.iter().map(|x| unsafe { x.assume_init() }).collect();
                    assert_eq!(out, expected, "{m} x {n} x {k}");
                    add_product(a, b, &mut out);
                    assert_eq!(out, expected.iter().map(|x| 2.0 * x).collect::<Vec<_>>());
                }
            }
        }
    }
}

//! Products of small matrices, rows of which lie anywhere, and their right sides as panels.

// Kernels index the rows and columns of a register tile, as their formulas do.
#![allow(clippy::needless_range_loop)]

use crate::cpu::conv::{Paneled, Tile, rows_times_panels};
use crate::cpu::parallel::Region;
use crate::cpu::vector::{Lanes, lanes, store, store_first};
use pulp::{Simd, WithSimd};

/// A matrix in memory that no other task uses meanwhile: element (i, j) at i · row + j · column.
#[derive(Clone, Copy)]
pub(super) struct Matrix<T> {
    pub(super) start: Region<T>,
    pub(super) row: usize,
    pub(super) column: usize,
}

impl<T> Matrix<T> {
    /// Rows of `row` elements each.
    pub(super) fn rows(start: Region<T>, row: usize) -> Self {
        Self { start, row, column: 1 }
    }

    pub(super) fn transposed(self) -> Self {
        Self { row: self.column, column: self.row, ..self }
    }
}

/// Elements of a matrix `[inner, columns]` in panels `[panel of columns][inner][lane]`.
pub(super) fn panels_len(inner: usize, columns: usize, width: usize) -> usize {
    columns.div_ceil(width) * inner * width
}

/// A matrix `[inner, columns]` into panels; zeros in the lanes without a column.
///
/// # Safety
/// The matrix must be readable, and no other task may write there meanwhile.
pub(super) unsafe fn pack<T: Lanes>(from: Matrix<T>, inner: usize, columns: usize, width: usize, to: &mut [T]) {
    for (panel, to) in to[..panels_len(inner, columns, width)].chunks_exact_mut(inner * width).enumerate() {
        let first = panel * width;
        let count = width.min(columns - first);
        if from.column == 1 {
            for (k, to) in to.chunks_exact_mut(width).enumerate() {
                // SAFETY: `count` columns are there from `first` on, and a chunk has room for them.
                unsafe {
                    std::ptr::copy_nonoverlapping(from.start.at(k * from.row + first), to.as_mut_ptr(), count);
                }
                to[count..].fill(T::ZERO);
            }
        } else {
            for lane in 0..width {
                for k in 0..inner {
                    let at = from.start.at(k * from.row + (first + lane) * from.column);
                    // SAFETY: as above.
                    to[k * width + lane] = if lane < count { unsafe { at.read() } } else { T::ZERO };
                }
            }
        }
    }
}

/// c = a · b, `[rows, columns]` with `inner` summands; b in panels.
pub(super) struct Product<'a, T> {
    pub(super) rows: usize,
    pub(super) inner: usize,
    pub(super) columns: usize,
    pub(super) a: Matrix<T>,
    pub(super) b: &'a [T],
    /// Neighbours in a row lie side by side.
    pub(super) c: Matrix<T>,
}

impl<T: Lanes> WithSimd for Product<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.in_pairs(simd, self.columns.div_ceil(lanes::<T, S>()));
    }
}

impl<T: Lanes> Paneled for Product<'_, T> {
    #[inline(always)]
    fn panels<S: Simd, const M: usize, const N: usize>(&self, simd: S, panel: usize) {
        let (width, len) = (lanes::<T, S>(), self.inner * lanes::<T, S>());
        let b = &self.b[panel * len..(panel + N) * len];
        for first in (0..self.rows).step_by(M) {
            let mut tile: Tile<T, S, M, N> = [[T::constant(simd, 0.0); N]; M];
            let (mut rows, mut columns) = ([std::ptr::null::<T>(); M], [b.as_ptr(); N]);
            // Where rows are fewer than those of the tile, the last one is taken again, and not stored.
            (0..M).for_each(|i| rows[i] = self.a.start.at((first + i).min(self.rows - 1) * self.a.row).cast_const());
            (0..N).for_each(|j| columns[j] = b.as_ptr().wrapping_add(j * len));
            // SAFETY: `inner` elements of every row, and as many vectors of every panel.
            unsafe { rows_times_panels(simd, &mut tile, rows, self.a.column, columns, self.inner) };
            for i in 0..M.min(self.rows - first) {
                for j in 0..N {
                    let column = (panel + j) * width;
                    let (to, count) = (self.c.start.at((first + i) * self.c.row + column), self.columns - column);
                    // SAFETY: `count` elements are left in the row of c, which is this task's own.
                    unsafe {
                        if count >= width {
                            store::<T, S>(to, tile[i][j]);
                        } else {
                            store_first::<T, S>(to, tile[i][j], count);
                        }
                    }
                }
            }
        }
    }
}

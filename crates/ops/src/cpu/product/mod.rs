//! The product of two matrices that lie anywhere in memory, whose right side is packed into panels first.
//!
//! One call is one block of a larger product: its operands are meant to stay in the caches of the thread.

// Kernels index the rows and columns of a register tile, as their formulas do.
#![allow(clippy::needless_range_loop)]

mod pack;

pub(crate) use pack::{PackLeft, PackRight, right_len};

use super::kernels::{Paneled, Tile, rows_times_panels};
use super::parallel::Region;
use super::vector::{Lanes, lanes, load, load_first, store, store_first};
use pulp::{Simd, WithSimd};

/// A matrix in memory that no other task writes meanwhile: element (i, j) at i · row + j · column.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<T> {
    pub(crate) start: Region<T>,
    pub(crate) row: usize,
    pub(crate) column: usize,
}

impl<T> Matrix<T> {
    /// Rows that are `row` elements apart.
    pub(crate) fn rows(start: Region<T>, row: usize) -> Self {
        Self { start, row, column: 1 }
    }

    pub(crate) fn transposed(self) -> Self {
        Self { row: self.column, column: self.row, ..self }
    }

    /// The same numbers under the name of their type: `U` must be `T`.
    pub(crate) fn cast<U>(self) -> Matrix<U> {
        Matrix { start: self.start.cast(), row: self.row, column: self.column }
    }

    /// What is right of and below element (i, j).
    pub(crate) fn from(self, i: usize, j: usize) -> Self {
        Self { start: self.start.after(i * self.row + j * self.column), ..self }
    }
}

/// The left side of a product.
#[derive(Clone, Copy)]
pub(crate) enum Left<T> {
    /// Where it lies.
    Matrix(Matrix<T>),
    /// Packed by [`PackLeft`].
    Packed(Region<T>),
}

/// What a product is added to.
#[derive(Clone, Copy)]
pub(crate) enum Start<'a, T> {
    Zero,
    /// This row, to every row.
    Row(&'a [T]),
    /// What is there.
    Sum,
}

impl<'a, T> Start<'a, T> {
    /// The same numbers under the name of their type: `U` must be `T`.
    pub(crate) fn cast<U>(self) -> Start<'a, U> {
        debug_assert_eq!(size_of::<T>(), size_of::<U>());
        match self {
            Start::Zero => Start::Zero,
            Start::Sum => Start::Sum,
            // SAFETY: they are of one type, says the caller, and as many.
            Start::Row(row) => Start::Row(unsafe { std::slice::from_raw_parts(row.as_ptr().cast(), row.len()) }),
        }
    }
}

/// c = start + a · b, `[rows, columns]` with `inner` summands, which are added in order.
pub(crate) struct Product<'a, T> {
    pub(crate) rows: usize,
    pub(crate) inner: usize,
    pub(crate) columns: usize,
    pub(crate) a: Left<T>,
    /// Packed by [`PackRight`].
    pub(crate) b: &'a [T],
    pub(crate) start: Start<'a, T>,
    /// Neighbours in a row lie side by side.
    pub(crate) c: Matrix<T>,
}

impl<T: Lanes> WithSimd for Product<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        debug_assert!(self.b.len() >= right_len(self.inner, self.columns, lanes::<T, S>()) && self.c.column == 1);
        if self.rows > 0 {
            self.in_tiles(simd, self.columns.div_ceil(lanes::<T, S>()));
        }
    }
}

impl<T: Lanes> Product<'_, T> {
    /// Where a panel's vector of a row of c is, and how many elements are left of the row there.
    #[inline(always)]
    fn place<S: Simd>(&self, row: usize, panel: usize) -> (*mut T, usize) {
        let column = panel * lanes::<T, S>();
        (self.c.start.at(row * self.c.row + column), self.columns - column)
    }

    /// Where tile (first, panel) begins; `is_wide` if c has all of its columns.
    #[inline(always)]
    fn tile<S: Simd, const M: usize, const N: usize>(
        &self,
        simd: S,
        first: usize,
        panel: usize,
        is_wide: bool,
    ) -> Tile<T, S, M, N> {
        let mut tile = [[T::constant(simd, 0.0); N]; M];
        match self.start {
            Start::Zero => {}
            Start::Row(row) => {
                for j in 0..N {
                    let row = &row[(panel + j) * lanes::<T, S>()..self.columns];
                    // SAFETY: at most the elements of the slice; where c is wide it has a vector's.
                    let row = unsafe {
                        match is_wide {
                            true => load::<T, S>(row.as_ptr()),
                            false => load_first::<T, S>(simd, row.as_ptr(), row.len()),
                        }
                    };
                    (0..M).for_each(|i| tile[i][j] = row);
                }
            }
            Start::Sum => {
                for i in 0..M {
                    if first + i == self.rows {
                        break;
                    }
                    for j in 0..N {
                        let (from, left) = self.place::<S>(first + i, panel + j);
                        // SAFETY: `left` elements are left in the row of c, a vector's where it is wide.
                        tile[i][j] =
                            unsafe { if is_wide { load::<T, S>(from) } else { load_first::<T, S>(simd, from, left) } };
                    }
                }
            }
        }
        tile
    }
}

impl<T: Lanes> Paneled for Product<'_, T> {
    #[inline(always)]
    fn panels<S: Simd, const M: usize, const N: usize>(&self, simd: S, panel: usize) {
        let len = self.inner * lanes::<T, S>();
        let b = &self.b[panel * len..(panel + N) * len];
        let is_wide = (panel + N) * lanes::<T, S>() <= self.columns;
        for first in (0..self.rows).step_by(M) {
            let mut tile: Tile<T, S, M, N> = self.tile(simd, first, panel, is_wide);
            let (start, row, step) = match self.a {
                Left::Matrix(a) => (a.start.at(first * a.row), a.row, a.column),
                Left::Packed(a) => (a.at(first * self.inner), 1, M),
            };
            let (mut rows, mut columns) = ([start.cast_const(); M], [b.as_ptr(); N]);
            // Where rows are fewer than those of the tile, the last one is taken again, and not stored.
            (0..M).for_each(|i| rows[i] = start.wrapping_add(i.min(self.rows - 1 - first) * row));
            (0..N).for_each(|j| columns[j] = b.as_ptr().wrapping_add(j * len));
            // SAFETY: `inner` elements of every row, and as many vectors of every panel.
            unsafe { rows_times_panels(simd, &mut tile, rows, step, columns, self.inner) };
            for i in 0..M {
                if first + i == self.rows {
                    break;
                }
                for j in 0..N {
                    let (to, left) = self.place::<S>(first + i, panel + j);
                    // SAFETY: `left` elements are left in the row of c, a vector's where it is wide; the row is this
                    // task's own.
                    unsafe {
                        if is_wide {
                            store::<T, S>(to, tile[i][j]);
                        } else {
                            store_first::<T, S>(to, tile[i][j], left);
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::kernels::tile;
    use crate::cpu::vector::{instruction_sets, width};
    use pulp::Arch;

    /// Integers, whose sums are exact in any order; one matrix as rows, one as columns.
    fn matrix(rows: usize, columns: usize, by: usize, transposed: bool) -> (Vec<f64>, Vec<f64>) {
        let element = |i: usize, j: usize| ((i * 37 + j * by) % 19) as f64 - 9.0;
        let all = (0..rows * columns).map(|at| element(at / columns, at % columns)).collect();
        let columns_first = (0..rows * columns).map(|at| element(at % rows, at / rows)).collect();
        if transposed { (columns_first, all) } else { (all.clone(), all) }
    }

    fn product(arch: Arch, (m, k, n): (usize, usize, usize), transposed: bool, packed: bool, start: Start<f64>) {
        let ((mut a, a_rows), (mut b, b_rows)) = (matrix(m, k, 11, transposed), matrix(k, n, 7, transposed));
        let of = |x: &mut [f64], rows: usize, columns: usize| match transposed {
            true => Matrix::rows(Region::of(x), rows).transposed(),
            false => Matrix::rows(Region::of(x), columns),
        };
        let (left, right) = (of(&mut a, m, k), of(&mut b, k, n));
        let mut panels = vec![f64::NAN; right_len(k, n, width::<f64>(arch))];
        arch.dispatch(PackRight { from: right, inner: k, columns: n, to: Region::of(&mut panels) });
        let mut tiles = vec![f64::NAN; m.next_multiple_of(tile(arch).0) * k];
        arch.dispatch(PackLeft { from: left, rows: m, inner: k, to: &mut tiles });
        let a = if packed { Left::Packed(Region::of(&mut tiles)) } else { Left::Matrix(left) };
        let row = n + 3;
        let mut c = vec![5.0; m * row];
        let to = Matrix::rows(Region::of(&mut c), row);
        arch.dispatch(Product { rows: m, inner: k, columns: n, a, b: &panels, start, c: to });
        for i in 0..m {
            for j in 0..n {
                let first = match start {
                    Start::Zero => 0.0,
                    Start::Row(row) => row[j],
                    Start::Sum => 5.0,
                };
                let sum: f64 = first + (0..k).map(|l| a_rows[i * k + l] * b_rows[l * n + j]).sum::<f64>();
                assert_eq!(c[i * row + j], sum, "{arch:?}: ({i}, {j}) of {m} × {k} × {n}");
            }
            assert_eq!(c[i * row + n..(i + 1) * row], [5.0; 3], "{arch:?}: beyond {m} × {k} × {n}");
        }
    }

    #[test]
    fn products_of_any_shape_and_layout_are_sums_of_products() {
        let bias: Vec<f64> = (0..70).map(|j| j as f64).collect();
        for arch in instruction_sets() {
            for (m, k, n) in
                [(1, 1, 1), (6, 3, 8), (7, 5, 9), (13, 17, 33), (24, 8, 16), (5, 0, 4), (0, 3, 4), (3, 2, 0)]
            {
                for (transposed, packed) in [(false, false), (true, false), (false, true), (true, true)] {
                    for start in [Start::Zero, Start::Row(&bias[..n]), Start::Sum] {
                        product(arch, (m, k, n), transposed, packed, start);
                    }
                }
            }
        }
    }
}

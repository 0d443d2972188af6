//! The operands of a product, copied to the order in which a kernel reads them.

use super::Matrix;
use crate::cpu::kernels::tile_of;
use crate::cpu::parallel::Region;
use crate::cpu::vector::{Lanes, lanes, load, store};
use pulp::{Simd, WithSimd};

/// Elements of a packed right side `[inner, columns]`.
pub(crate) fn right_len(inner: usize, columns: usize, width: usize) -> usize {
    columns.div_ceil(width) * inner * width
}

/// A right side `[inner, columns]` into panels `[panel of columns][inner][lane]`; zeros in the lanes without a column.
pub(crate) struct PackRight<T> {
    pub(crate) from: Matrix<T>,
    pub(crate) inner: usize,
    pub(crate) columns: usize,
    /// [`right_len`] elements, initialised or not, that are this task's own.
    pub(crate) to: Region<T>,
}

impl<T: Lanes> WithSimd for PackRight<T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { from, inner, columns, to } = self;
        let width = lanes::<T, S>();
        for first in (0..columns).step_by(width) {
            let (at, count) = (from.start.at(first * from.column), columns - first);
            for k in 0..inner {
                let (at, to) = (at.wrapping_add(k * from.row), to.at(first * inner + k * width));
                // SAFETY: the matrix has `inner` rows, and in each `count` elements from the panel's first column on;
                // `to` has room for a vector of each.
                unsafe {
                    if count < width {
                        store::<T, S>(to, T::constant(simd, 0.0));
                        (0..count).for_each(|lane| to.add(lane).write(at.wrapping_add(lane * from.column).read()));
                    } else if from.column == 1 {
                        store::<T, S>(to, load::<T, S>(at));
                    } else {
                        (0..width).for_each(|lane| to.add(lane).write(at.wrapping_add(lane * from.column).read()));
                    }
                }
            }
        }
    }
}

/// A left side `[rows, inner]` into tiles `[tile of rows][inner][row]`, as tall as the register tiles; the rows that a
/// last tile lacks are not written.
pub(crate) struct PackLeft<'a, T> {
    pub(crate) from: Matrix<T>,
    pub(crate) rows: usize,
    pub(crate) inner: usize,
    pub(crate) to: &'a mut [T],
}

impl<T: Lanes> WithSimd for PackLeft<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        if tile_of::<S>().0 == 8 { self.tiles::<8>() } else { self.tiles::<6>() }
    }
}

impl<T: Lanes> PackLeft<'_, T> {
    #[inline(always)]
    fn tiles<const M: usize>(self) {
        let Self { from, rows, inner, to } = self;
        for (tile, to) in to[..rows.next_multiple_of(M) * inner].chunks_exact_mut((M * inner).max(1)).enumerate() {
            let at = from.start.at(tile * M * from.row);
            let count = rows - tile * M;
            for (k, to) in to.as_chunks_mut::<M>().0.iter_mut().enumerate() {
                let at = at.wrapping_add(k * from.column);
                // SAFETY: the matrix has `inner` columns, and from the tile's first row on `count` rows.
                unsafe {
                    if count < M {
                        (0..count).for_each(|i| to[i] = at.wrapping_add(i * from.row).read());
                    } else if from.row == 1 {
                        *to = at.cast::<[T; M]>().read();
                    } else {
                        (0..M).for_each(|i| to[i] = at.wrapping_add(i * from.row).read());
                    }
                }
            }
        }
    }
}

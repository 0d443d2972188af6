//! The 36 products of transformed tiles and filters.

use super::panels::Panels;
use crate::cpu::kernels::{Tile, rows_times_panels};
use crate::cpu::parallel::Region;
use crate::cpu::vector::{Lanes, lanes, load, store};
use pulp::{Simd, WithSimd};
use std::ops::Range;

/// Tiles of a block come in multiples of this: the rows of a register tile.
pub(super) const ROWS: usize = 8;

/// m = v u at some positions: `[tiles, c_in]` times `[c_in, c_out]`.
pub(super) struct Multiply<T> {
    pub(super) v: Region<T>,
    pub(super) inputs: Panels,
    pub(super) u: Region<T>,
    pub(super) filters: Panels,
    pub(super) m: Region<T>,
    pub(super) outputs: Panels,
    pub(super) positions: Range<usize>,
    /// How many tiles, a multiple of [`ROWS`].
    pub(super) tiles: usize,
}

impl<T: Lanes> WithSimd for Multiply<T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for position in self.positions.clone() {
            for panel in (0..self.outputs.count()).step_by(2) {
                match (S::REGISTER_COUNT >= 32, panel + 2 <= self.outputs.count()) {
                    (true, true) => self.panels::<S, ROWS, 2>(simd, position, panel),
                    (true, false) => self.panels::<S, ROWS, 1>(simd, position, panel),
                    (false, true) => self.panels::<S, { ROWS / 2 }, 2>(simd, position, panel),
                    (false, false) => self.panels::<S, { ROWS / 2 }, 1>(simd, position, panel),
                }
            }
        }
    }
}

impl<T: Lanes> Multiply<T> {
    /// Panels `panel..panel + N` of the product.
    #[inline(always)]
    fn panels<S: Simd, const M: usize, const N: usize>(&self, simd: S, position: usize, panel: usize) {
        let (inputs, outputs, filters, width) = (&self.inputs, &self.outputs, &self.filters, lanes::<T, S>());
        let v = self.v.at(position * inputs.position());
        let u = self.u.at(position * filters.position() + panel * filters.panel());
        let m = self.m.at(position * outputs.position() + panel * outputs.panel());
        for first in (0..self.tiles).step_by(M) {
            let mut tile: Tile<T, S, M, N> = [[T::constant(simd, 0.0); N]; M];
            for c in 0..inputs.count() {
                // SAFETY: the panels describe the memory; `first + M` tiles and `depth` inputs are within it.
                unsafe {
                    let (row, column) = (v.add(c * inputs.panel() + first * width), u.add(c * width * width));
                    let (mut rows, mut columns) = ([row.cast_const(); M], [column.cast_const(); N]);
                    (0..M).for_each(|i| rows[i] = row.add(i * width));
                    (0..N).for_each(|j| columns[j] = column.add(j * filters.panel()));
                    rows_times_panels(simd, &mut tile, rows, 1, columns, width.min(inputs.columns - c * width));
                }
            }
            for i in 0..M {
                for j in 0..N {
                    // SAFETY: as above.
                    unsafe { store::<T, S>(m.add(j * outputs.panel() + (first + i) * width), tile[i][j]) };
                }
            }
        }
    }
}

/// du += vᵀ z at some positions: `[c_in, tiles]` times `[tiles, c_out]`, for as many panels of outputs as `filters`
/// has.
pub(super) struct Accumulate<T> {
    pub(super) v: Region<T>,
    pub(super) inputs: Panels,
    pub(super) z: Region<T>,
    pub(super) outputs: Panels,
    pub(super) tiles: usize,
    pub(super) filters: Panels,
    pub(super) du: Region<T>,
    pub(super) positions: Range<usize>,
}

impl<T: Lanes> WithSimd for Accumulate<T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for position in self.positions.clone() {
            for panel in (0..self.filters.count()).step_by(2) {
                if panel + 2 <= self.filters.count() {
                    self.panels::<S, 2>(simd, position, panel);
                } else {
                    self.panels::<S, 1>(simd, position, panel);
                }
            }
        }
    }
}

impl<T: Lanes> Accumulate<T> {
    /// Panels `panel..panel + N` of the sum.
    #[inline(always)]
    fn panels<S: Simd, const N: usize>(&self, simd: S, position: usize, panel: usize) {
        let c_in = self.inputs.columns;
        let mut c = 0;
        while c < c_in {
            // Rows of a register tile do not cross a panel, whose width is a multiple of 8, or all rows are single.
            let left = (c_in - c).min(lanes::<T, S>() - c % lanes::<T, S>());
            if S::REGISTER_COUNT >= 32 && left >= 8 {
                self.rows::<S, 8, N>(simd, position, panel, c);
                c += 8;
            } else if left >= 4 {
                self.rows::<S, 4, N>(simd, position, panel, c);
                c += 4;
            } else {
                self.rows::<S, 1, N>(simd, position, panel, c);
                c += 1;
            }
        }
    }

    /// Rows `c..c + M`, inputs of one panel.
    #[inline(always)]
    fn rows<S: Simd, const M: usize, const N: usize>(&self, simd: S, position: usize, panel: usize, c: usize) {
        let (inputs, outputs, filters, width) = (&self.inputs, &self.outputs, &self.filters, lanes::<T, S>());
        let v = self.v.at(position * inputs.position() + c / width * inputs.panel() + c % width);
        let z = self.z.at(position * outputs.position() + panel * outputs.panel());
        let du = self.du.at(position * filters.position() + panel * filters.panel() + c * width);
        // SAFETY: the panels describe the memory; inputs `c..c + M`, N panels and all tiles are within it.
        unsafe {
            let mut tile: Tile<T, S, M, N> = [[T::constant(simd, 0.0); N]; M];
            let (mut rows, mut panels) = ([v.cast_const(); M], [z.cast_const(); N]);
            (0..M).for_each(|i| rows[i] = v.add(i));
            for j in 0..N {
                panels[j] = z.add(j * outputs.panel());
                for i in 0..M {
                    tile[i][j] = load::<T, S>(du.add(j * filters.panel() + i * width));
                }
            }
            rows_times_panels(simd, &mut tile, rows, width, panels, self.tiles);
            for i in 0..M {
                for j in 0..N {
                    store::<T, S>(du.add(j * filters.panel() + i * width), tile[i][j]);
                }
            }
        }
    }
}

//! The products of windows with a weight, and of windows with the gradient of the output.

use super::grid::Grid;
use super::panels::Panels;
use crate::cpu::kernels::{Paneled, Tile, rows_times_panels};
use crate::cpu::parallel::Region;
use crate::cpu::vector::{Lanes, lanes, load, load_first, store, store_first};
use pulp::{Simd, WithSimd};

/// y = the windows at `starts` of a copy, times the weight, plus the bias; the result of each goes to its place of
/// `ends` in `y`.
pub(super) struct Correlate<'a, T> {
    pub(super) grid: &'a Grid,
    pub(super) copy: &'a [T],
    pub(super) starts: &'a [usize],
    pub(super) ends: &'a [usize],
    pub(super) weight: &'a [T],
    pub(super) panels: Panels,
    pub(super) bias: Option<&'a [T]>,
    pub(super) y: Region<T>,
}

impl<T: Lanes> WithSimd for Correlate<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.in_tiles(simd, self.panels.count());
    }
}

impl<T: Lanes> Paneled for Correlate<'_, T> {
    #[inline(always)]
    fn panels<S: Simd, const M: usize, const N: usize>(&self, simd: S, panel: usize) {
        let (grid, outputs, width) = (self.grid, self.panels.outputs, lanes::<T, S>());
        let (run, row) = (grid.run(), grid.row());
        let weight = &self.weight[panel * self.panels.panel()..(panel + N) * self.panels.panel()];
        let mut first = [[T::constant(simd, 0.0); N]; 1];
        if let Some(bias) = self.bias {
            for j in 0..N {
                let bias = &bias[(panel + j) * width..outputs];
                // SAFETY: at most the elements of the slice.
                first[0][j] = unsafe { load_first::<T, S>(simd, bias.as_ptr(), bias.len()) };
            }
        }
        for (starts, ends) in self.starts.chunks(M).zip(self.ends.chunks(M)) {
            let mut tile: Tile<T, S, M, N> = [first[0]; M];
            // Where windows are fewer than rows of the tile, the last one is taken again, and not stored.
            let mut rows = [self.copy.as_ptr(); M];
            for i in 0..M {
                let start = starts[i.min(starts.len() - 1)];
                debug_assert!(start + (grid.kernel.0 - 1) * row + run <= self.copy.len());
                rows[i] = self.copy.as_ptr().wrapping_add(start);
            }
            for window_row in 0..grid.kernel.0 {
                let (mut runs, mut columns) = (rows, [weight.as_ptr(); N]);
                (0..M).for_each(|i| runs[i] = rows[i].wrapping_add(window_row * row));
                for j in 0..N {
                    columns[j] = weight.as_ptr().wrapping_add(j * self.panels.panel() + window_row * run * width);
                }
                // SAFETY: a window is `kernel.0` runs of `run` elements of the copy, `row` apart.
                unsafe { rows_times_panels(simd, &mut tile, runs, 1, columns, run) };
            }
            for (i, end) in ends.iter().enumerate() {
                for j in 0..N {
                    let count = width.min(outputs - (panel + j) * width);
                    let y = self.y.at(end + (panel + j) * width);
                    // SAFETY: `ends` are places of pixels of `outputs` channels.
                    unsafe {
                        if count == width {
                            store::<T, S>(y, tile[i][j]);
                        } else {
                            store_first::<T, S>(y, tile[i][j], count);
                        }
                    }
                }
            }
        }
    }
}

/// dw += windowsᵀ dy over rows of positions: row r has its first window at `starts[r]` of the copy.
pub(super) struct Accumulate<'a, T> {
    pub(super) grid: &'a Grid,
    pub(super) copy: &'a [T],
    pub(super) starts: &'a [usize],
    /// Positions of a row.
    pub(super) across: usize,
    /// Elements of the copy between neighbouring ones.
    pub(super) step: usize,
    /// `[panel of outputs][position][lane]`
    pub(super) dy: Region<T>,
    pub(super) panels: Panels,
    /// `[panel of outputs][window][lane]`
    pub(super) dw: Region<T>,
}

impl<T: Lanes> WithSimd for Accumulate<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for panel in (0..self.panels.count()).step_by(2) {
            if panel + 2 <= self.panels.count() {
                self.panels::<S, 2>(simd, panel);
            } else {
                self.panels::<S, 1>(simd, panel);
            }
        }
    }
}

impl<T: Lanes> Accumulate<'_, T> {
    #[inline(always)]
    fn panels<S: Simd, const N: usize>(&self, simd: S, panel: usize) {
        let run = self.grid.run();
        for window_row in 0..self.grid.kernel.0 {
            let mut i = 0;
            while i < run {
                match run - i {
                    8.. if S::REGISTER_COUNT >= 32 => {
                        self.rows::<S, 8, N>(simd, panel, window_row, i);
                        i += 8;
                    }
                    4.. => {
                        self.rows::<S, 4, N>(simd, panel, window_row, i);
                        i += 4;
                    }
                    _ => {
                        self.rows::<S, 1, N>(simd, panel, window_row, i);
                        i += 1;
                    }
                }
            }
        }
    }

    /// Elements `i..i + M` of a run.
    #[inline(always)]
    fn rows<S: Simd, const M: usize, const N: usize>(&self, simd: S, panel: usize, window_row: usize, i: usize) {
        let (grid, width) = (self.grid, lanes::<T, S>());
        let (across, positions) = (self.across, self.starts.len() * self.across);
        let dw = self.dw.at(panel * self.panels.panel() + (window_row * grid.run() + i) * width);
        let dy = self.dy.at(panel * positions * width);
        // SAFETY: `panels` describes the memory at `dw`, `positions` that at `dy`, and every window is in the copy.
        unsafe {
            let mut tile: Tile<T, S, M, N> = [[T::constant(simd, 0.0); N]; M];
            for i in 0..M {
                for j in 0..N {
                    tile[i][j] = load::<T, S>(dw.add(j * self.panels.panel() + i * width));
                }
            }
            for (r, start) in self.starts.iter().enumerate() {
                let columns = self.copy.as_ptr().add(start + window_row * grid.row() + i);
                let (mut rows, mut panels) = ([columns; M], [dy.cast_const(); N]);
                (0..M).for_each(|i| rows[i] = columns.add(i));
                (0..N).for_each(|j| panels[j] = dy.add((j * positions + r * across) * width));
                rows_times_panels(simd, &mut tile, rows, self.step, panels, across);
            }
            for i in 0..M {
                for j in 0..N {
                    store::<T, S>(dw.add(j * self.panels.panel() + i * width), tile[i][j]);
                }
            }
        }
    }
}

//! The direct convolution: every multiplication of the definition, for any kernel, stride and padding.
//!
//! A task copies what its windows see of the images, zeros included, to a buffer that stays in cache. There a window is
//! a few runs of memory, which are multiplied with the weight where they lie; nothing is gathered.

mod grid;
mod panels;
mod products;

use crate::cpu::float::Float;
use crate::cpu::parallel::{Region, for_chunks, results, tasks};
use crate::cpu::squares::sum_of_squares;
use crate::cpu::vector::width;
use crate::layers::Geometry;
use grid::{Grid, Strip};
use panels::{Panels, pack_pixels};
use products::{Accumulate, Correlate};
use pulp::Arch;
use std::ops::Range;

/// Any convolution.
#[derive(Clone, Copy)]
pub(super) struct Direct {
    pub(super) g: Geometry,
    pub(super) arch: Arch,
}

impl Direct {
    /// y `[b, h', w', c_out]`.
    pub(super) fn forward<T: Float>(&self, x: &[T], weight: &[T], bias: Option<&[T]>) -> Vec<T> {
        let (g, (kh, kw)) = (&self.g, self.g.kernel);
        let panels = Panels { kernel: g.kernel, inputs: g.c_in, outputs: g.c_out, width: width::<T>(self.arch) };
        let packed = panels.pack(weight, |o, c, row, column| ((o * g.c_in + c) * kh + row) * kw + column);
        let len = g.pixels() * g.c_out;
        let mut y = Vec::with_capacity(len);
        let grid = Grid::forward(g);
        let place = |image: usize, i: usize, j: usize| (image * grid.size.0 + i) * grid.size.1 + j;
        self.correlate(&grid, x, &packed, panels, bias, place, Region::of_capacity(&mut y));
        // SAFETY: the capacity is `len`, and the grid has a position for every pixel.
        unsafe { y.set_len(len) };
        y
    }

    /// dx `[b, h, w, c_in]` from dy `[b, h', w', c_out]`.
    ///
    /// Rows y of dx with one remainder of y / stride see the same rows of the kernel, and of dy neighbouring ones; so
    /// do columns. Each pair of remainders is a convolution of dy with stride 1 and a part of the flipped kernel.
    pub(super) fn grad_input<T: Float>(&self, weight: &[T], dy: &[T]) -> Vec<T> {
        let (g, (kh, kw)) = (&self.g, self.g.kernel);
        let pixels = g.batch * g.height * g.width;
        let mut dx = Vec::with_capacity(pixels * g.c_in);
        let out = Region::of_capacity(&mut dx);
        let rows: Vec<Residue> = residues(g.height, kh, g.stride.0, g.padding.0).collect();
        let columns: Vec<Residue> = residues(g.width, kw, g.stride.1, g.padding.1).collect();
        if rows.iter().chain(&columns).any(|residue| residue.taps == 0) {
            // Pixels in no window.
            dx.resize(pixels * g.c_in, T::ZERO);
        }
        for (row, column) in rows.iter().flat_map(|row| columns.iter().map(move |column| (row, column))) {
            if row.taps == 0 || column.taps == 0 {
                continue;
            }
            let kernel = (row.taps, column.taps);
            let grid = Grid {
                images: g.batch,
                image: (g.out_height, g.out_width),
                channels: g.c_out,
                size: (row.count, column.count),
                kernel,
                step: (1, 1),
                before: (row.before, column.before),
            };
            let panels = Panels { kernel, inputs: g.c_out, outputs: g.c_in, width: width::<T>(self.arch) };
            let packed = panels.pack(weight, |c, o, i, j| ((o * g.c_in + c) * kh + row.tap(i)) * kw + column.tap(j));
            let place = |image: usize, i: usize, j: usize| {
                (image * g.height + row.first + i * row.stride) * g.width + column.first + j * column.stride
            };
            self.correlate(&grid, dy, &packed, panels, None, place, out);
        }
        // SAFETY: the residues cover every row and column, and where one has no taps all is zero.
        unsafe { dx.set_len(pixels * g.c_in) };
        dx
    }

    /// The windows of `grid` times a packed weight; that of position (i, j) of an image goes to pixel
    /// `place(image, i, j)` of `y`.
    #[allow(clippy::too_many_arguments)]
    fn correlate<T: Float>(
        &self,
        grid: &Grid,
        x: &[T],
        weight: &[T],
        panels: Panels,
        bias: Option<&[T]>,
        place: impl Fn(usize, usize, usize) -> usize + Sync,
        y: Region<T>,
    ) {
        let strips = grid.strips();
        tasks(strips.len(), |i| {
            let strip = &strips[i];
            let across = grid.size.1;
            let rows = strip.images.clone().flat_map(|image| strip.rows.clone().map(move |i| (image, i)));
            let positions = strip.images.len() * strip.rows.len() * across;
            let (mut starts, mut ends) = (Vec::with_capacity(positions), Vec::with_capacity(positions));
            for (row, (image, i)) in grid.rows(strip).zip(rows) {
                starts.extend((0..across).map(|j| row + j * grid.stride()));
                ends.extend((0..across).map(|j| place(image, i, j) * panels.outputs));
            }
            T::scratch(grid.copy_len(strip), |copy| {
                grid.copy(x, strip, T::ZERO, copy);
                let (starts, ends) = (&starts, &ends);
                self.arch.dispatch(Correlate { grid, copy, starts, ends, weight, panels, bias, y });
            });
        });
    }

    /// dw `[c_out, c_in, kh, kw]` from dy: sums of a fixed number of chunks of the positions, added in order. A task
    /// takes a chunk and a group of the outputs.
    pub(super) fn grad_weight<T: Float>(&self, x: &[T], dy: &[T]) -> Vec<T> {
        let (g, grid, width) = (&self.g, &Grid::forward(&self.g), width::<T>(self.arch));
        let strips = grid.strips();
        let chunks = (PARTIAL_SUMS / (g.window() * g.c_out).max(1)).clamp(2, TASKS);
        let chunks: Vec<&[Strip]> = strips.chunks(strips.len().div_ceil(chunks).max(1)).collect();
        let pairs = g.c_out.div_ceil(2 * width);
        let group = 2 * width * pairs.div_ceil(TASKS.div_ceil(chunks.len().max(1)));
        let panels = |outputs: usize| Panels { kernel: g.kernel, inputs: g.c_in, outputs, width };
        let mut dw = vec![T::ZERO; g.c_out * g.window()];
        for_chunks(&mut dw, group * g.window(), |index, dw| {
            let outputs = index * group..index * group + dw.len() / g.window();
            let panels = panels(outputs.len());
            let parts = results(chunks.len(), |i| self.sum_over(grid, chunks[i], x, dy, outputs.clone(), panels));
            panels.add_unpacked(&parts, dw);
        });
        dw
    }

    /// ‖dw‖² of a batch that is small enough for one task.
    pub(super) fn grad_weight_square<T: Float>(&self, x: &[T], dy: &[T]) -> f64 {
        let (g, grid) = (&self.g, &Grid::forward(&self.g));
        let panels = Panels { kernel: g.kernel, inputs: g.c_in, outputs: g.c_out, width: width::<T>(self.arch) };
        // Lanes without an output are zero.
        sum_of_squares(&self.sum_over(grid, &grid.strips(), x, dy, 0..g.c_out, panels))
    }

    /// The part of dw for some outputs from some strips, in panels.
    fn sum_over<T: Float>(
        &self,
        grid: &Grid,
        strips: &[Strip],
        x: &[T],
        dy: &[T],
        outputs: Range<usize>,
        panels: Panels,
    ) -> Vec<T> {
        let (c_out, across) = (self.g.c_out, grid.size.1);
        let mut dw = vec![T::ZERO; panels.len()];
        for strip in strips {
            let mut starts: Vec<usize> = grid.rows(strip).collect();
            let first = (strip.images.start * grid.size.0 + strip.rows.start) * across;
            let positions = starts.len() * across;
            let dy = &dy[first * c_out..(first + positions) * c_out];
            let len = grid.copy_len(strip).next_multiple_of(64);
            let packed = positions * panels.count() * panels.width;
            let (mut across, mut step) = (across, grid.stride());
            if let (1, 1, &[start, next, ..]) = (across, strip.images.len(), starts.as_slice()) {
                // A single column of positions is a single row of them, as long: linear maps and 1 × 1 convolutions.
                (across, step) = (positions, next - start);
                starts.truncate(1);
            }
            T::scratch(len + packed, |scratch| {
                let (copy, packed) = scratch.split_at_mut(len);
                let (copy, packed) = (&mut copy[..grid.copy_len(strip)], Region::of(packed));
                grid.copy(x, strip, T::ZERO, copy);
                pack_pixels(dy, c_out, outputs.clone(), panels.width, packed);
                let (starts, dw) = (&starts, Region::of(&mut dw));
                self.arch.dispatch(Accumulate { grid, copy, starts, across, step, dy: packed, panels, dw });
            });
        }
        dw
    }
}

/// Elements of all partial sums of dw together, about.
const PARTIAL_SUMS: usize = 4 << 20;
/// Tasks that the sums are split into, for the threads.
const TASKS: usize = 16;

/// The rows `first`, `first + stride`, … of dx: the rows of the kernel that see them, and where they see dy.
struct Residue {
    first: usize,
    stride: usize,
    /// How many such rows there are.
    count: usize,
    /// How many rows of the kernel see them.
    taps: usize,
    /// The last of those rows of the kernel.
    last: usize,
    /// Rows of dy that are missing before the first window.
    before: isize,
}

impl Residue {
    /// The row of the kernel that window row `i` stands for, from the last to the first.
    fn tap(&self, i: usize) -> usize {
        self.last - i * self.stride
    }
}

/// Row y of x is seen by row k of the kernel where y + padding − k is a multiple of the stride, and that multiple is
/// the row of dy. For y = first + stride · i these k have one remainder, and the row of dy moves by one with i.
fn residues(size: usize, kernel: usize, stride: usize, padding: usize) -> impl Iterator<Item = Residue> {
    (0..stride.min(size)).map(move |first| {
        let tap = (first + padding) % stride;
        let taps = if tap < kernel { (kernel - tap).div_ceil(stride) } else { 0 };
        let last = tap + taps.saturating_sub(1) * stride;
        let row = (first + padding) as isize - last as isize; // a multiple of the stride
        Residue {
            first,
            stride,
            count: (size - first).div_ceil(stride),
            taps,
            last,
            before: -row.div_euclid(stride as isize),
        }
    })
}

//! Winograd's F(4 × 4, 3 × 3): a 3 × 3 convolution with stride 1 in a quarter of the multiplications.
//!
//! Windows of 6 × 6 pixels, tiles of 4 × 4 outputs and filters of 3 × 3 taps become squares of 36 *positions*; there a
//! convolution is one product of matrices a position, tiles × inputs times inputs × outputs
//! (Lavin, Gray 2015, <https://arxiv.org/abs/1509.09308>).
//!
//! Of the two operands the larger is walked once. Where the tiles are more than the filters, a task takes a block of
//! tiles through all steps in its own cache. Where the filters are more, as in the deep layers of a network, all tiles
//! are transformed first, and a task takes a few filters through all steps.
//!
//! Rounding: the relative error (root mean square, f32) is about twice that of the direct convolution: 5e-7 against
//! 2e-7 at 16 channels, 2.4e-6 against 1.1e-6 at 512.

mod filters;
mod panels;
mod products;
mod tiles;
mod transform;

use crate::cpu::float::Float;
use crate::cpu::parallel::{Region, for_chunks, results, tasks};
use crate::cpu::squares::sum_of_squares;
use crate::cpu::vector::width;
use crate::layers::Geometry;
use filters::{Pass, TransformGradWeight, TransformWeight};
use panels::Panels;
use products::{Accumulate, Multiply, ROWS};
use pulp::Arch;
use std::ops::Range;
use tiles::{Gather, Images, Scatter, Tiling};

/// Edge of a tile of the output.
const EDGE: usize = 4;
/// Edge of a window of the input, and of a transformed tile.
const WINDOW: usize = 6;
/// Positions of a transformed tile.
const POSITIONS: usize = WINDOW * WINDOW;

/// Tiles of a block: enough to amortise reading the filters, few enough for the caches.
const BLOCK: usize = 16;
/// Up to this many filters a sum over tiles has accumulators of its own in every task.
const FEW_FILTERS: usize = 128 * 128;
/// Tiles that are transformed at once where they are not taken in blocks; bounds the memory.
const MANY_TILES: usize = 1024;

/// A 3 × 3 convolution with stride 1.
#[derive(Clone, Copy)]
pub(super) struct Winograd {
    pub(super) g: Geometry,
    arch: Arch,
}

impl Winograd {
    /// `None` for another kernel or stride.
    pub(super) fn of(g: &Geometry, arch: Arch) -> Option<Self> {
        (g.kernel == (3, 3) && g.stride == (1, 1)).then_some(Self { g: *g, arch })
    }

    /// y `[b, h', w', c_out]`.
    pub(super) fn forward<T: Float>(&self, x: &[T], weight: &[T], bias: Option<&[T]>) -> Vec<T> {
        self.correlate(&self.g, x, weight, Pass::Forward, bias)
    }

    /// dx `[b, h, w, c_in]` from dy `[b, h', w', c_out]`: the convolution of dy with the flipped filters.
    pub(super) fn grad_input<T: Float>(&self, weight: &[T], dy: &[T]) -> Vec<T> {
        let g = &self.g;
        let transposed = Geometry {
            height: g.out_height,
            width: g.out_width,
            c_in: g.c_out,
            out_height: g.height,
            out_width: g.width,
            c_out: g.c_in,
            // More than 2 crops: then it is a negative number, which wraps, as the rows of a window do.
            padding: (2usize.wrapping_sub(g.padding.0), 2usize.wrapping_sub(g.padding.1)),
            ..*g
        };
        self.correlate(&transposed, dy, weight, Pass::Backward, None)
    }

    fn correlate<T: Float>(&self, g: &Geometry, x: &[T], weight: &[T], pass: Pass, bias: Option<&[T]>) -> Vec<T> {
        let (arch, tiling, width) = (self.arch, &Tiling::of(g), width::<T>(self.arch));
        let len = g.pixels() * g.c_out;
        let mut y = Vec::with_capacity(len);
        let out = Region::of_capacity(&mut y);
        let transform_weight = |filters, first, panel, to| {
            arch.dispatch(TransformWeight { weight, pass, outputs: g.c_out, first, filters, panel, to });
        };
        let gather = |range, to, panels, first| {
            arch.dispatch(Gather { tiling, images: Images::X(x), range, to, panels, first });
        };
        let scatter = |from, panels, first, channel, range| {
            arch.dispatch(Scatter { tiling, from, panels, first, bias, channel, range, y: out });
        };
        let panels = |rows: usize, columns: usize| Panels { rows, columns, width };
        let blocks = blocks(tiling.count(), BLOCK);
        if more_tiles(g, tiling) {
            let filters = panels(g.c_in, g.c_out);
            let mut memory = Vec::with_capacity(filters.len());
            let u = Region::of_capacity(&mut memory);
            tasks(filters.count(), |panel| transform_weight(filters, 0, panel, u));
            tasks(blocks.len(), |i| {
                let range = blocks[i].clone();
                let tiles = range.len().next_multiple_of(ROWS);
                let (inputs, outputs) = (panels(tiles, g.c_in), panels(tiles, g.c_out));
                T::scratch(inputs.len() + outputs.len(), |scratch| {
                    let (v, m) = scratch.split_at_mut(inputs.len());
                    let (v, m) = (Region::of(v), Region::of(m));
                    gather(range.clone(), v, inputs, 0);
                    arch.dispatch(Multiply { v, inputs, u, filters, m, outputs, positions: 0..POSITIONS, tiles });
                    scatter(m, outputs, 0, 0, range);
                });
            });
        } else {
            let tiles = tiling.count().next_multiple_of(ROWS);
            let inputs = panels(tiles, g.c_in);
            let mut memory = Vec::with_capacity(inputs.len());
            let v = Region::of_capacity(&mut memory);
            tasks(blocks.len(), |i| gather(blocks[i].clone(), v, inputs, blocks[i].start));
            let groups = self::blocks(g.c_out, 2 * width);
            tasks(groups.len(), |i| {
                let channels = &groups[i];
                let filters = panels(g.c_in, channels.len());
                let outputs = panels(tiles, channels.len());
                T::scratch(filters.len() + outputs.len(), |scratch| {
                    let (u, m) = scratch.split_at_mut(filters.len());
                    let (u, m) = (Region::of(u), Region::of(m));
                    (0..filters.count()).for_each(|panel| transform_weight(filters, channels.start, panel, u));
                    arch.dispatch(Multiply { v, inputs, u, filters, m, outputs, positions: 0..POSITIONS, tiles });
                    scatter(m, outputs, 0, channels.start, 0..tiling.count());
                });
            });
        }
        // SAFETY: the capacity is `len`, and the tiles cover every pixel.
        unsafe { y.set_len(len) };
        y
    }

    /// dw `[c_out, c_in, 3, 3]` from dy: sums of a fixed number of chunks of the tiles, added in order.
    pub(super) fn grad_weight<T: Float>(&self, x: &[T], dy: &[T]) -> Vec<T> {
        let (g, arch, tiling, width) = (&self.g, self.arch, &Tiling::of(&self.g), width::<T>(self.arch));
        let panels = |rows: usize, columns: usize| Panels { rows, columns, width };
        let filters = panels(g.c_in, g.c_out);
        let of_tiles = |tiles: usize| (panels(tiles, g.c_in), panels(tiles, g.c_out));
        let gather = |images, range, to, panels, first| {
            arch.dispatch(Gather { tiling, images, range, to, panels, first });
        };
        let gather_all = |tiles: Range<usize>, v, z, inputs, outputs| {
            let blocks = blocks(tiles.len(), BLOCK);
            tasks(blocks.len(), |i| {
                let block = &blocks[i];
                let range = tiles.start + block.start..tiles.start + block.end;
                gather(Images::X(x), range.clone(), v, inputs, block.start);
                gather(Images::Dy(dy), range, z, outputs, block.start);
            });
        };
        let mut dw = vec![T::ZERO; g.c_out * g.c_in * 9];
        let row = g.c_in * 9;
        let mut sums: Vec<Vec<T>> = if g.c_in * g.c_out <= FEW_FILTERS {
            // A task takes a chunk of the tiles, block by block, and has a sum of its own: few sums where they are
            // large beside what they are of, for then their memory is most of the time.
            let few = tiling.count() * (g.c_in + g.c_out) / (2 * g.c_in * g.c_out).max(1);
            let chunks = (4 * FEW_FILTERS / (g.c_in * g.c_out).max(1)).clamp(4, 16).min(few.max(2));
            let chunk = tiling.count().div_ceil(chunks).next_multiple_of(BLOCK);
            let sum = |range: &Range<usize>| {
                let mut du = vec![T::ZERO; filters.len()];
                let (inputs, outputs) = of_tiles(BLOCK);
                T::scratch(inputs.len() + outputs.len(), |scratch| {
                    let (v, z) = scratch.split_at_mut(inputs.len());
                    let (v, z) = (Region::of(v), Region::of(z));
                    for block in blocks(range.len(), BLOCK) {
                        let block = range.start + block.start..range.start + block.end;
                        let tiles = block.len();
                        gather(Images::X(x), block.clone(), v, inputs, 0);
                        gather(Images::Dy(dy), block, z, outputs, 0);
                        let (du, positions) = (Region::of(&mut du), 0..POSITIONS);
                        arch.dispatch(Accumulate { v, inputs, z, outputs, tiles, filters, du, positions });
                    }
                });
                du
            };
            let chunks = blocks(tiling.count(), chunk);
            results(chunks.len(), |i| sum(&chunks[i]))
        } else if more_tiles(g, tiling) {
            // All tasks take many tiles together, each its position.
            let mut sum = vec![T::ZERO; filters.len()];
            let du = Region::of(&mut sum);
            let (inputs, outputs) = of_tiles(tiling.count().min(MANY_TILES));
            let (mut v, mut z) = (Vec::with_capacity(inputs.len()), Vec::with_capacity(outputs.len()));
            let (v, z) = (Region::of_capacity(&mut v), Region::of_capacity(&mut z));
            for many in blocks(tiling.count(), MANY_TILES) {
                gather_all(many.clone(), v, z, inputs, outputs);
                tasks(POSITIONS, |p| {
                    let (tiles, positions) = (many.len(), p..p + 1);
                    arch.dispatch(Accumulate { v, inputs, z, outputs, tiles, filters, du, positions });
                });
            }
            vec![sum]
        } else {
            // All tasks take all tiles, each two panels of outputs, from du to dw.
            let tiles = tiling.count();
            let (inputs, outputs) = of_tiles(tiles);
            let (mut v, mut z) = (Vec::with_capacity(inputs.len()), Vec::with_capacity(outputs.len()));
            let (v, z) = (Region::of_capacity(&mut v), Region::of_capacity(&mut z));
            gather_all(0..tiles, v, z, inputs, outputs);
            for_chunks(&mut dw, 2 * width * row, |pair, dw| {
                let filters = panels(g.c_in, dw.len() / row);
                T::scratch(filters.len(), |du| {
                    du.fill(T::ZERO);
                    let (du, z, positions) = (Region::of(du), z.after(2 * pair * outputs.panel()), 0..POSITIONS);
                    arch.dispatch(Accumulate { v, inputs, z, outputs, tiles, filters, du, positions });
                    for (panel, dw) in dw.chunks_mut(width * row).enumerate() {
                        arch.dispatch(TransformGradWeight { parts: &[du], filters, panel, to: Region::of(dw) });
                    }
                });
            });
            return dw;
        };
        let parts: Vec<Region<T>> = sums.iter_mut().map(|sum| Region::of(sum)).collect();
        for_chunks(&mut dw, width * row, |panel, dw| {
            arch.dispatch(TransformGradWeight { parts: &parts, filters, panel, to: Region::of(dw) });
        });
        dw
    }

    /// ‖dw‖² of a batch that is small enough for one task, two panels of outputs at a time.
    pub(super) fn grad_weight_square<T: Float>(&self, x: &[T], dy: &[T]) -> f64 {
        let (g, arch, tiling, width) = (&self.g, self.arch, &Tiling::of(&self.g), width::<T>(self.arch));
        let panels = |rows: usize, columns: usize| Panels { rows, columns, width };
        let (tiles, row) = (tiling.count(), g.c_in * 9);
        let (inputs, outputs, filters) = (panels(tiles, g.c_in), panels(tiles, g.c_out), panels(g.c_in, 2 * width));
        T::scratch(inputs.len() + outputs.len() + filters.len() + 2 * width * row, |scratch| {
            let (v, scratch) = scratch.split_at_mut(inputs.len());
            let (z, scratch) = scratch.split_at_mut(outputs.len());
            let (du, dw) = scratch.split_at_mut(filters.len());
            let (v, z) = (Region::of(v), Region::of(z));
            for range in blocks(tiles, BLOCK) {
                let first = range.start;
                let images = [(Images::X(x), v, inputs), (Images::Dy(dy), z, outputs)];
                for (images, to, panels) in images {
                    arch.dispatch(Gather { tiling, images, range: range.clone(), to, panels, first });
                }
            }
            let mut square = 0.;
            for channels in blocks(g.c_out, 2 * width) {
                let (filters, z) = (panels(g.c_in, channels.len()), z.after(channels.start / width * outputs.panel()));
                du[..filters.len()].fill(T::ZERO);
                let (du, positions) = (Region::of(du), 0..POSITIONS);
                arch.dispatch(Accumulate { v, inputs, z, outputs, tiles, filters, du, positions });
                let dw = &mut dw[..channels.len() * row];
                for (panel, dw) in dw.chunks_mut(width * row).enumerate() {
                    arch.dispatch(TransformGradWeight { parts: &[du], filters, panel, to: Region::of(dw) });
                }
                square += sum_of_squares(dw);
            }
            square
        })
    }
}

/// Whether the tiles are the larger operand, and not the filters.
fn more_tiles(g: &Geometry, tiling: &Tiling) -> bool {
    tiling.count() * (g.c_in + g.c_out) > g.c_in * g.c_out
}

/// `0..count` in blocks of `size`.
fn blocks(count: usize, size: usize) -> Vec<Range<usize>> {
    (0..count).step_by(size.max(1)).map(|start| start..(start + size).min(count)).collect()
}

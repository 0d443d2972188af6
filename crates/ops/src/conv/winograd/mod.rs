//! Winograd's F(4 × 4, 3 × 3): a 3 × 3 convolution with stride 1 in a quarter of the multiplications.
//!
//! Windows of 6 × 6 pixels, tiles of 4 × 4 outputs and filters of 3 × 3 taps become squares of 36 *positions*; there a
//! convolution is one product of matrices a position, tiles × inputs times inputs × outputs
//! (Lavin, Gray 2015, <https://arxiv.org/abs/1509.09308>).
//!
//! Of the two operands the larger is walked once. Where the tiles are more than the filters, a task takes a block of
//! tiles through all steps in its own cache. Where the filters are more, as in the deep layers of a network, all tiles
//! are transformed first and a task takes one position.
//!
//! Rounding: the relative error (root mean square, f32) is near 1e-6 against 2e-7 of the direct convolution.

mod filters;
mod products;
mod tiles;
mod transform;

use super::geometry::Geometry;
use crate::float::Float;
use crate::parallel::Region;
use crate::vector::width;
use filters::{Filters, Pass, TransformGradWeight, TransformWeight};
use products::{Accumulate, Multiply, ROWS};
use pulp::Arch;
use rayon::prelude::*;
use tiles::{Gather, Images, Panels, Scatter, Tiling};

/// Edge of a tile of the output.
const EDGE: usize = 4;
/// Edge of a window of the input, and of a transformed tile.
const WINDOW: usize = 6;
/// Positions of a transformed tile.
const POSITIONS: usize = WINDOW * WINDOW;

/// Tiles of a block: enough to pay for reading the filters, few enough for the caches.
const BLOCK: usize = 16;
/// Up to this many filters a sum over tiles has accumulators of its own in every task.
const FEW_FILTERS: usize = 128 * 128;
/// Tiles that are transformed at once where they are not taken in blocks; bounds the memory.
const MANY_TILES: usize = 1024;

/// A 3 × 3 convolution with stride 1.
#[derive(Clone, Copy)]
pub(super) struct Winograd {
    g: Geometry,
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
        let filters = Filters { inputs: g.c_in, outputs: g.c_out, width };
        let mut u_memory: Vec<T> = Vec::with_capacity(filters.len());
        let u = Region::of_capacity(&mut u_memory);
        (0..filters.panels())
            .into_par_iter()
            .for_each(|panel| arch.dispatch(TransformWeight { weight, pass, filters, panel, to: u }));

        let panels = |tiles: usize, channels: usize| Panels { tiles, channels, width };
        let gather = |range, to, panels, first| {
            arch.dispatch(Gather { tiling, images: Images::X(x), range, to, panels, first });
        };
        let scatter = |from, panels, first, range| {
            arch.dispatch(Scatter { tiling, from, panels, first, bias, range, y: out });
        };
        let more_tiles = tiling.count() * (g.c_in + g.c_out) > g.c_in * g.c_out;
        if more_tiles {
            blocks(tiling.count(), BLOCK).into_par_iter().for_each(|range| {
                let tiles = range.len().next_multiple_of(ROWS);
                let (inputs, outputs) = (panels(tiles, g.c_in), panels(tiles, g.c_out));
                T::scratch(inputs.len() + outputs.len(), |scratch| {
                    let (v, m) = scratch.split_at_mut(inputs.len());
                    let (v, m) = (Region::of(v), Region::of(m));
                    gather(range.clone(), v, inputs, 0);
                    arch.dispatch(Multiply { v, inputs, u, filters, m, outputs, positions: 0..POSITIONS, tiles });
                    scatter(m, outputs, 0, range);
                });
            });
        } else {
            let tiles = tiling.count().next_multiple_of(ROWS);
            let (inputs, outputs) = (panels(tiles, g.c_in), panels(tiles, g.c_out));
            let (mut v, mut m) = (Vec::with_capacity(inputs.len()), Vec::with_capacity(outputs.len()));
            let (v, m) = (Region::of_capacity(&mut v), Region::of_capacity(&mut m));
            let blocks = blocks(tiling.count(), BLOCK);
            blocks.par_iter().for_each(|range| gather(range.clone(), v, inputs, range.start));
            (0..POSITIONS).into_par_iter().for_each(|p| {
                arch.dispatch(Multiply { v, inputs, u, filters, m, outputs, positions: p..p + 1, tiles });
            });
            blocks.par_iter().for_each(|range| scatter(m, outputs, range.start, range.clone()));
        }
        // SAFETY: the capacity is `len`, and the tiles cover every pixel.
        unsafe { y.set_len(len) };
        y
    }

    /// dw `[c_out, c_in, 3, 3]` from dy: sums of a fixed number of chunks of the tiles, added in order.
    pub(super) fn grad_weight<T: Float>(&self, x: &[T], dy: &[T]) -> Vec<T> {
        let (g, arch, tiling, width) = (&self.g, self.arch, &Tiling::of(&self.g), width::<T>(self.arch));
        let filters = Filters { inputs: g.c_in, outputs: g.c_out, width };
        let panels =
            |tiles: usize| (Panels { tiles, channels: g.c_in, width }, Panels { tiles, channels: g.c_out, width });
        let gather = |images, range, to, panels, first| {
            arch.dispatch(Gather { tiling, images, range, to, panels, first });
        };
        let few = g.c_in * g.c_out <= FEW_FILTERS;
        let parts: Vec<Vec<T>> = if few {
            let chunks = (4 * FEW_FILTERS / (g.c_in * g.c_out).max(1)).clamp(4, 16);
            let chunk = tiling.count().div_ceil(chunks).next_multiple_of(BLOCK);
            let sum = |range: std::ops::Range<usize>| {
                let mut du = vec![T::zero(); filters.len()];
                let (inputs, outputs) = panels(BLOCK);
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
            blocks(tiling.count(), chunk).into_par_iter().map(sum).collect()
        } else {
            let mut du = vec![T::zero(); filters.len()];
            let sum = Region::of(&mut du);
            let (inputs, outputs) = panels(tiling.count().min(MANY_TILES));
            let (mut v, mut z) = (Vec::with_capacity(inputs.len()), Vec::with_capacity(outputs.len()));
            let (v, z) = (Region::of_capacity(&mut v), Region::of_capacity(&mut z));
            for many in blocks(tiling.count(), MANY_TILES) {
                blocks(many.len(), BLOCK).into_par_iter().for_each(|block| {
                    let tiles = many.start + block.start..many.start + block.end;
                    gather(Images::X(x), tiles.clone(), v, inputs, block.start);
                    gather(Images::Dy(dy), tiles, z, outputs, block.start);
                });
                (0..POSITIONS).into_par_iter().for_each(|p| {
                    let (tiles, positions) = (many.len(), p..p + 1);
                    arch.dispatch(Accumulate { v, inputs, z, outputs, tiles, filters, du: sum, positions });
                });
            }
            vec![du]
        };
        let mut dw = vec![T::zero(); g.c_out * g.c_in * 9];
        dw.par_chunks_mut((width * g.c_in * 9).max(1)).enumerate().for_each(|(panel, dw)| {
            arch.dispatch(TransformGradWeight { parts: &parts, filters, panel, to: Region::of(dw) });
        });
        dw
    }
}

/// `0..count` in blocks of `size`.
fn blocks(count: usize, size: usize) -> Vec<std::ops::Range<usize>> {
    (0..count).step_by(size.max(1)).map(|start| start..(start + size).min(count)).collect()
}

//! Tiles of images to the transformed domain, and back.

use super::panels::Panels;
use super::transform::{GradOutput, Input, Output, Transform, squared};
use super::{EDGE, POSITIONS, WINDOW};
use crate::cpu::parallel::Region;
use crate::cpu::vector::{Lanes, Vector, lanes, load, load_first, store, store_first};
use crate::layers::Geometry;
use pulp::{Simd, WithSimd};
use std::ops::Range;

/// How the output of a convolution is cut into tiles of 4 × 4, in the order of its pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tiling {
    g: Geometry,
    down: usize,
    across: usize,
}

impl Tiling {
    pub(super) fn of(g: &Geometry) -> Self {
        Self { g: *g, down: g.out_height.div_ceil(EDGE), across: g.out_width.div_ceil(EDGE) }
    }

    /// Tiles of the whole batch.
    pub(super) fn count(&self) -> usize {
        self.g.batch * self.down * self.across
    }

    /// Image, and the first row and column of the output.
    #[inline(always)]
    fn place(&self, tile: usize) -> (usize, usize, usize) {
        let (row, column) = (tile / self.across, tile % self.across);
        (row / self.down, row % self.down * EDGE, column * EDGE)
    }
}

/// A square of pixels of an image `[h, w, c]`; those outside are read from zeros.
#[inline(always)]
fn pixels<T, const N: usize>(
    image: &[T],
    (h, w, c): (usize, usize, usize),
    (top, left): (usize, usize),
    zeros: &[T],
) -> [[*const T; N]; N] {
    let mut pixels = [[zeros.as_ptr(); N]; N];
    for i in 0..N {
        for j in 0..N {
            // A row or column before the first one is a very large number.
            let (y, x) = (top.wrapping_add(i), left.wrapping_add(j));
            if y < h && x < w {
                pixels[i][j] = image[(y * w + x) * c..][..c].as_ptr();
            }
        }
    }
    pixels
}

/// The transforms `F` of squares of pixels, channel by channel.
///
/// # Safety
/// `count` channels from `start` must be readable at every pixel, and `to` must have room at every position.
#[inline(always)]
unsafe fn transform<F: Transform<N, WINDOW>, T: Lanes, S: Simd, const N: usize>(
    simd: S,
    pixels: &[[*const T; N]; N],
    (start, count): (usize, usize),
    to: *mut T,
    position: usize,
) {
    let mut d = [[T::constant(simd, 0.0); N]; N];
    for i in 0..N {
        for j in 0..N {
            // SAFETY: guaranteed by the caller; whole vectors where there are as many channels.
            d[i][j] = unsafe {
                let from = pixels[i][j].add(start);
                if count == lanes::<T, S>() { load::<T, S>(from) } else { load_first::<T, S>(simd, from, count) }
            };
        }
    }
    let transformed = squared::<F, T, S, N, WINDOW>(simd, d);
    for i in 0..WINDOW {
        for j in 0..WINDOW {
            // SAFETY: guaranteed by the caller.
            unsafe { store::<T, S>(to.add((WINDOW * i + j) * position), transformed[i][j]) };
        }
    }
}

/// Tiles `range` of `x` `[b, h, w, c_in]` or of `dy` `[b, h', w', c_out]`, zero beyond the edges, to places from
/// `first` on in the panels at `to`. Tiles of those panels that do not exist become zero after the last one.
pub(super) struct Gather<'a, T> {
    pub(super) tiling: &'a Tiling,
    pub(super) images: Images<'a, T>,
    pub(super) range: Range<usize>,
    pub(super) to: Region<T>,
    pub(super) panels: Panels,
    pub(super) first: usize,
}

/// What is transformed.
#[derive(Clone, Copy)]
pub(super) enum Images<'a, T> {
    /// Bᵀ d B of windows of x.
    X(&'a [T]),
    /// A dy Aᵀ of tiles of dy.
    Dy(&'a [T]),
}

impl<T: Lanes> WithSimd for Gather<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { tiling, images, range, to, panels, first } = self;
        let (g, width) = (&tiling.g, lanes::<T, S>());
        let c = panels.columns;
        let last = range.end == tiling.count();
        let zeros = vec![T::ZERO; c];
        for (slot, tile) in (first..).zip(range.clone()) {
            let (n, top, left) = tiling.place(tile);
            let (window, square) = match images {
                Images::X(x) => {
                    let image = &x[n * g.height * g.width * c..][..g.height * g.width * c];
                    let corner = (top.wrapping_sub(g.padding.0), left.wrapping_sub(g.padding.1));
                    (pixels::<T, WINDOW>(image, (g.height, g.width, c), corner, &zeros), None)
                }
                Images::Dy(dy) => {
                    let image = &dy[n * g.out_height * g.out_width * c..][..g.out_height * g.out_width * c];
                    let square = pixels::<T, EDGE>(image, (g.out_height, g.out_width, c), (top, left), &zeros);
                    ([[zeros.as_ptr(); WINDOW]; WINDOW], Some(square))
                }
            };
            for panel in 0..panels.count() {
                let channels = (panel * width, width.min(c - panel * width));
                let to = to.at(panel * panels.panel() + slot * width);
                // SAFETY: `pixels` points to `c` channels, and `panels` describes the memory at `to`.
                unsafe {
                    match &square {
                        None => transform::<Input, T, S, WINDOW>(simd, &window, channels, to, panels.position()),
                        Some(square) => {
                            transform::<GradOutput, T, S, EDGE>(simd, square, channels, to, panels.position())
                        }
                    }
                }
            }
        }
        if last {
            let slots = first + range.len()..panels.rows;
            for (position, panel) in (0..POSITIONS).flat_map(|p| (0..panels.count()).map(move |panel| (p, panel))) {
                let start = position * panels.position() + panel * panels.panel();
                for i in start + slots.start * width..start + slots.end * width {
                    // SAFETY: a place of a tile in the panels at `to`.
                    unsafe { to.at(i).write(T::ZERO) };
                }
            }
        }
    }
}

/// Aᵀ m A of the tiles at `from`, plus the bias, to channels `channel..` of tiles `range` of `y` `[b, h', w', c_out]`.
pub(super) struct Scatter<'a, T> {
    pub(super) tiling: &'a Tiling,
    pub(super) from: Region<T>,
    pub(super) panels: Panels,
    pub(super) first: usize,
    pub(super) bias: Option<&'a [T]>,
    pub(super) channel: usize,
    pub(super) range: Range<usize>,
    pub(super) y: Region<T>,
}

impl<T: Lanes> WithSimd for Scatter<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { tiling, from, panels, first, bias, channel, range, y } = self;
        let (g, width) = (&tiling.g, lanes::<T, S>());
        let c = g.c_out;
        for (slot, tile) in (first..).zip(range) {
            let (n, top, left) = tiling.place(tile);
            let (rows, columns) = ((g.out_height - top).min(EDGE), (g.out_width - left).min(EDGE));
            let start = ((n * g.out_height + top) * g.out_width + left) * c + channel;
            for panel in 0..panels.count() {
                let count = width.min(panels.columns - panel * width);
                let from = from.at(panel * panels.panel() + slot * width);
                let mut m = [[T::constant(simd, 0.0); WINDOW]; WINDOW];
                for i in 0..WINDOW {
                    for j in 0..WINDOW {
                        // SAFETY: `panels` describes the memory at `from`.
                        m[i][j] = unsafe { load::<T, S>(from.add((WINDOW * i + j) * panels.position())) };
                    }
                }
                let mut out: [[Vector<T, S>; EDGE]; EDGE] = squared::<Output, T, S, WINDOW, EDGE>(simd, m);
                if let Some(bias) = bias {
                    let bias = &bias[channel + panel * width..][..count];
                    // SAFETY: the slice has `count` elements.
                    let bias = unsafe { load_first::<T, S>(simd, bias.as_ptr(), count) };
                    for i in 0..EDGE {
                        for j in 0..EDGE {
                            out[i][j] = T::add(simd, out[i][j], bias);
                        }
                    }
                }
                let whole = rows == EDGE && columns == EDGE && count == width;
                let y = |i: usize, j: usize| y.at(start + (i * g.out_width + j) * c + panel * width);
                if whole {
                    for i in 0..EDGE {
                        for j in 0..EDGE {
                            // SAFETY: a whole vector of channels of a pixel inside the image.
                            unsafe { store::<T, S>(y(i, j), out[i][j]) };
                        }
                    }
                } else {
                    for i in 0..rows {
                        for j in 0..columns {
                            // SAFETY: `count` channels of a pixel inside the image.
                            unsafe { store_first::<T, S>(y(i, j), out[i][j], count) };
                        }
                    }
                }
            }
        }
    }
}

//! Windows of an image as rows of a matrix (im2col), the way back (col2im), and weights in the matching layouts.

use super::geometry::Geometry;
use crate::float::Float;
use std::ops::Range;

/// Copies a short run; much cheaper than a call of memcpy for the few dozen elements that a run usually has.
#[inline(always)]
fn copy_run<T: Copy>(to: &mut [T], from: &[T]) {
    if from.len() > 256 {
        return to.copy_from_slice(from);
    }
    let (to_blocks, to_rest) = to.as_chunks_mut::<8>();
    let (from_blocks, from_rest) = from.as_chunks::<8>();
    for (to, from) in to_blocks.iter_mut().zip(from_blocks) {
        *to = *from;
    }
    for (to, from) in to_rest.iter_mut().zip(from_rest) {
        *to = *from;
    }
}

/// The part of a window's row `ky` that lies in the image, for output pixel `(oy, ox)`.
struct Run {
    /// Columns of the window, `kx`, that lie in the image.
    columns: Range<usize>,
    /// The input pixel (within the image) of the first of them.
    pixel: usize,
}

impl Geometry {
    /// Image and position of output pixel `q` of the batch.
    fn position(&self, q: usize) -> (usize, usize, usize) {
        let ox = q % self.out_width;
        let row = q / self.out_width;
        (row / self.out_height, row % self.out_height, ox)
    }

    #[inline(always)]
    fn run(&self, oy: usize, ox: usize, ky: usize) -> Option<Run> {
        let y = (oy * self.stride.0 + ky).checked_sub(self.padding.0)?;
        let left = ox * self.stride.1; // of the window, in the padded image
        let first = self.padding.1.saturating_sub(left);
        let last = (self.width + self.padding.1).saturating_sub(left).min(self.kernel.1);
        (y < self.height && first < last)
            .then(|| Run { columns: first..last, pixel: y * self.width + left + first - self.padding.1 })
    }
}

/// The windows of output pixels `pixels` of the batch as rows `[pixels, kh * kw * c_in]`; zeros outside the image.
pub(crate) fn gather<T: Float>(g: &Geometry, x: &[T], pixels: Range<usize>, rows: &mut [T]) {
    let c = g.c_in;
    let image = g.height * g.width * c;
    let (mut n, mut oy, mut ox) = g.position(pixels.start);
    for row in rows.chunks_exact_mut(g.window()).take(pixels.len()) {
        let x = &x[n * image..(n + 1) * image];
        for (ky, row) in row.chunks_exact_mut(g.kernel.1 * c).enumerate() {
            match g.run(oy, ox, ky) {
                Some(Run { columns, pixel }) => {
                    row[..columns.start * c].fill(T::zero());
                    row[columns.end * c..].fill(T::zero());
                    let len = columns.len() * c;
                    copy_run(&mut row[columns.start * c..columns.end * c], &x[pixel * c..pixel * c + len]);
                }
                None => row.fill(T::zero()),
            }
        }
        ox += 1;
        if ox == g.out_width {
            (ox, oy) = (0, oy + 1);
            if oy == g.out_height {
                (oy, n) = (0, n + 1);
            }
        }
    }
}

/// One tap's share of [`gather`], channels `channels` only: rows `[pixels, channels]`.
pub(crate) fn gather_tap<T: Float>(
    g: &Geometry,
    x: &[T],
    pixels: Range<usize>,
    tap: usize,
    channels: Range<usize>,
    rows: &mut [T],
) {
    let (ky, kx) = (tap / g.kernel.1, tap % g.kernel.1);
    for (q, row) in pixels.zip(rows.chunks_exact_mut(channels.len())) {
        let (n, oy, ox) = g.position(q);
        match g.run(oy, ox, ky) {
            Some(Run { columns, pixel }) if columns.contains(&kx) => {
                let start = (n * g.height * g.width + pixel + kx - columns.start) * g.c_in;
                row.copy_from_slice(&x[start + channels.start..start + channels.end]);
            }
            _ => row.fill(T::zero()),
        }
    }
}

/// Adds windows `[pixels, kh * kw * c_in]` of output pixels `pixels` of one image to that image: undoes [`gather`].
pub(crate) fn scatter_add<T: Float>(g: &Geometry, rows: &[T], pixels: Range<usize>, image: &mut [T]) {
    let c = g.c_in;
    for (q, row) in pixels.zip(rows.chunks_exact(g.window())) {
        let (_, oy, ox) = g.position(q);
        for (ky, row) in row.chunks_exact(g.kernel.1 * c).enumerate() {
            if let Some(Run { columns, pixel }) = g.run(oy, ox, ky) {
                let row = &row[columns.start * c..columns.end * c];
                for (sum, value) in image[pixel * c..pixel * c + row.len()].iter_mut().zip(row) {
                    *sum += *value;
                }
            }
        }
    }
}

/// The weight `[c_out, c_in, taps]` as `[taps, c_in, c_out]`: windows times this is the output.
pub(crate) fn forward_weight<T: Float>(g: &Geometry, weight: &[T]) -> Vec<T> {
    let (taps, c_in, c_out) = (g.taps(), g.c_in, g.c_out);
    let mut packed = vec![T::zero(); weight.len()];
    // Sixteen outputs at a time: reads run along the weight, and every write completes a cache line.
    for outputs in (0..c_out).step_by(16).map(|o| o..(o + 16).min(c_out)) {
        for c in 0..c_in {
            for o in outputs.clone() {
                let from = (o * c_in + c) * taps;
                for (tap, value) in weight[from..from + taps].iter().enumerate() {
                    packed[(tap * c_in + c) * c_out + o] = *value;
                }
            }
        }
    }
    packed
}

/// The weight `[c_out, c_in, taps]` as `[c_out, taps, c_in]`: dy times this is the gradient of the windows.
pub(crate) fn window_weight<T: Float>(g: &Geometry, weight: &[T]) -> Vec<T> {
    let (taps, c_in) = (g.taps(), g.c_in);
    let mut packed = vec![T::zero(); weight.len()];
    for (packed, weight) in packed.chunks_exact_mut(taps * c_in).zip(weight.chunks_exact(taps * c_in)) {
        for (c, taps) in weight.chunks_exact(taps).enumerate() {
            for (tap, value) in taps.iter().enumerate() {
                packed[tap * c_in + c] = *value;
            }
        }
    }
    packed
}

/// The weight `[c_out, c_in, taps]` as `[flipped taps, c_out, c_in]`: windows of dy times this is dx.
pub(crate) fn flipped_weight<T: Float>(g: &Geometry, weight: &[T]) -> Vec<T> {
    let (taps, c_in, c_out) = (g.taps(), g.c_in, g.c_out);
    let mut packed = vec![T::zero(); weight.len()];
    for (o, weight) in weight.chunks_exact(taps * c_in).enumerate() {
        for (c, values) in weight.chunks_exact(taps).enumerate() {
            for (tap, value) in values.iter().enumerate() {
                packed[((taps - 1 - tap) * c_out + o) * c_in + c] = *value;
            }
        }
    }
    packed
}

//! The three products of a convolution: y, dx and dw.

use super::geometry::Geometry;
use super::windows::{flipped_weight, forward_weight, gather, gather_tap, scatter_add, window_weight};
use crate::float::Float;
use crate::parallel::{build, filled, rows_per_chunk};
use crate::product::{Matrix, add_product, product};
use rayon::prelude::*;
use std::mem::MaybeUninit;
use std::ops::Range;

/// y `[b, h', w', c_out]`.
pub(crate) fn forward<T: Float>(g: &Geometry, x: &[T], weight: &[T], bias: Option<&[T]>) -> Vec<T> {
    windows_times(g, x, &forward_weight(g, weight), bias)
}

/// dx `[b, h, w, c_in]` from dy `[b, h', w', c_out]`.
pub(crate) fn grad_input<T: Float>(g: &Geometry, weight: &[T], dy: &[T]) -> Vec<T> {
    match g.transposed() {
        Some(transposed) => windows_times(&transposed, dy, &flipped_weight(g, weight), None),
        None => grad_windows_scattered(g, &window_weight(g, weight), dy),
    }
}

/// The windows of `x` `[pixels, window]` times `packed` `[window, c_out]`, plus the bias; a block of pixels per task.
fn windows_times<T: Float>(g: &Geometry, x: &[T], packed: &[T], bias: Option<&[T]>) -> Vec<T> {
    let (pixels, window, c_out) = (g.pixels(), g.window(), g.c_out);
    let block = g.pixels_per_task();
    let weight = Matrix::new(packed, window, c_out);
    // SAFETY: `product` writes every element of `out`.
    unsafe {
        build(pixels * c_out, block * c_out, |i, out| {
            let rows = i * block..((i + 1) * block).min(pixels);
            with_windows(g, x, rows.clone(), |windows| product(Matrix::new(windows, rows.len(), window), weight, out));
            if let Some(bias) = bias {
                for out in out.chunks_exact_mut(c_out) {
                    for (out, bias) in out.iter_mut().zip(bias) {
                        // SAFETY: written by `product` above.
                        out.write(out.assume_init() + *bias);
                    }
                }
            }
        })
    }
}

/// Lends the windows of a range of output pixels, `[pixels, window]`: from the input itself where it is that matrix.
fn with_windows<T: Float, R>(g: &Geometry, x: &[T], pixels: Range<usize>, f: impl FnOnce(&[T]) -> R) -> R {
    let window = g.window();
    if g.is_pointwise() {
        return f(&x[pixels.start * window..pixels.end * window]);
    }
    T::scratch(pixels.len() * window, |windows| {
        gather(g, x, pixels, windows);
        f(windows)
    })
}

/// dx where the convolution of dy with the flipped kernel does not give it: the gradient of the windows, scattered.
/// An image per task, as windows of one image overlap.
fn grad_windows_scattered<T: Float>(g: &Geometry, packed: &[T], dy: &[T]) -> Vec<T> {
    let (window, c_out) = (g.window(), g.c_out);
    let per_image = g.out_height * g.out_width;
    let block = g.pixels_per_task().min(per_image);
    let weight = Matrix::new(packed, c_out, window);
    let image = g.height * g.width * g.c_in;
    // SAFETY: every element of `dx` is written with zero first.
    unsafe {
        build(g.batch * image, image, |n, dx| {
            let dx = filled(dx, T::zero());
            let dy = &dy[n * per_image * c_out..(n + 1) * per_image * c_out];
            for start in (0..per_image).step_by(block) {
                let pixels = start..(start + block).min(per_image);
                let dy = Matrix::new(&dy[pixels.start * c_out..pixels.end * c_out], pixels.len(), c_out);
                T::scratch(pixels.len() * window, |windows| {
                    product(dy, weight, as_uninit(windows));
                    scatter_add(g, windows, pixels, dx);
                });
            }
        })
    }
}

/// Above this many weights a task computes a slice of dw only, and fewer tasks keep partial sums.
const LARGE_WEIGHT: usize = 1 << 19;
/// Channels of a slice of a large dw.
const SLICE: usize = 256;

/// One task of [`grad_weight`]: the part of the window that it computes.
enum Slice {
    Whole,
    Tap { tap: usize, channels: Range<usize> },
}

/// dw `[c_out, c_in, kh, kw]` from dy: partial sums over a fixed number of chunks of the pixels, added in order.
pub(crate) fn grad_weight<T: Float>(g: &Geometry, x: &[T], dy: &[T]) -> Vec<T> {
    let (pixels, window, c_out, c_in, taps) = (g.pixels(), g.window(), g.c_out, g.c_in, g.taps());
    let slices: Vec<Slice> = if window * c_out <= LARGE_WEIGHT {
        vec![Slice::Whole]
    } else {
        let channels = || (0..c_in).step_by(SLICE).map(|start| start..(start + SLICE).min(c_in));
        (0..taps).flat_map(|tap| channels().map(move |channels| Slice::Tap { tap, channels })).collect()
    };
    let chunks = (4 * LARGE_WEIGHT / (window * c_out).max(1)).clamp(1, 16).min(pixels.div_ceil(64).max(1));
    let chunk = pixels.div_ceil(chunks).max(1);
    let tasks: Vec<(usize, &Slice)> = (0..chunks).flat_map(|i| slices.iter().map(move |slice| (i, slice))).collect();
    let partials: Vec<Vec<T>> = tasks
        .par_iter()
        .map(|&(i, slice)| grad_weight_part(g, x, dy, (i * chunk).min(pixels)..((i + 1) * chunk).min(pixels), slice))
        .collect();

    // Each partial is [c_out, its part of (tap, channel)]; the sum goes to [c_out, channel, tap].
    let rows = rows_per_chunk(window);
    // SAFETY: the slices cover every tap and channel once, so the first chunk writes every element.
    unsafe {
        build(c_out * window, window * rows, |i, out| {
            let first = i * rows;
            for (o, out) in (first..).zip(out.chunks_exact_mut(window)) {
                for (partial, &(chunk, slice)) in partials.iter().zip(&tasks) {
                    let (taps_of, channels) = match slice {
                        Slice::Whole => (0..taps, 0..c_in),
                        Slice::Tap { tap, channels } => (*tap..tap + 1, channels.clone()),
                    };
                    let width = taps_of.len() * channels.len();
                    let mut values = partial[o * width..(o + 1) * width].iter();
                    for tap in taps_of {
                        for (c, value) in channels.clone().zip(&mut values) {
                            let out = &mut out[c * taps + tap];
                            // SAFETY: chunk 0 comes first in `tasks` and has written this element.
                            out.write(if chunk == 0 { *value } else { out.assume_init() + *value });
                        }
                    }
                }
            }
        })
    }
}

/// Σ over `pixels` of dy ⊗ (its part of the window): `[c_out, part]`.
fn grad_weight_part<T: Float>(g: &Geometry, x: &[T], dy: &[T], pixels: Range<usize>, slice: &Slice) -> Vec<T> {
    let c_out = g.c_out;
    let width = match slice {
        Slice::Whole => g.window(),
        Slice::Tap { channels, .. } => channels.len(),
    };
    let block = (64 * 1024 / width.max(1)).clamp(128, 1024);
    let mut sum = vec![T::zero(); c_out * width];
    for start in pixels.clone().step_by(block) {
        let rows = start..(start + block).min(pixels.end);
        let len = rows.len();
        let dy = Matrix::new(&dy[rows.start * c_out..rows.end * c_out], len, c_out).t();
        match slice {
            Slice::Whole => with_windows(g, x, rows, |part| add_product(dy, Matrix::new(part, len, width), &mut sum)),
            Slice::Tap { channels, .. } if g.is_pointwise() => {
                let part = &x[rows.start * g.c_in + channels.start..];
                add_product(dy, Matrix::strided(part, len, width, g.c_in), &mut sum)
            }
            Slice::Tap { tap, channels } => T::scratch(len * width, |part| {
                gather_tap(g, x, rows, *tap, channels.clone(), part);
                add_product(dy, Matrix::new(part, len, width), &mut sum)
            }),
        }
    }
    sum
}

/// An initialised slice as one that may be overwritten.
fn as_uninit<T: Copy>(values: &mut [T]) -> &mut [MaybeUninit<T>] {
    // SAFETY: the layouts are the same, and what `product` writes are valid numbers, so `values` stays initialised.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), values.len()) }
}

//! ‖dwᵢ‖² of a convolution's weight for every sample i: what the samples contribute, measured and not added up.
//!
//! dwᵢ = Σₛ dyₛ xₛᵀ over the output pixels s of the sample, xₛ being their windows. Either it is formed and its squares
//! are summed, by the products that compute dw; or ‖dwᵢ‖² = Σₛₜ ⟨xₛ, xₜ⟩⟨dyₛ, dyₜ⟩, two Gram matrices, which is far
//! less work where the pixels are few and the channels many, as in the deep layers of a network. Tasks are samples.

use super::algorithm::Algorithm;
use super::gram::{gram, gram_len, padded};
use crate::cpu::float::Float;
use crate::cpu::parallel::results;
use crate::cpu::squares::{product, squares_of_rows};
use crate::layers::Geometry;
use pulp::Arch;

/// How ‖dwᵢ‖² is computed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Route {
    /// ‖x‖² ‖dy‖² of the only pixel.
    Row,
    /// The Gram matrix of the pixels of x, which are the windows.
    Pixels,
    /// That of the pixels, summed along the taps: for stride 1.
    Taps,
    /// That of the windows, which are copied out.
    Windows,
    /// dwᵢ itself.
    Formed,
}

impl Route {
    /// The one with the least work; `g` is the convolution of one sample.
    fn of(g: &Geometry) -> Self {
        let (pixels, seen) = (g.pixels(), g.batch * g.height * g.width);
        let plain = g.taps() == 1 && g.stride == (1, 1) && g.padding == (0, 0);
        if plain && pixels == 1 {
            return Route::Row;
        }
        let half = |pixels: usize, depth: usize| pixels * pixels / 2 * depth;
        let output = half(pixels, g.c_out);
        let (route, products) = if plain {
            (Route::Pixels, output + half(pixels, g.c_in))
        } else if g.stride == (1, 1) && g.batch == 1 {
            // A sum of neighbouring elements takes as long as some multiplications of a product.
            let taps = (Route::Taps, output + half(seen, g.c_in) + 8 * half(pixels, g.taps()));
            let windows = (Route::Windows, output + half(pixels, g.window()));
            if taps.1 <= windows.1 { taps } else { windows }
        } else {
            (Route::Windows, output + half(pixels, g.window()))
        };
        // Packing and short rows: measured, a product of a Gram matrix takes as long as two.
        if 2 * products <= Algorithm::of(g).multiplications() { route } else { Route::Formed }
    }
}

/// ‖dwᵢ‖² of every sample, for the convolution `g` of one, from x `[samples, h, w, c_in]` and dy `[samples, h', w',
/// c_out]`.
pub(super) fn of_weights<T: Float>(g: &Geometry, x: &[T], dy: &[T]) -> Vec<f64> {
    by(Route::of(g), g, x, dy)
}

fn by<T: Float>(route: Route, g: &Geometry, x: &[T], dy: &[T]) -> Vec<f64> {
    let (inputs, outputs) = (g.batch * g.height * g.width * g.c_in, g.pixels() * g.c_out);
    let samples = dy.len() / outputs.max(1);
    if route == Route::Row {
        let (x, dy) = (squares_of_rows(x, samples), squares_of_rows(dy, samples));
        return x.iter().zip(&dy).map(|(x, dy)| x * dy).collect();
    }
    let (algorithm, arch) = (Algorithm::of(g), Arch::new());
    results(samples, |i| {
        let (x, dy) = (&x[i * inputs..][..inputs], &dy[i * outputs..][..outputs]);
        match route {
            Route::Formed => algorithm.grad_weight_square(x, dy),
            _ => of_grams(arch, route, g, x, dy),
        }
    })
}

/// Σₛₜ ⟨xₛ, xₜ⟩⟨dyₛ, dyₜ⟩ of one sample.
fn of_grams<T: Float>(arch: Arch, route: Route, g: &Geometry, x: &[T], dy: &[T]) -> f64 {
    let pixels = g.pixels();
    let seen = if route == Route::Taps { g.height * g.width } else { pixels };
    let mut memory = vec![T::ZERO; gram_len::<T>(arch, pixels) + gram_len::<T>(arch, seen)];
    let (of_dy, of_x) = memory.split_at_mut(gram_len::<T>(arch, pixels));
    gram(arch, dy, pixels, g.c_out, of_dy);
    match route {
        Route::Windows => gram(arch, &windows(g, x), pixels, g.window(), of_x),
        _ => gram(arch, x, seen, g.c_in, of_x),
    }
    let (stride, stride_x) = (padded::<T>(arch, pixels), padded::<T>(arch, seen));
    let (mut diagonal, mut above) = (0., 0.);
    let mut row = vec![T::ZERO; pixels];
    for s in 0..pixels {
        let of_dy = &of_dy[s * stride..][..pixels];
        let of_x = match route {
            Route::Taps => {
                along_taps(g, &*of_x, stride_x, s, &mut row);
                &row[s..]
            }
            _ => &of_x[s * stride_x..][s..pixels],
        };
        diagonal += of_dy[s].wide() * of_x[0].wide();
        above += product(&of_dy[s + 1..], &of_x[1..]);
    }
    let square = diagonal + 2. * above;
    if square < 0. { 0. } else { square } // rounding; NaN stays
}

/// row\[t] = Σ over the taps of the product of the pixels that windows s and t see there, for t ≥ s.
fn along_taps<T: Float>(g: &Geometry, gram: &[T], stride: usize, s: usize, row: &mut [T]) {
    row[s..].fill(T::ZERO);
    let (down, across) = (s / g.out_width, s % g.out_width);
    // The pixel of window position i at a tap, if it is inside.
    let seen = |i: usize, tap: usize, padding: usize, size: usize| (i + tap).checked_sub(padding).filter(|i| *i < size);
    for tap_y in 0..g.kernel.0 {
        let Some(y) = seen(down, tap_y, g.padding.0, g.height) else { continue };
        for tap_x in 0..g.kernel.1 {
            let Some(x) = seen(across, tap_x, g.padding.1, g.width) else { continue };
            let gram = &gram[(y * g.width + x) * stride..];
            let columns =
                g.padding.1.saturating_sub(tap_x)..(g.width + g.padding.1).saturating_sub(tap_x).min(g.out_width);
            for other in down..g.out_height {
                let Some(y) = seen(other, tap_y, g.padding.0, g.height) else { continue };
                let first = if other == down { across } else { columns.start };
                let from = &gram[y * g.width + first + tap_x - g.padding.1..];
                let to = &mut row[other * g.out_width + first..other * g.out_width + columns.end];
                for (to, from) in to.iter_mut().zip(from) {
                    *to += *from;
                }
            }
        }
    }
}

/// The windows of some images, `[pixels, window]`, with zeros outside of the images.
pub(super) fn windows<T: Float>(g: &Geometry, x: &[T]) -> Vec<T> {
    let mut windows = vec![T::ZERO; g.pixels() * g.window()];
    let (c, across, image) = (g.c_in, g.out_width, g.height * g.width);
    for (s, window) in windows.chunks_exact_mut(g.window().max(1)).enumerate() {
        let (batch, i, j) = (s / (g.out_height * across), s / across % g.out_height, s % across);
        for (tap, to) in window.chunks_exact_mut(c.max(1)).enumerate() {
            let row = (i * g.stride.0 + tap / g.kernel.1).wrapping_sub(g.padding.0);
            let column = (j * g.stride.1 + tap % g.kernel.1).wrapping_sub(g.padding.1);
            if row < g.height && column < g.width {
                to.copy_from_slice(&x[(batch * image + row * g.width + column) * c..][..c]);
            }
        }
    }
    windows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(
        kernel: usize,
        stride: usize,
        padding: usize,
        (height, width): (usize, usize),
        c: (usize, usize),
    ) -> Geometry {
        let windows = |size: usize| (size + 2 * padding - kernel) / stride + 1;
        Geometry {
            batch: 1,
            height,
            width,
            c_in: c.0,
            out_height: windows(height),
            out_width: windows(width),
            c_out: c.1,
            kernel: (kernel, kernel),
            stride: (stride, stride),
            padding: (padding, padding),
        }
    }

    #[test]
    fn all_ways_lead_to_the_same_squares() {
        for (g, routes) in [
            (of(1, 1, 0, (1, 1), (7, 5)), &[Route::Row, Route::Pixels, Route::Taps, Route::Windows][..]),
            (of(1, 1, 0, (5, 4), (9, 18)), &[Route::Pixels, Route::Taps, Route::Windows]),
            (of(1, 2, 0, (5, 4), (9, 18)), &[Route::Windows]),
            (of(3, 1, 1, (9, 6), (19, 33)), &[Route::Taps, Route::Windows]),
            (of(3, 1, 0, (4, 7), (8, 8)), &[Route::Taps, Route::Windows]),
            (of(3, 1, 3, (4, 5), (3, 8)), &[Route::Taps, Route::Windows]),
            (of(3, 2, 1, (9, 6), (19, 33)), &[Route::Windows]),
        ] {
            let numbers = |len: usize, by: usize| (0..len).map(|i| (i * by % 1013) as f64 / 500. - 1.).collect();
            let x: Vec<f64> = numbers(3 * g.height * g.width * g.c_in, 7919);
            let dy: Vec<f64> = numbers(3 * g.pixels() * g.c_out, 6007);
            let expected = by(Route::Formed, &g, &x, &dy);
            for route in routes {
                for (found, expected) in by(*route, &g, &x, &dy).iter().zip(&expected) {
                    assert!((found / expected - 1.).abs() < 1e-12, "{g:?}, {route:?}: {found} for {expected}");
                }
            }
        }
    }

    #[test]
    fn deep_layers_take_gram_matrices_and_shallow_ones_do_not() {
        let basic = |side: usize, c: usize| Route::of(&of(3, 1, 1, (side, side), (c, c)));
        assert_eq!(
            [basic(32, 64), basic(16, 128), basic(8, 256), basic(4, 512)],
            [Route::Formed, Route::Formed, Route::Taps, Route::Taps]
        );
        assert_eq!(Route::of(&of(3, 2, 1, (16, 16), (128, 256))), Route::Windows);
        let tokens = Geometry::pointwise(65, 192, 768);
        assert_eq!(Route::of(&tokens), Route::Pixels);
        assert_eq!(Route::of(&Geometry::pointwise(1, 512, 10)), Route::Row);
    }
}

//! The map Σₜ dₜ aₜᵀ of one micro-batch, applied without being formed: its windows a and output gradients d are thin.
//!
//! Of windows x it makes y = Σₜ dₜ ⟨aₜ, x⟩, and of output gradients dy the input gradient Σₜ aₜ ⟨dₜ, dy⟩. Two products
//! each, whose matrix in the middle is `[positions, positions]`. With stride 1 the products of windows are sums along
//! the taps of products of pixels, which are fewer; else windows are copied out.

use super::squares::windows;
use crate::cpu::float::Float;
use crate::cpu::parallel::Region;
use crate::cpu::product::{Left, Matrix, PackRight, Product, Start, right_len};
use crate::cpu::vector::{vectorised, width};
use crate::layers::Geometry;
use pulp::Arch;

/// Summands of a product at a time: their panels stay in L1.
const SUMMANDS: usize = 192;

/// How positions are multiplied with each other.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Route {
    /// A window is a pixel.
    Pixels,
    /// Products of pixels, summed along the taps.
    Taps,
    /// Products of windows.
    Windows,
}

/// The convolution of one micro-batch.
#[derive(Clone, Copy)]
pub(super) struct LowRank {
    g: Geometry,
    route: Route,
}

impl LowRank {
    pub(super) fn of(g: &Geometry) -> Self {
        let route = match (g.taps(), g.stride, g.padding) {
            (1, (1, 1), (0, 0)) => Route::Pixels,
            (_, (1, 1), _) => Route::Taps,
            _ => Route::Windows,
        };
        Self { g: *g, route }
    }

    /// Those of one application, where a sum of neighbouring elements takes as long as some.
    pub(super) fn multiplications(&self) -> usize {
        let (g, pixels) = (&self.g, self.g.pixels());
        let outputs = pixels * pixels * g.c_out;
        match self.route {
            Route::Taps => outputs + self.seen() * self.seen() * g.c_in + 2 * pixels * pixels * g.taps(),
            _ => outputs + pixels * pixels * g.window(),
        }
    }

    /// Pixels of the input.
    fn seen(&self) -> usize {
        self.g.batch * self.g.height * self.g.width
    }

    /// y += c Σₜ dₜ ⟨aₜ, xₛ⟩ for every window xₛ of x.
    pub(super) fn add_output<T: Float>(&self, c: f64, x: &[T], a: &[T], d: &[T], y: &mut [T]) {
        let (g, pixels, seen) = (&self.g, self.g.pixels(), self.seen());
        let mut middle = vec![T::ZERO; pixels * pixels];
        match self.route {
            Route::Pixels => cross(x, a, g.c_in, &mut middle),
            Route::Taps => {
                let mut of_pixels = vec![T::ZERO; seen * seen];
                cross(x, a, g.c_in, &mut of_pixels);
                self.along_taps(&mut of_pixels, &mut middle, |pixels, windows| *windows += *pixels);
            }
            Route::Windows => cross(&windows(g, x), &windows(g, a), g.window(), &mut middle),
        }
        scale(&mut middle, c);
        add_product(&middle, d, g.c_out, y);
    }

    /// dx += c Σₜ aₜ ⟨dₜ, dyₛ⟩ at the window s.
    pub(super) fn add_grad_input<T: Float>(&self, c: f64, dy: &[T], a: &[T], d: &[T], dx: &mut [T]) {
        let (g, pixels, seen) = (&self.g, self.g.pixels(), self.seen());
        let mut middle = vec![T::ZERO; pixels * pixels];
        cross(dy, d, g.c_out, &mut middle);
        scale(&mut middle, c);
        match self.route {
            Route::Pixels => add_product(&middle, a, g.c_in, dx),
            Route::Taps => {
                let mut of_pixels = vec![T::ZERO; seen * seen];
                self.along_taps(&mut of_pixels, &mut middle, |pixels, windows| *pixels += *windows);
                add_product(&of_pixels, a, g.c_in, dx);
            }
            Route::Windows => {
                let mut of_windows = vec![T::ZERO; pixels * g.window()];
                add_product(&middle, &windows(g, a), g.window(), &mut of_windows);
                add_windows(g, &of_windows, dx);
            }
        }
    }

    /// Calls `add` with an element of `of_pixels` `[seen, seen]` and one of `of_windows` `[pixels, pixels]` for every
    /// two windows and each tap: the pixels that they see there.
    fn along_taps<T: Float>(&self, of_pixels: &mut [T], of_windows: &mut [T], add: impl Fn(&mut T, &mut T) + Copy) {
        let (g, pixels, seen) = (&self.g, self.g.pixels(), self.seen());
        let (area, out_area) = (g.height * g.width, g.out_height * g.out_width);
        // The pixel of window position i at a tap, if it is inside.
        let at =
            |i: usize, tap: usize, padding: usize, size: usize| (i + tap).checked_sub(padding).filter(|i| *i < size);
        vectorised(
            #[inline(always)]
            || {
                for s in 0..pixels {
                    let (image, down, across) = (s / out_area, s % out_area / g.out_width, s % g.out_width);
                    let windows = &mut of_windows[s * pixels..][..pixels];
                    for tap_y in 0..g.kernel.0 {
                        let Some(y) = at(down, tap_y, g.padding.0, g.height) else { continue };
                        for tap_x in 0..g.kernel.1 {
                            let Some(x) = at(across, tap_x, g.padding.1, g.width) else { continue };
                            let row = &mut of_pixels[(image * area + y * g.width + x) * seen..][..seen];
                            let first = g.padding.1.saturating_sub(tap_x);
                            let end = (g.width + g.padding.1).saturating_sub(tap_x).min(g.out_width);
                            if first >= end {
                                continue;
                            }
                            for other in 0..g.batch * g.out_height {
                                let (image, down) = (other / g.out_height, other % g.out_height);
                                let Some(y) = at(down, tap_y, g.padding.0, g.height) else { continue };
                                let from = image * area + y * g.width + first + tap_x - g.padding.1;
                                let pixels = &mut row[from..from + end - first];
                                let windows = &mut windows[other * g.out_width..][first..end];
                                pixels.iter_mut().zip(windows).for_each(|(pixel, window)| add(pixel, window));
                            }
                        }
                    }
                }
            },
        );
    }
}

/// c m
fn scale<T: Float>(m: &mut [T], c: f64) {
    let c = T::narrow(c);
    m.iter_mut().for_each(|m| *m *= c);
}

/// to\[s]\[t] = ⟨row s of x, row t of a⟩, rows of `depth`.
fn cross<T: Float>(x: &[T], a: &[T], depth: usize, to: &mut [T]) {
    let (rows, columns) = (x.len() / depth.max(1), a.len() / depth.max(1));
    product(
        Matrix::rows(Region::to_read(x), depth),
        Matrix::rows(Region::to_read(a), depth).transposed(),
        [rows, depth, columns],
        to,
    );
}

/// to += m b, rows of b and `to` having `columns`.
fn add_product<T: Float>(m: &[T], b: &[T], columns: usize, to: &mut [T]) {
    let (rows, inner) = (to.len() / columns.max(1), b.len() / columns.max(1));
    product(
        Matrix::rows(Region::to_read(m), inner),
        Matrix::rows(Region::to_read(b), columns),
        [rows, inner, columns],
        to,
    );
}

/// to += a b, `[rows, inner]` times `[inner, columns]`.
fn product<T: Float>(a: Matrix<T>, b: Matrix<T>, [rows, inner, columns]: [usize; 3], to: &mut [T]) {
    assert_eq!(to.len(), rows * columns, "the result has a place for each row and column");
    let (arch, c) = (Arch::new(), Matrix::rows(Region::of(to), columns));
    T::scratch(right_len(SUMMANDS.min(inner), columns, width::<T>(arch)), |panels| {
        for k in (0..inner).step_by(SUMMANDS) {
            let inner = SUMMANDS.min(inner - k);
            arch.dispatch(PackRight { from: b.from(k, 0), inner, columns, to: Region::of(panels) });
            let a = Left::Matrix(a.from(0, k));
            arch.dispatch(Product { rows, inner, columns, a, b: panels, start: Start::Sum, c });
        }
    });
}

/// The inverse of [`windows`], summed: what belongs to every window is added to the pixels that it sees.
fn add_windows<T: Float>(g: &Geometry, windows: &[T], dx: &mut [T]) {
    let (c, across, image) = (g.c_in, g.out_width, g.height * g.width);
    for (s, window) in windows.chunks_exact(g.window().max(1)).enumerate() {
        let (batch, i, j) = (s / (g.out_height * across), s / across % g.out_height, s % across);
        for (tap, from) in window.chunks_exact(c.max(1)).enumerate() {
            let row = (i * g.stride.0 + tap / g.kernel.1).wrapping_sub(g.padding.0);
            let column = (j * g.stride.1 + tap % g.kernel.1).wrapping_sub(g.padding.1);
            if row < g.height && column < g.width {
                let to = &mut dx[(batch * image + row * g.width + column) * c..][..c];
                to.iter_mut().zip(from).for_each(|(to, from)| *to += *from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::conv::algorithm::Algorithm;

    fn geometry(images: usize, kernel: usize, stride: usize, padding: usize, c: (usize, usize)) -> Geometry {
        let (height, width) = (6, 5);
        let out = |size: usize| (size + 2 * padding - kernel) / stride + 1;
        Geometry {
            batch: images,
            height,
            width,
            c_in: c.0,
            out_height: out(height),
            out_width: out(width),
            c_out: c.1,
            kernel: (kernel, kernel),
            stride: (stride, stride),
            padding: (padding, padding),
        }
    }

    fn numbers(len: usize, by: usize) -> Vec<f64> {
        (0..len).map(|i| (i * by % 1013) as f64 / 500. - 1.).collect()
    }

    #[test]
    fn the_map_is_that_of_the_formed_gradient() {
        for g in [
            geometry(1, 1, 1, 0, (7, 5)),
            geometry(3, 1, 1, 0, (3, 20)),
            geometry(2, 1, 2, 0, (9, 4)),
            geometry(1, 3, 1, 1, (9, 33)),
            geometry(2, 3, 1, 1, (5, 3)),
            geometry(2, 3, 1, 0, (8, 8)),
            geometry(2, 3, 1, 3, (4, 9)),
            geometry(3, 3, 2, 1, (6, 17)),
            geometry(1, 2, 3, 1, (6, 2)),
            geometry(1, 5, 1, 0, (200, 3)),
        ] {
            let (inputs, outputs) = (g.batch * g.height * g.width * g.c_in, g.pixels() * g.c_out);
            let [a, x, d, dy] =
                [(inputs, 7919), (inputs, 6007), (outputs, 101), (outputs, 331)].map(|(len, by)| numbers(len, by));
            let (algorithm, low_rank) = (Algorithm::of(&g), LowRank::of(&g));
            let formed: Vec<f64> = algorithm.grad_weight(&a, &d).iter().map(|g| -0.5 * g).collect();
            let expected = [algorithm.forward(&x, &formed, None), algorithm.grad_input(&formed, &dy)];
            let mut found = [vec![1.; outputs], vec![1.; inputs]];
            low_rank.add_output(-0.5, &x, &a, &d, &mut found[0]);
            low_rank.add_grad_input(-0.5, &dy, &a, &d, &mut found[1]);
            for (found, expected) in found.iter().zip(&expected) {
                let size = expected.iter().map(|value| value.abs()).fold(1., f64::max);
                for (found, expected) in found.iter().zip(expected) {
                    assert!((found - 1. - expected).abs() < 1e-12 * size, "{g:?}: {found} − 1 for {expected}");
                }
            }
        }
    }
}

//! Which of the three convolutions a shape gets: a product of matrices for a 1 × 1 kernel; else Winograd's or the
//! direct one.
//!
//! Winograd's has a quarter of the multiplications and additional transforms of the input and the output, in
//! proportion to the pixels. Measured with AVX-512, batch 128, forward: as fast as the direct one at 8 channels, twice
//! as fast at 16, three times from 64 on; 1.3 and 1.6 times at 5 × 5 and 3 × 3 pixels, whose tiles are not full.

use super::direct::Direct;
use super::pointwise::Pointwise;
use super::winograd::Winograd;
use crate::cpu::float::Float;
use crate::cpu::parallel::with_work;
use crate::graph::within;
use crate::layers::Geometry;
use pulp::Arch;
use std::cell::Cell;

thread_local! {
    /// How many `direct_convolutions` scopes are open on this thread.
    static DIRECT: Cell<usize> = const { Cell::new(0) };
}

/// Runs `f` with direct convolutions only: for checking what the fast ones, whose rounding error is about twice as
/// large, do to a result.
///
/// The scope belongs to the calling thread, nests, and ends even if `f` panics. A backward pass counts where it runs.
pub fn direct_convolutions<R>(f: impl FnOnce() -> R) -> R {
    within(&DIRECT, f)
}

/// How a convolution is computed.
#[derive(Clone, Copy)]
pub(super) enum Algorithm {
    Direct(Direct),
    Pointwise(Pointwise),
    Winograd(Winograd),
}

impl Algorithm {
    /// The faster one.
    pub(super) fn of(g: &Geometry) -> Self {
        let arch = Arch::new();
        if let Some(pointwise) = Pointwise::of(g, arch) {
            return Algorithm::Pointwise(pointwise.with_tiles());
        }
        let tiles = g.batch * g.out_height.div_ceil(4) * g.out_width.div_ceil(4);
        // Multiplications of a pair of channels: 36 a tile against 9 a pixel.
        let fewer = 36 * tiles <= 6 * g.pixels();
        match Winograd::of(g, arch) {
            Some(winograd) if DIRECT.get() == 0 && fewer && g.c_in >= 8 && g.c_out >= 8 => {
                Algorithm::Winograd(winograd)
            }
            _ => Algorithm::Direct(Direct { g: *g, arch }),
        }
    }

    /// y `[b, h', w', c_out]`.
    pub(super) fn forward<T: Float>(&self, x: &[T], weight: &[T], bias: Option<&[T]>) -> Vec<T> {
        with_work(self.work(), || match self {
            Algorithm::Direct(direct) => direct.forward(x, weight, bias),
            Algorithm::Pointwise(pointwise) => pointwise.forward(x, weight, bias),
            Algorithm::Winograd(winograd) => winograd.forward(x, weight, bias),
        })
    }

    /// dx `[b, h, w, c_in]`.
    pub(super) fn grad_input<T: Float>(&self, weight: &[T], dy: &[T]) -> Vec<T> {
        with_work(self.work(), || match self {
            Algorithm::Direct(direct) => direct.grad_input(weight, dy),
            Algorithm::Pointwise(pointwise) => pointwise.grad_input(weight, dy),
            Algorithm::Winograd(winograd) => winograd.grad_input(weight, dy),
        })
    }

    /// dw `[c_out, c_in, kh, kw]`.
    pub(super) fn grad_weight<T: Float>(&self, x: &[T], dy: &[T]) -> Vec<T> {
        with_work(self.work(), || match self {
            Algorithm::Direct(direct) => direct.grad_weight(x, dy),
            Algorithm::Pointwise(pointwise) => pointwise.grad_weight(x, dy),
            Algorithm::Winograd(winograd) => winograd.grad_weight(x, dy),
        })
    }

    /// ‖dw‖².
    pub(super) fn grad_weight_square<T: Float>(&self, x: &[T], dy: &[T]) -> f64 {
        match self {
            Algorithm::Direct(direct) => direct.grad_weight_square(x, dy),
            Algorithm::Pointwise(pointwise) => pointwise.as_direct().grad_weight_square(x, dy),
            Algorithm::Winograd(winograd) => winograd.grad_weight_square(x, dy),
        }
    }

    /// The multiplications of a pass without Winograd's algorithm.
    fn work(&self) -> usize {
        let (Algorithm::Direct(Direct { g, .. })
        | Algorithm::Pointwise(Pointwise { g, .. })
        | Algorithm::Winograd(Winograd { g, .. })) = self;
        g.pixels() * g.window() * g.c_out
    }

    /// The multiplications of [`grad_weight_square`](Self::grad_weight_square), transforms included.
    pub(super) fn multiplications(&self) -> usize {
        match self {
            Algorithm::Direct(_) | Algorithm::Pointwise(_) => self.work(),
            Algorithm::Winograd(Winograd { g, .. }) => {
                let tiles = g.batch * g.out_height.div_ceil(4) * g.out_width.div_ceil(4);
                36 * (tiles + 8) * g.c_in * g.c_out
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::vector::instruction_sets;

    /// Batch, height and width, channels in and out, padding.
    type Shape = (usize, (usize, usize), usize, usize, (usize, usize));

    /// Sizes that are no multiple of a tile, of a vector or of a block; batch 1; images that are not square; padding
    /// that none needs, and more than the kernel; filters that outnumber the tiles, and the reverse.
    const SHAPES: [Shape; 9] = [
        (1, (1, 1), 8, 8, (1, 1)),
        (1, (5, 3), 9, 17, (1, 1)),
        (3, (9, 7), 33, 12, (0, 1)),
        (2, (4, 4), 64, 70, (1, 1)),
        (5, (13, 6), 16, 8, (2, 0)),
        (1, (6, 6), 40, 24, (3, 4)),
        (7, (8, 8), 24, 40, (1, 1)),
        (2, (3, 3), 150, 130, (1, 1)),
        (40, (8, 8), 136, 129, (1, 1)),
    ];

    fn numbers(len: usize, seed: u64) -> Vec<f64> {
        let mut state = seed;
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f64 / (1u64 << 23) as f64 - 1.0
        };
        // Multiples of 2⁻²³ in [−1, 1): the same in f32 and in f64.
        (0..len).map(|_| next()).collect()
    }

    fn geometry((batch, (height, width), c_in, c_out, padding): Shape) -> Geometry {
        let (out_height, out_width) = (height + 2 * padding.0 - 2, width + 2 * padding.1 - 2);
        Geometry { batch, height, width, c_in, out_height, out_width, c_out, kernel: (3, 3), stride: (1, 1), padding }
    }

    /// y, dx and dw.
    fn passes<T: Float>(algorithm: Algorithm, x: &[T], weight: &[T], dy: &[T]) -> [Vec<T>; 3] {
        [algorithm.forward(x, weight, None), algorithm.grad_input(weight, dy), algorithm.grad_weight(x, dy)]
    }

    fn narrow(values: &[f64]) -> Vec<f32> {
        values.iter().map(|value| *value as f32).collect()
    }

    /// Root mean square of the difference, relative to that of the truth.
    fn error(found: &[f32], truth: &[f64]) -> f64 {
        let squares: f64 = found.iter().zip(truth).map(|(a, b)| (*a as f64 - b).powi(2)).sum();
        (squares / truth.iter().map(|b| b * b).sum::<f64>()).sqrt()
    }

    /// In f32 against the direct one in f64, with every instruction set. The relative error grows with the products of
    /// a sum; measured up to 1.1e-6 at 128 channels, and half of that for the direct one. 3e-6 leaves room, and is far
    /// from a wrong tap, which is 1e-1.
    #[test]
    fn every_kernel_agrees_with_the_direct_one_in_f64() {
        for shape in SHAPES {
            let g = geometry(shape);
            let x = numbers(g.batch * g.height * g.width * g.c_in, 1);
            let weight = numbers(g.c_out * g.window(), 2);
            let dy = numbers(g.pixels() * g.c_out, 3);
            let exact = Algorithm::Direct(Direct { g, arch: Arch::Scalar });
            let truth = passes(exact, &x, &weight, &dy);
            let (x32, weight32, dy32) = (narrow(&x), narrow(&weight), narrow(&dy));
            let mut fused: Vec<[Vec<f32>; 3]> = Vec::new();
            for arch in instruction_sets() {
                let winograd = Winograd::of(&g, arch).expect("a 3 × 3 convolution with stride 1");
                for algorithm in [Algorithm::Direct(Direct { g, arch }), Algorithm::Winograd(winograd)] {
                    let found = passes(algorithm, &x32, &weight32, &dy32);
                    for (name, (found, truth)) in ["y", "dx", "dw"].iter().zip(found.iter().zip(&truth)) {
                        let error = error(found, truth);
                        assert!(error < 3e-6, "{name} of {g:?} with {arch:?}: {error:e}");
                    }
                    if !matches!(arch, Arch::Scalar) {
                        fused.push(found);
                    }
                }
            }
            // Direct and Winograd of the first instruction set, then of the second: the same bits.
            for (i, found) in fused.iter().enumerate().skip(2) {
                let same = found
                    .iter()
                    .zip(&fused[i % 2])
                    .all(|(a, b)| a.iter().map(|a| a.to_bits()).eq(b.iter().map(|b| b.to_bits())));
                assert!(same, "{g:?}: AVX2 and AVX-512 differ");
            }
        }
    }

    #[test]
    fn the_scope_ends_with_its_closure() {
        let g = geometry((2, (8, 8), 16, 16, (1, 1)));
        assert!(matches!(Algorithm::of(&g), Algorithm::Winograd(_)));
        direct_convolutions(|| assert!(matches!(Algorithm::of(&g), Algorithm::Direct(_))));
        assert!(std::panic::catch_unwind(|| direct_convolutions(|| panic!("inside"))).is_err());
        assert!(matches!(Algorithm::of(&g), Algorithm::Winograd(_)));
    }
}

//! The product that convolutions and attention are made of, a tile of the result at a time in registers.
//!
//! A *panel* is a matrix as wide as a vector, row by row. The tile is `M` rows by `N` vectors; 8 × 2 saturates the
//! multipliers of a processor with 32 vector registers, 6 × 2 those of one with 16.

// Kernels index the rows and columns of a register tile, as their formulas do.
#![allow(clippy::needless_range_loop)]

use super::vector::{Lanes, Vector, lanes, load};
use pulp::{Arch, Simd, WithSimd};

/// A tile of a result.
pub(crate) type Tile<T, S, const M: usize, const N: usize> = [[Vector<T, S>; N]; M];

/// tile\[i]\[j] += Σₖ rows\[i]\[k · step] · panels\[j]\[k]
///
/// Rows of a matrix have step 1; columns of one, for a sum of outer products, the distance of its rows.
///
/// # Safety
/// `depth` elements of every row, `step` apart, and `depth` vectors of every panel must be readable.
#[inline(always)]
pub(crate) unsafe fn rows_times_panels<T: Lanes, S: Simd, const M: usize, const N: usize>(
    simd: S,
    tile: &mut Tile<T, S, M, N>,
    rows: [*const T; M],
    step: usize,
    panels: [*const T; N],
    depth: usize,
) {
    for k in 0..depth {
        let mut b = [T::constant(simd, 0.0); N];
        for j in 0..N {
            // SAFETY: k < depth.
            b[j] = unsafe { load::<T, S>(panels[j].add(k * lanes::<T, S>())) };
        }
        for i in 0..M {
            // SAFETY: k < depth.
            let a = T::splat(simd, unsafe { rows[i].add(k * step).read() });
            for j in 0..N {
                tile[i][j] = T::mul_add(simd, a, b[j], tile[i][j]);
            }
        }
    }
}

/// A product whose right side is panels, two of which are multiplied at a time.
pub(crate) trait Paneled {
    /// Columns of panels `panel..panel + N`, in tiles of `M` rows.
    fn panels<S: Simd, const M: usize, const N: usize>(&self, simd: S, panel: usize);

    /// All of `count` panels, in the largest tiles that the registers hold.
    #[inline(always)]
    fn in_pairs<S: Simd>(&self, simd: S, count: usize) {
        for panel in (0..count).step_by(2) {
            match (S::REGISTER_COUNT >= 32, panel + 2 <= count) {
                (true, true) => self.panels::<S, 8, 2>(simd, panel),
                (true, false) => self.panels::<S, 8, 1>(simd, panel),
                (false, true) => self.panels::<S, 6, 2>(simd, panel),
                (false, false) => self.panels::<S, 6, 1>(simd, panel),
            }
        }
    }
}

/// Rows of the tiles of [`Paneled::in_pairs`] on this processor.
pub(crate) fn tile_rows(arch: Arch) -> usize {
    struct Rows;
    impl WithSimd for Rows {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            if S::REGISTER_COUNT >= 32 { 8 } else { 6 }
        }
    }
    arch.dispatch(Rows)
}

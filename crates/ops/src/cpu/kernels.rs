//! The product that convolutions and attention are made of, a tile of the result at a time in registers.
//!
//! A *panel* is a matrix as wide as a vector, row by row. The tile is `M` rows by `N` vectors: 8 × 3 on a processor
//! with 32 vector registers, 6 × 2 on one with 16.

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

/// A product whose right side is panels, some of which are multiplied at a time.
pub(crate) trait Paneled {
    /// Columns of panels `panel..panel + N`, in tiles of `M` rows.
    fn panels<S: Simd, const M: usize, const N: usize>(&self, simd: S, panel: usize);

    /// All of `count` panels, in the largest tiles that the registers hold.
    #[inline(always)]
    fn in_tiles<S: Simd>(&self, simd: S, count: usize) {
        let mut panel = 0;
        while panel < count {
            let taken = match count - panel {
                1 => 1,
                2 | 4 => 2, // 2 + 2, not 3 + 1
                _ => tile_of::<S>().1,
            };
            match (S::REGISTER_COUNT >= 32, taken) {
                (true, 3) => self.panels::<S, 8, 3>(simd, panel),
                (true, 2) => self.panels::<S, 8, 2>(simd, panel),
                (true, _) => self.panels::<S, 8, 1>(simd, panel),
                (false, 2) => self.panels::<S, 6, 2>(simd, panel),
                (false, _) => self.panels::<S, 6, 1>(simd, panel),
            }
            panel += taken;
        }
    }
}

/// Rows and vectors of the largest tile.
#[inline(always)]
pub(crate) const fn tile_of<S: Simd>() -> (usize, usize) {
    if S::REGISTER_COUNT >= 32 { (8, 3) } else { (6, 2) }
}

/// The same of this processor, outside of kernels.
pub(crate) fn tile(arch: Arch) -> (usize, usize) {
    struct Size;
    impl WithSimd for Size {
        type Output = (usize, usize);
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> (usize, usize) {
            tile_of::<S>()
        }
    }
    arch.dispatch(Size)
}

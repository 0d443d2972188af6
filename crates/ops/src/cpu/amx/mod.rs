//! Products of f32 in the tiles of a processor with AMX (Intel's servers since Sapphire Rapids): twice as fast as with
//! AVX-512, and no less exact.
//!
//! The tiles multiply bfloat16, of 8 significant bits, and sum in f32. A number of 24 significant bits is a sum of
//! three of 8 without rest: x = h + m + l, where |m| ≤ 2⁻⁸|x| and |l| ≤ 2⁻¹⁷|x|. Of the nine products of the parts of x
//! and y the six largest are summed: hh′, hm′, mh′, mm′, hl′ and lh′. The others are 2⁻²⁴|xy| together at most, the
//! unit roundoff of f32. (Henry, Tang, Heinecke: *Leveraging the bfloat16 Artificial Intelligence Datatype For
//! Higher-Precision Computations*, ARITH 2019.)
//!
//! The tiles take what is below 2⁻¹²⁶ as 0, parts, products and sums alike. So a number below 2⁻¹⁰³ loses its low part
//! bit by bit, and one below 2⁻¹¹⁸ has the 8 bits of its high part alone. At the other end ∞, NaN and finite numbers
//! from 2¹²⁸(1 − 2⁻⁹) on give NaN, and a sum within 2⁻⁷ of the largest number may be ∞.
//!
//! A sum is taken in blocks of 32 summands, in their order, so its bits depend neither on how a product is cut, at
//! multiples of 32, nor on the number of threads; but they are not those of the vector units.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod kernel;
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
#[path = "without.rs"]
mod kernel;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod split;

use super::float::Float;
use super::parallel::Region;
use super::product::{Matrix, Start};
use super::scratch::{Kept, lend};
use candle_core::DType;
use std::marker::PhantomData;
use std::sync::OnceLock;

/// Rows, columns and summands of a product that is computed at a time.
pub(crate) const STEP: usize = 32;

/// The name of an environment variable: where it is set, to whatever, no product is computed in tiles.
const OFF: &str = "MSHARP_NO_AMX";

/// Whether products of f32 are computed in AMX tiles: the processor has them, the system lets this process use them,
/// and the environment has no `MSHARP_NO_AMX`. See the crate's notes on reproducibility.
pub fn has_amx() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| std::env::var_os(OFF).is_none() && kernel::is_permitted())
}

/// Shows that numbers `T` are f32 and that this processor has tiles.
pub(crate) struct Amx<T>(PhantomData<T>);

/// Half of the rows (or columns) of a [`Block`], one of the three parts: `[row][pair of summands]` for a left side,
/// `[pair of summands][column]` for a right one.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub(crate) struct Tile([[u32; 16]; 16]);

/// 32 rows of a left side, or 32 columns of a right one, with 32 summands: their high, middle and low parts.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub(crate) struct Block([[Tile; 2]; 3]);

/// How many blocks a packed side has: those of the first 32 rows (or columns), of the next 32, and so on.
pub(crate) fn block_count(outer: usize, inner: usize) -> usize {
    outer.div_ceil(STEP) * inner.div_ceil(STEP)
}

/// The side of a product that is packed.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Side {
    /// `[rows, inner]`
    Left,
    /// `[columns, inner]`: the transpose of what is multiplied.
    Right,
}

/// c = start + a · b, `[rows, columns]` with `inner` summands.
pub(crate) struct TileProduct<'a, T> {
    pub(crate) rows: usize,
    /// At least one; of a part of a sum, a multiple of [`STEP`] unless it is the last.
    pub(crate) inner: usize,
    pub(crate) columns: usize,
    /// Packed: its blocks.
    pub(crate) a: &'a [Block],
    /// Packed: its blocks.
    pub(crate) b: &'a [Block],
    pub(crate) start: Start<'a, T>,
    /// Neighbours in a row lie side by side.
    pub(crate) c: Matrix<T>,
}

impl<T: Float> Amx<T> {
    /// `None` where products of numbers `T` are for the vector units.
    pub(crate) fn new() -> Option<Self> {
        (T::DTYPE == DType::F32 && has_amx()).then_some(Self(PhantomData))
    }

    /// Packs a side `[outer, inner]`, with zeros where a block goes beyond it.
    ///
    /// # Safety
    /// The matrix must have so many rows and columns, and `to` room for its blocks ([`block_count`]), which are this
    /// task's own.
    pub(crate) unsafe fn pack(&self, side: Side, from: Matrix<T>, outer: usize, inner: usize, to: Region<Block>) {
        // SAFETY: guaranteed by the caller; the processor has what the kernel needs, and `T` is f32.
        unsafe { kernel::pack(side, from.cast(), outer, inner, to) };
    }

    /// Computes a product.
    ///
    /// # Safety
    /// c must have its rows and columns, initialised for [`Start::Sum`], and be this task's own.
    pub(crate) unsafe fn multiply(&self, product: TileProduct<T>) {
        let TileProduct { rows, inner, columns, a, b, start, c } = product;
        assert!(inner > 0 && a.len() >= block_count(rows, inner) && b.len() >= block_count(columns, inner));
        assert!(c.column == 1 && if let Start::Row(row) = start { row.len() >= columns } else { true });
        let (start, c) = (start.cast(), c.cast());
        // SAFETY: guaranteed by the caller; the processor has tiles, `T` is f32, and a row has its columns.
        unsafe { kernel::multiply(TileProduct { rows, inner, columns, a, b, start, c }) };
    }
}

/// [Lends](lend) `f` blocks of this thread.
pub(crate) fn scratch<R>(len: usize, f: impl FnOnce(&mut [Block]) -> R) -> R {
    thread_local! {
        static KEPT: Kept<Block> = const { Kept::new(Vec::new()) };
    }
    lend(&KEPT, Block([[Tile([[0; 16]; 16]); 2]; 3]), len, f)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of up to 24 significant bits, below 16.
    fn numbers(len: usize, seed: u64) -> Vec<f32> {
        let mut state = seed;
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        };
        (0..len).map(|_| (next() as f32 / (1u64 << 30) as f32 - 1.) * 2f32.powi((next() % 9) as i32 - 4)).collect()
    }

    /// A matrix that lies as rows or, transposed, as columns.
    fn laid(values: &mut [f32], rows: usize, columns: usize, transposed: bool) -> Matrix<f32> {
        match transposed {
            true => Matrix::rows(Region::of(values), rows).transposed(),
            false => Matrix::rows(Region::of(values), columns),
        }
    }

    /// Its element (i, j).
    fn at(values: &[f32], (rows, columns): (usize, usize), transposed: bool, i: usize, j: usize) -> f64 {
        f64::from(values[if transposed { j * rows + i } else { i * columns + j }])
    }

    fn packed(amx: &Amx<f32>, side: Side, from: Matrix<f32>, outer: usize, inner: usize) -> Vec<Block> {
        let mut to = vec![Block([[Tile([[u32::MAX; 16]; 16]); 2]; 3]); block_count(outer, inner)];
        // SAFETY: as many rows and columns as the callers' matrices have, and room for their blocks.
        unsafe { amx.pack(side, from, outer, inner, Region::of(&mut to)) };
        to
    }

    /// Tiles, if this processor has any: others compute with `cpu::product`, and have nothing to test here.
    fn tiles() -> Option<Amx<f32>> {
        let amx = Amx::new();
        if amx.is_none() {
            eprintln!("not tested: this processor has no AMX, or MSHARP_NO_AMX is set");
        }
        amx
    }

    #[test]
    fn products_of_any_shape_and_layout_have_the_error_of_f32() {
        let Some(amx) = tiles() else { return };
        for (m, k, n) in [(1, 1, 1), (16, 32, 16), (32, 32, 32), (33, 31, 5), (70, 65, 97), (3, 200, 64), (64, 1, 33)] {
            for (across, down) in [(false, false), (true, false), (false, true), (true, true)] {
                let (mut a, mut b) = (numbers(m * k, 1), numbers(k * n, 2));
                let left = packed(&amx, Side::Left, laid(&mut a, m, k, across), m, k);
                let right = packed(&amx, Side::Right, laid(&mut b, k, n, down).transposed(), n, k);
                let bias = numbers(n, 3);
                for start in [Start::Zero, Start::Row(&bias), Start::Sum] {
                    let row = n + 3;
                    let mut c = vec![5.; m * row];
                    let to = Matrix::rows(Region::of(&mut c), row);
                    let product = TileProduct { rows: m, inner: k, columns: n, a: &left, b: &right, start, c: to };
                    // SAFETY: c has m rows, and nobody else writes it.
                    unsafe { amx.multiply(product) };
                    for i in 0..m {
                        for j in 0..n {
                            let first = match start {
                                Start::Zero => 0.,
                                Start::Row(row) => f64::from(row[j]),
                                Start::Sum => 5.,
                            };
                            let term = |l| at(&a, (m, k), across, i, l) * at(&b, (k, n), down, l, j);
                            let sum: f64 = first + (0..k).map(term).sum::<f64>();
                            let sizes: f64 = first.abs() + (0..k).map(|l| term(l).abs()).sum::<f64>();
                            // Of one term: half a unit for what is left out, and one for each of the six roundings.
                            let error = (f64::from(c[i * row + j]) - sum).abs() / sizes;
                            assert!(error < 4e-7, "({i}, {j}) of {m} × {k} × {n}: {error:e}");
                        }
                        assert_eq!(c[i * row + n..(i + 1) * row], [5.; 3], "beyond {m} × {k} × {n}");
                    }
                }
            }
        }
    }

    /// The parts of a number add up to it, and what is not finite stays so.
    #[test]
    fn a_product_with_one_is_the_number_itself() {
        let Some(amx) = tiles() else { return };
        let mut x = numbers(32 * 32, 4);
        let smallest = 2f32.powi(-103) * (1. + f32::EPSILON);
        x[..8].copy_from_slice(&[f32::MAX / 2., smallest, 0., -0., f32::EPSILON, 1., -1., 1e-30]);
        let mut one = vec![0f32; 32 * 32];
        (0..32).for_each(|i| one[33 * i] = 1.);
        let right = packed(&amx, Side::Right, laid(&mut one, 32, 32, false), 32, 32);
        let times_one = |x: &mut [f32]| {
            let left = packed(&amx, Side::Left, laid(x, 32, 32, false), 32, 32);
            let mut c = vec![0f32; 32 * 32];
            let to = Matrix::rows(Region::of(&mut c), 32);
            let start = Start::Zero;
            let product = TileProduct { rows: 32, inner: 32, columns: 32, a: &left, b: &right, start, c: to };
            // SAFETY: c has 32 rows, and nobody else writes it.
            unsafe { amx.multiply(product) };
            c
        };
        assert_eq!(times_one(&mut x), x);
        let smaller = 2f32.powi(-119) * (1. + 2f32.powi(-8));
        let first = std::mem::replace(&mut x[0], smaller);
        assert!((times_one(&mut x)[0] / smaller - 1.).abs() < 2f32.powi(-7), "8 bits of it");
        x[0] = first;
        for strange in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::from_bits(0x7f80_0001), -f32::NAN, f32::MAX] {
            x[70] = strange;
            let y = times_one(&mut x);
            assert!(!y[70].is_finite() && y[..64] == x[..64], "{strange}: {}", y[70]);
        }
    }
}

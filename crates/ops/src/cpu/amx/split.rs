//! Numbers of 24 significant bits as three of 8, in the order in which tiles have them: pairs of summands.

// Tiles are indexed by row, as their formulas are.
#![allow(clippy::needless_range_loop)]

use super::{Block, STEP, Side, Tile};
use crate::cpu::parallel::Region;
use crate::cpu::product::Matrix;
use std::arch::x86_64::{
    __m512, __m512i, _mm512_add_epi32, _mm512_and_si512, _mm512_castps_si512, _mm512_castsi512_ps, _mm512_loadu_ps,
    _mm512_loadu_si512, _mm512_or_si512, _mm512_permutex2var_epi16, _mm512_set1_epi32, _mm512_setzero_si512,
    _mm512_shuffle_i32x4, _mm512_srli_epi32, _mm512_store_si512, _mm512_sub_ps, _mm512_unpackhi_epi32,
    _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};

/// A tile in registers, row by row.
type Rows = [__m512i; 16];

/// The upper half of a number, which is its bfloat16.
const UPPER: i32 = 0xffff_0000_u32.cast_signed();

/// High, middle and low part of each, in the upper half of its lane: x = h + m + l.
#[inline]
#[target_feature(enable = "avx512f")]
fn split(x: __m512) -> [__m512i; 3] {
    let nearest = |x| {
        let rounded = _mm512_add_epi32(_mm512_castps_si512(x), _mm512_set1_epi32(0x8000));
        _mm512_and_si512(rounded, _mm512_set1_epi32(UPPER))
    };
    let h = nearest(x);
    let rest = _mm512_sub_ps(x, _mm512_castsi512_ps(h)); // exact
    let m = nearest(rest);
    let l = _mm512_sub_ps(rest, _mm512_castsi512_ps(m)); // exact, and of 8 bits at most
    [h, m, _mm512_castps_si512(l)]
}

/// The parts of 16 rows of 32 numbers side by side, as `[row][pair of numbers]`.
///
/// # Safety
/// All of these must be readable.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn along(from: *const f32, row: usize) -> [Rows; 3] {
    const UPPER_HALVES: [i16; 32] = {
        let mut of = [1; 32];
        let mut i = 0;
        while i < 32 {
            of[i] += 2 * i as i16;
            i += 1;
        }
        of
    };
    // SAFETY: 32 numbers of 16 bits.
    let halves = unsafe { _mm512_loadu_si512(UPPER_HALVES.as_ptr().cast()) };
    let mut parts = [[_mm512_setzero_si512(); 16]; 3];
    for i in 0..16 {
        let at = from.wrapping_add(i * row);
        // SAFETY: guaranteed by the caller.
        let (left, right) = unsafe { (split(_mm512_loadu_ps(at)), split(_mm512_loadu_ps(at.add(16)))) };
        for part in 0..3 {
            parts[part][i] = _mm512_permutex2var_epi16(left[part], halves, right[part]);
        }
    }
    parts
}

/// The parts of 32 rows of 16 numbers side by side, as `[pair of rows][number]`.
///
/// # Safety
/// All of these must be readable.
#[target_feature(enable = "avx512f")]
unsafe fn across(from: *const f32, row: usize) -> [Rows; 3] {
    let mut parts = [[_mm512_setzero_si512(); 16]; 3];
    for i in 0..16 {
        let at = from.wrapping_add(2 * i * row);
        // SAFETY: guaranteed by the caller.
        let (even, odd) = unsafe { (split(_mm512_loadu_ps(at)), split(_mm512_loadu_ps(at.wrapping_add(row)))) };
        for part in 0..3 {
            let odd = _mm512_and_si512(odd[part], _mm512_set1_epi32(UPPER)); // l may be NaN, with bits below
            parts[part][i] = _mm512_or_si512(_mm512_srli_epi32::<16>(even[part]), odd);
        }
    }
    parts
}

/// Element (i, j) to (j, i).
#[inline]
#[target_feature(enable = "avx512f")]
fn transposed(rows: &Rows) -> Rows {
    let mut twos = [_mm512_setzero_si512(); 16];
    for i in 0..8 {
        twos[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
        twos[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
    }
    let mut fours = [_mm512_setzero_si512(); 16]; // 4 i + j: columns j, j + 4, …, of rows 4 i to 4 i + 3
    for i in 0..4 {
        for j in 0..2 {
            let (one, other) = (twos[4 * i + j], twos[4 * i + 2 + j]);
            fours[4 * i + 2 * j] = _mm512_unpacklo_epi64(one, other);
            fours[4 * i + 2 * j + 1] = _mm512_unpackhi_epi64(one, other);
        }
    }
    let mut columns = [_mm512_setzero_si512(); 16];
    for j in 0..4 {
        let [first, second] = [0, 8].map(|i| {
            let (one, other) = (fours[i + j], fours[i + 4 + j]);
            [_mm512_shuffle_i32x4::<0x88>(one, other), _mm512_shuffle_i32x4::<0xdd>(one, other)]
        });
        for half in 0..2 {
            columns[j + 4 * half] = _mm512_shuffle_i32x4::<0x88>(first[half], second[half]);
            columns[j + 8 + 4 * half] = _mm512_shuffle_i32x4::<0xdd>(first[half], second[half]);
        }
    }
    columns
}

/// Packs a side `[outer, inner]`.
///
/// # Safety
/// As [`super::Amx::pack`] says; the processor must have AVX-512 F and BW.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) unsafe fn pack(side: Side, from: Matrix<f32>, outer: usize, inner: usize, to: Region<Block>) {
    let steps = inner.div_ceil(STEP);
    for (panel, first) in (0..outer).step_by(STEP).enumerate() {
        for (step, k) in (0..inner).step_by(STEP).enumerate() {
            for half in 0..2 {
                let first = first + 16 * half;
                let (count, summands) = (outer.saturating_sub(first).min(16), (inner - k).min(STEP));
                let is_whole = (count, summands) == (16, STEP);
                let at = from.start.at(if count > 0 { first * from.row + k * from.column } else { 0 });
                // SAFETY: whole tiles are read where they lie; of others `count` rows with `summands` columns.
                let (parts, pairs_in_rows) = unsafe {
                    match (is_whole, from.row, from.column) {
                        (true, row, 1) => (along(at, row), true),
                        (true, 1, column) => (across(at, column), false),
                        _ => {
                            let mut copy = [[0f32; STEP]; 16];
                            for (i, copy) in copy.iter_mut().enumerate().take(count) {
                                for (j, copy) in copy.iter_mut().enumerate().take(summands) {
                                    *copy = at.add(i * from.row + j * from.column).read();
                                }
                            }
                            (along(copy.as_ptr().cast(), STEP), true)
                        }
                    }
                };
                let block: *mut Block = to.at(panel * steps + step);
                for (part, rows) in parts.iter().enumerate() {
                    let rows = if pairs_in_rows == (side == Side::Left) { *rows } else { transposed(rows) };
                    // SAFETY: a tile of a block for which there is room, and which no other task writes.
                    let tile: *mut Tile = unsafe { (&raw mut (*block).0[part][half]) };
                    for (i, row) in rows.into_iter().enumerate() {
                        // SAFETY: row i of the 16 of a tile, which begins at a cache line.
                        unsafe { _mm512_store_si512(tile.cast::<__m512i>().add(i), row) };
                    }
                }
            }
        }
    }
}

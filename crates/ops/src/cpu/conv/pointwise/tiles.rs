//! The same products in AMX tiles. A task has some rows of y or dx, which it packs a block of summands at a time and
//! multiplies with all columns; or a block of dw, of which it packs both sides.

use super::{Pointwise, blocks, even_blocks, shares};
use crate::cpu::amx::{self, Amx, Block, STEP, Side, TileProduct};
use crate::cpu::float::Float;
use crate::cpu::parallel::{Region, tasks};
use crate::cpu::product::{Matrix, Start};
use std::ops::Range;

/// Summands of a block, and rows of a task, at most: 900 KiB, in parts, of an L2 of 2 MiB.
const SUMMANDS: usize = 384;
const ROWS: usize = 416;
/// Pixels of a block of dw, which packs both of its sides.
const PIXELS: usize = 256;
/// Rows · columns / (rows + columns) from which packing both sides takes less time than tiles save.
const WORTH_PACKING: usize = 100;
/// Summands from which computing takes longer than moving the result.
const WORTH_MOVING: usize = 192;

impl Pointwise {
    /// Tiles for a product of `[rows, inner, columns]` that fills them well enough.
    pub(super) fn amx<T: Float>(&self, [rows, inner, columns]: [usize; 3]) -> Option<Amx<T>> {
        let pays = rows > 0 && rows * columns >= WORTH_PACKING * (rows + columns) && inner >= WORTH_MOVING;
        let volume = |sizes: [usize; 3]| sizes.iter().product::<usize>();
        let sizes = [rows, inner, columns];
        let is_full = 2 * volume(sizes.map(|size| size.next_multiple_of(STEP))) <= 3 * volume(sizes);
        (self.may_tile && pays && is_full).then(Amx::new).flatten()
    }

    /// start + `a` `[pixels, inner]` · `b` `[inner, columns]`. A task has some rows.
    pub(super) fn rows_times_in_tiles<T: Float>(
        &self,
        amx: &Amx<T>,
        a: &[T],
        b: Matrix<T>,
        inner: usize,
        columns: usize,
        start: Start<T>,
    ) -> Vec<T> {
        let rows = self.g.pixels();
        let packed: Vec<(Range<usize>, Vec<Block>)> = even_blocks(inner, SUMMANDS, STEP)
            .into_iter()
            .map(|k| (k.clone(), packed_right(amx, b.from(k.start, 0), k.len(), columns)))
            .collect();
        let mut y = Vec::with_capacity(rows * columns);
        let c = Matrix::rows(Region::of_capacity(&mut y), columns);
        let a = Matrix::rows(Region::to_read(a), inner);
        let rows_of = shares(rows, ROWS, STEP, rayon::current_num_threads());
        tasks(rows_of.len(), |i| {
            let rows = &rows_of[i];
            amx::scratch(amx::block_count(rows.len(), SUMMANDS), |left| {
                for (k, b) in &packed {
                    // SAFETY: a has these rows and summands, and the blocks of the scratch are enough for them.
                    unsafe { amx.pack(Side::Left, a.from(rows.start, k.start), rows.len(), k.len(), Region::of(left)) };
                    let start = if k.start > 0 { Start::Sum } else { start };
                    let c = c.from(rows.start, 0);
                    let product = TileProduct { rows: rows.len(), inner: k.len(), columns, a: left, b, start, c };
                    // SAFETY: y has room for these rows, which are this task's own; the first block writes all of them.
                    unsafe { amx.multiply(product) };
                }
            });
        });
        // SAFETY: the capacity is at least this, and the tasks have written every row.
        unsafe { y.set_len(rows * columns) };
        y
    }
}

/// A block of dw over some pixels: c = a · b of `[outputs, pixels, inputs]`, both packed.
pub(super) fn block_of_dw_in_tiles<T: Float>(
    amx: &Amx<T>,
    a: Matrix<T>,
    b: Matrix<T>,
    [rows, pixels, columns]: [usize; 3],
    c: Matrix<T>,
) {
    let lengths = [rows, columns].map(|outer| amx::block_count(outer, PIXELS));
    amx::scratch(lengths.iter().sum(), |scratch| {
        let (left, right) = scratch.split_at_mut(lengths[0]);
        for k in blocks(pixels, PIXELS) {
            let (a, b, inner) = (a.from(0, k.start), b.from(k.start, 0).transposed(), k.len());
            // SAFETY: the caller's sides have these pixels, and the scratch has blocks for them.
            unsafe {
                amx.pack(Side::Left, a, rows, inner, Region::of(left));
                amx.pack(Side::Right, b, columns, inner, Region::of(right));
            }
            let start = if k.start == 0 { Start::Zero } else { Start::Sum };
            // SAFETY: the caller's block of dw, which its first pixels write.
            unsafe { amx.multiply(TileProduct { rows, inner, columns, a: left, b: right, start, c }) };
        }
    });
}

/// A right side `[inner, columns]`, packed by all threads.
fn packed_right<T: Float>(amx: &Amx<T>, b: Matrix<T>, inner: usize, columns: usize) -> Vec<Block> {
    let len = amx::block_count(columns, inner);
    let mut to = Vec::with_capacity(len);
    let (to_write, panels) = (Region::of_capacity(&mut to), amx::block_count(STEP, inner));
    tasks(columns.div_ceil(STEP), |i| {
        let (first, count) = (i * STEP, (columns - i * STEP).min(STEP));
        // SAFETY: b has these columns, and the task's own blocks are those of its columns.
        unsafe { amx.pack(Side::Right, b.from(0, first).transposed(), count, inner, to_write.after(i * panels)) };
    });
    // SAFETY: the capacity is at least this, and the tasks have packed every column.
    unsafe { to.set_len(len) };
    to
}

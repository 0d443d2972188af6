//! Linear maps and 1 × 1 convolutions: products of matrices, in blocks that stay in cache.
//!
//! Between a block of summands and the next one a sum waits in memory, so its bits do not depend on the blocks, which
//! may be chosen for the number of threads; where pixels are summed in chunks, those depend on the shape alone. Where a
//! stride leaves pixels out, those that it keeps are copied first.
//!
//! Here are the products on the vector units; those in AMX tiles are in `tiles`.

mod tiles;

use super::direct::Direct;
use crate::cpu::amx::STEP;
use crate::cpu::float::Float;
use crate::cpu::kernels::tile;
use crate::cpu::parallel::{Region, build, filled, for_chunks, tasks};
use crate::cpu::product::{Left, Matrix, PackLeft, PackRight, Product, Start, right_len};
use crate::cpu::vector::width;
use crate::layers::Geometry;
use pulp::Arch;
use std::borrow::Cow;
use std::ops::Range;
use tiles::block_of_dw_in_tiles;

/// Bytes of the panels that are multiplied at a time: three quarters of the smallest L1 there is. They set how many
/// summands a block has.
const PANELS: usize = 24 << 10;
/// Rows and columns of y or dx that a task has at most: a part of L2 with their summands.
const ROWS: usize = 96;
const COLUMNS: usize = 768;
/// Outputs and inputs of a block of dw at most: the first that keep all threads busy.
const BLOCKS_OF_DW: [(usize, usize); 6] = [(384, 384), (288, 384), (192, 384), (96, 384), (96, 192), (48, 192)];
/// The block whose number sets how many chunks the pixels are summed in. Threads have no influence on that, and so none
/// on the bits of dw.
const CHUNKED_AS: (usize, usize) = (192, 512);
/// Pixels of a chunk of dw at least, about: fewer do not pay for one more sum to write and to add.
const CHUNK_OF_DW: usize = 1024;
/// Tasks that a product is split into, if it costs nothing, for the threads.
const TASKS: usize = 16;
/// Tasks of a thread from which it does not matter that some threads have one more.
const MANY: usize = 4;

/// A linear map of every pixel, or of one in a few.
#[derive(Clone, Copy)]
pub(super) struct Pointwise {
    pub(super) g: Geometry,
    arch: Arch,
    /// Whether large products may be computed in AMX tiles.
    may_tile: bool,
}

impl Pointwise {
    /// `None` for another kernel, or with padding.
    pub(super) fn of(g: &Geometry, arch: Arch) -> Option<Self> {
        (g.kernel == (1, 1) && g.padding == (0, 0)).then_some(Self { g: *g, arch, may_tile: false })
    }

    /// With AMX tiles, where the processor has them.
    pub(super) fn with_tiles(self) -> Self {
        Self { may_tile: true, ..self }
    }

    /// The same as a convolution like any other.
    pub(super) fn as_direct(&self) -> Direct {
        Direct { g: self.g, arch: self.arch }
    }

    /// y = x wᵀ + bias
    pub(super) fn forward<T: Float>(&self, x: &[T], weight: &[T], bias: Option<&[T]>) -> Vec<T> {
        let weight = Matrix::rows(Region::to_read(weight), self.g.c_in).transposed();
        self.rows_times(&self.seen(x), weight, self.g.c_in, self.g.c_out, bias.map_or(Start::Zero, Start::Row))
    }

    /// dx = dy w
    pub(super) fn grad_input<T: Float>(&self, weight: &[T], dy: &[T]) -> Vec<T> {
        let weight = Matrix::rows(Region::to_read(weight), self.g.c_in);
        self.spread(self.rows_times(dy, weight, self.g.c_out, self.g.c_in, Start::Zero))
    }

    /// The pixels of x that the stride keeps.
    fn seen<'a, T: Float>(&self, x: &'a [T]) -> Cow<'a, [T]> {
        let Geometry { height, width, c_in, out_height, out_width, stride, .. } = self.g;
        if stride == (1, 1) {
            return Cow::Borrowed(x);
        }
        // SAFETY: a chunk is a row of pixels, each of which is written.
        Cow::Owned(unsafe {
            build(self.g.pixels() * c_in, out_width * c_in, |i, out| {
                let row = i / out_height * height + i % out_height * stride.0;
                for (j, out) in out.chunks_exact_mut(c_in).enumerate() {
                    out.write_copy_of_slice(&x[(row * width + j * stride.1) * c_in..][..c_in]);
                }
            })
        })
    }

    /// The inverse, with zeros for the others.
    fn spread<T: Float>(&self, seen: Vec<T>) -> Vec<T> {
        let Geometry { batch, height, width, c_in, out_height, out_width, stride, .. } = self.g;
        if stride == (1, 1) {
            return seen;
        }
        // SAFETY: `filled` writes every element.
        unsafe {
            build(batch * height * width * c_in, width * c_in, |i, out| {
                let (image, row, out) = (i / height, i % height, filled(out, T::ZERO));
                if row % stride.0 == 0 {
                    let seen = &seen[(image * out_height + row / stride.0) * out_width * c_in..][..out_width * c_in];
                    for (j, seen) in seen.chunks_exact(c_in).enumerate() {
                        out[j * stride.1 * c_in..][..c_in].copy_from_slice(seen);
                    }
                }
            })
        }
    }

    /// start + `a` `[pixels, inner]` · `b` `[inner, columns]`. A task has some rows and columns.
    fn rows_times<T: Float>(&self, a: &[T], b: Matrix<T>, inner: usize, columns: usize, start: Start<T>) -> Vec<T> {
        let (rows, arch) = (self.g.pixels(), self.arch);
        if let Some(amx) = self.amx([rows, inner, columns]) {
            return self.rows_times_in_tiles(&amx, a, b, inner, columns, start);
        }
        let packed = self.packed(b, inner, columns);
        let mut y = Vec::with_capacity(rows * columns);
        let c = Matrix::rows(Region::of_capacity(&mut y), columns);
        let a = Matrix::rows(Region::to_read(a), inner);
        let most = rows.div_ceil(TASKS).next_multiple_of(24).min(ROWS);
        let rows_of = shares(rows, most, tile(arch).0, rayon::current_num_threads());
        let columns_of = even_blocks(columns, COLUMNS, tile(arch).1 * width::<T>(arch));
        tasks(rows_of.len() * columns_of.len(), |i| {
            let (rows, columns) = (&rows_of[i / columns_of.len()], &columns_of[i % columns_of.len()]);
            for (k, b) in &packed {
                let start = match start {
                    _ if k.start > 0 => Start::Sum,
                    Start::Row(row) => Start::Row(&row[columns.clone()]),
                    other => other,
                };
                let (a, b) = (Left::Matrix(a.from(rows.start, k.start)), &b[columns.start * k.len()..]);
                let (inner, c) = (k.len(), c.from(rows.start, columns.start));
                arch.dispatch(Product { rows: rows.len(), inner, columns: columns.len(), a, b, start, c });
            }
        });
        // SAFETY: the capacity is at least this, and the tasks have written every row.
        unsafe { y.set_len(rows * columns) };
        y
    }

    /// Summands of a block.
    fn summands<T: Float>(&self) -> usize {
        PANELS / (tile(self.arch).1 * width::<T>(self.arch) * size_of::<T>())
    }

    /// The blocks of summands, each with its rows of the right side in panels.
    fn packed<T: Float>(&self, b: Matrix<T>, inner: usize, columns: usize) -> Vec<(Range<usize>, Vec<T>)> {
        let width = width::<T>(self.arch);
        let pack = |k: Range<usize>| {
            let len = right_len(k.len(), columns, width);
            let mut panels = Vec::with_capacity(len);
            let to = Region::of_capacity(&mut panels);
            let columns_of = blocks(columns, columns.div_ceil(TASKS).next_multiple_of(width));
            tasks(columns_of.len(), |i| {
                let (first, columns) = (columns_of[i].start, columns_of[i].len());
                let (from, to) = (b.from(k.start, first), to.after(first * k.len()));
                self.arch.dispatch(PackRight { from, inner: k.len(), columns, to });
            });
            // SAFETY: the capacity is at least this, and the tasks have written every panel.
            unsafe { panels.set_len(len) };
            (k, panels)
        };
        blocks(inner, self.summands::<T>()).into_iter().map(pack).collect()
    }

    /// dw = dyᵀ x, `[c_out, c_in]`. A task has a block of dw and a chunk of the pixels; chunks are added in order.
    pub(super) fn grad_weight<T: Float>(&self, x: &[T], dy: &[T]) -> Vec<T> {
        self.grad_weight_for(rayon::current_num_threads(), x, dy)
    }

    /// The same in tasks for so many threads.
    fn grad_weight_for<T: Float>(&self, threads: usize, x: &[T], dy: &[T]) -> Vec<T> {
        let Geometry { c_in, c_out, .. } = self.g;
        let x = &*self.seen(x);
        let amx = self.amx([c_out, self.g.pixels(), c_in]);
        let [outputs, inputs, pixels] = self.parts_of_dw(threads, if amx.is_some() { STEP } else { 24 });
        let blocks_of_dw = outputs.len() * inputs.len();
        let (x, dy) = (Matrix::rows(Region::to_read(x), c_in), Matrix::rows(Region::to_read(dy), c_out).transposed());
        // The first chunk is summed in the result.
        let mut sums: Vec<Vec<T>> = pixels.iter().map(|_| Vec::with_capacity(c_out * c_in)).collect();
        let parts: Vec<Region<T>> = sums.iter_mut().map(Region::of_capacity).collect();
        tasks(blocks_of_dw * pixels.len(), |i| {
            let (chunk, block) = (i / blocks_of_dw, i % blocks_of_dw);
            let (o, i, k) = (&outputs[block / inputs.len()], &inputs[block % inputs.len()], &pixels[chunk]);
            let (a, b, sizes) = (dy.from(o.start, k.start), x.from(k.start, i.start), [o.len(), k.len(), i.len()]);
            let dw = Matrix::rows(parts[chunk], c_in).from(o.start, i.start);
            match &amx {
                Some(amx) => block_of_dw_in_tiles(amx, a, b, sizes, dw),
                None => self.block_of_dw(a, b, sizes, dw),
            }
        });
        // SAFETY: the capacities are at least this, and the blocks cover all of it in every chunk.
        sums.iter_mut().for_each(|sum| unsafe { sum.set_len(c_out * c_in) });
        let Some((dw, others)) = sums.split_first_mut() else { return vec![T::ZERO; c_out * c_in] };
        for_chunks(dw, SUMS, |i, dw| {
            for other in &*others {
                dw.iter_mut().zip(&other[i * SUMS..]).for_each(|(sum, part)| *sum += *part);
            }
        });
        std::mem::take(dw)
    }

    /// The outputs, in multiples of `unit`, and inputs of the blocks of dw, and the chunks of the pixels.
    fn parts_of_dw(&self, threads: usize, unit: usize) -> [Vec<Range<usize>>; 3] {
        let pixels = self.g.pixels();
        let cut = |(o, i)| (even_blocks(self.g.c_out, o, unit), even_blocks(self.g.c_in, i, 32));
        let number = |(outputs, inputs): &(Vec<_>, Vec<_>)| outputs.len() * inputs.len();
        let chunks = TASKS.div_ceil(number(&cut(CHUNKED_AS))).min(pixels / CHUNK_OF_DW).max(1);
        let busy = |blocks: &(Vec<_>, Vec<_>)| {
            let tasks = number(blocks) * chunks;
            tasks.is_multiple_of(threads) || tasks >= MANY * threads
        };
        let [first @ .., last] = BLOCKS_OF_DW;
        let (outputs, inputs) = first.into_iter().map(cut).find(busy).unwrap_or_else(|| cut(last));
        [outputs, inputs, even_blocks(pixels, pixels.div_ceil(chunks), 64)]
    }

    /// A block of dw over some pixels: c = a · b of `[outputs, pixels, inputs]`, both packed.
    fn block_of_dw<T: Float>(&self, a: Matrix<T>, b: Matrix<T>, [rows, pixels, columns]: [usize; 3], c: Matrix<T>) {
        let (arch, summands) = (self.arch, self.summands::<T>());
        let left = (rows.next_multiple_of(tile(arch).0) * summands).next_multiple_of(64);
        T::scratch(left + right_len(summands, columns, width::<T>(arch)), |scratch| {
            let (tiles, panels) = scratch.split_at_mut(left);
            for k in blocks(pixels, summands) {
                let inner = k.len();
                arch.dispatch(PackLeft { from: a.from(0, k.start), rows, inner, to: tiles });
                arch.dispatch(PackRight { from: b.from(k.start, 0), inner, columns, to: Region::of(panels) });
                let start = if k.start == 0 { Start::Zero } else { Start::Sum };
                let a = Left::Packed(Region::of(tiles));
                arch.dispatch(Product { rows, inner, columns, a, b: panels, start, c });
            }
        });
    }
}

/// Elements of dw that a task adds up.
const SUMS: usize = 16 * 1024;

/// `0..count` in blocks of `size`, a single empty one if there is nothing.
fn blocks(count: usize, size: usize) -> Vec<Range<usize>> {
    (0..count.max(1)).step_by(size.max(1)).map(|start| start..(start + size).min(count)).collect()
}

/// `0..count` in blocks of at most `most`, multiples of `unit` but for the last, as many for each of so many threads.
fn shares(count: usize, most: usize, unit: usize, threads: usize) -> Vec<Range<usize>> {
    let units = count.div_ceil(unit);
    let number = count.div_ceil(most.max(1)).next_multiple_of(threads).min(units).max(1);
    let start = |i: usize| (i * units / number * unit).min(count);
    (0..number).map(|i| start(i)..start(i + 1)).collect()
}

/// `0..count` in as few blocks of at most `most`, about, as there can be, of equal size: a multiple of `unit`.
fn even_blocks(count: usize, most: usize, unit: usize) -> Vec<Range<usize>> {
    blocks(count, count.div_ceil(count.div_ceil(most.max(1)).max(1)).next_multiple_of(unit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::vector::instruction_sets;

    /// Batch, height and width, inputs, outputs, stride.
    type Shape = (usize, (usize, usize), usize, usize, (usize, usize));

    /// Less than a vector and a tile; several blocks of summands, of rows, of dw and of pixels, none of them full;
    /// strides that leave a rest.
    const SHAPES: [Shape; 10] = [
        (1, (1, 1), 1, 1, (1, 1)),
        (3, (1, 1), 5, 9, (1, 1)),
        (2, (7, 5), 33, 20, (1, 1)),
        (1, (20, 31), 200, 17, (1, 1)),
        (700, (1, 1), 13, 430, (1, 1)),
        (30, (1, 1), 140, 1000, (1, 1)),
        (3000, (1, 1), 7, 30, (1, 1)),
        (2, (5, 8), 530, 3, (2, 3)),
        (3, (4, 4), 24, 32, (2, 2)),
        (9, (10, 11), 430, 270, (1, 2)), // in tiles too
    ];

    fn geometry((batch, (height, width), c_in, c_out, stride): Shape) -> Geometry {
        let (out_height, out_width) = (height.div_ceil(stride.0), width.div_ceil(stride.1));
        Geometry { batch, height, width, c_in, out_height, out_width, c_out, kernel: (1, 1), stride, padding: (0, 0) }
    }

    /// Integers, whose sums are exact in any order.
    #[test]
    fn blocks_and_strides_are_those_of_the_direct_convolution() {
        let numbers = |len: usize, by: usize| (0..len).map(|i| (i * by % 23) as f32 - 11.).collect::<Vec<_>>();
        for shape in SHAPES {
            let g = geometry(shape);
            let (x, weight) = (numbers(g.batch * g.height * g.width * g.c_in, 7), numbers(g.c_out * g.c_in, 5));
            let (dy, bias) = (numbers(g.pixels() * g.c_out, 11), numbers(g.c_out, 3));
            let on = |arch| Pointwise::of(&g, arch).expect("a 1 × 1 kernel");
            let slow = Direct { g, arch: Arch::Scalar };
            for fast in instruction_sets().into_iter().map(on).chain([on(Arch::new()).with_tiles()]) {
                let arch = (fast.arch, fast.may_tile);
                assert_eq!(fast.forward(&x, &weight, Some(&bias)), slow.forward(&x, &weight, Some(&bias)), "{g:?}");
                assert_eq!(fast.grad_input(&weight, &dy), slow.grad_input(&weight, &dy), "{g:?} with {arch:?}");
                assert_eq!(fast.grad_weight(&x, &dy), slow.grad_weight(&x, &dy), "{g:?} with {arch:?}");
            }
        }
    }

    #[test]
    fn the_number_of_threads_has_no_influence_on_bits() {
        for (pixels, c_in, c_out) in [(700, 400, 430), (2500, 40, 800)] {
            let g = geometry((pixels, (1, 1), c_in, c_out, (1, 1)));
            let numbers = |len: usize, by: usize| (0..len).map(|i| (i * by % 23) as f32 / 7.).collect::<Vec<_>>();
            let (x, dy) = (numbers(pixels * c_in, 7), numbers(pixels * c_out, 11));
            let of = Pointwise::of(&g, Arch::new()).expect("a 1 × 1 kernel");
            for of in [of, of.with_tiles()] {
                let weight = &numbers(c_out * c_in, 5);
                let on = |threads: usize| -> [Vec<f32>; 2] {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
                    pool.install(|| [of.forward(&x, weight, None), of.grad_input(weight, &dy)])
                };
                assert!(on(1) == on(2) && on(1) == on(3), "{g:?}");
                let dw = [1, 2, 3, 16].map(|threads| of.grad_weight_for(threads, &x, &dy));
                assert!(dw.iter().all(|other| *other == dw[0]), "{g:?}");
                assert_ne!(of.parts_of_dw(1, 32), of.parts_of_dw(16, 32), "{g:?}: as many tasks for 16 threads");
            }
        }
    }

    #[test]
    fn nothing_has_an_empty_result_or_the_bias() {
        let none = |batch, c_in| geometry((batch, (1, 1), c_in, 3, (1, 1)));
        let of = |g: Geometry| Pointwise::of(&g, Arch::new()).expect("a 1 × 1 kernel");
        assert!(of(none(0, 2)).forward(&[], &[0f64; 6], None).is_empty());
        assert_eq!(of(none(0, 2)).grad_weight::<f64>(&[], &[]), [0.; 6]);
        assert_eq!(of(none(1, 0)).forward(&[], &[], Some(&[1f64, 2., 3.])), [1., 2., 3.]);
    }

    #[test]
    fn blocks_are_even_and_cover_all() {
        assert_eq!(even_blocks(600, 512, 32), [0..320, 320..600]);
        assert_eq!(shares(100, 40, 8, 2), [0..24, 24..48, 48..72, 72..100]);
        assert_eq!([shares(5, 96, 8, 4), shares(0, 0, 8, 4)].map(|one| (one.len(), one[0].end)), [(1, 5), (1, 0)]);
        let ends = |blocks: Vec<Range<usize>>| blocks.iter().map(|block| block.end).collect::<Vec<_>>();
        assert_eq!((ends(even_blocks(10, 192, 24)), ends(blocks(0, 5))), (vec![10], vec![0]));
    }
}

//! Parallel loops over fixed chunks: the split depends on the shape only, never on the number of threads.

use crate::cpu::vector::vectorised;
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Elements of one task in a loop that is bound by memory: 64 KiB of f32, a small part of L2.
pub(crate) const CHUNK: usize = 16 * 1024;

/// How many rows of `width` elements make about [`CHUNK`] elements, at least one.
pub(crate) fn rows_per_chunk(width: usize) -> usize {
    (CHUNK / width.max(1)).max(1)
}

/// Memory that tasks read and write at disjoint places: a slice whose borrows the compiler does not check.
pub(crate) struct Region<T> {
    start: *mut T,
    len: usize,
}

impl<T> Clone for Region<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Region<T> {}

// SAFETY: a region is only an address; every read or write there is unsafe and states that no other task writes there.
unsafe impl<T: Send + Sync> Send for Region<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Region<T> {}

impl<T> Region<T> {
    /// An initialised slice.
    pub(crate) fn of(slice: &mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len() }
    }

    /// A slice that is only read.
    pub(crate) fn to_read(slice: &[T]) -> Self {
        Self { start: slice.as_ptr().cast_mut(), len: slice.len() }
    }

    /// All that a vector has room for, initialised or not.
    pub(crate) fn of_capacity(vector: &mut Vec<T>) -> Self {
        Self { start: vector.as_mut_ptr(), len: vector.capacity() }
    }

    /// What comes after the first `count` elements.
    #[inline(always)]
    pub(crate) fn after(self, count: usize) -> Self {
        Self { start: self.at(count), len: self.len - count }
    }

    /// The place of element `index`.
    #[inline(always)]
    pub(crate) fn at(self, index: usize) -> *mut T {
        debug_assert!(index <= self.len, "element {index} of {}", self.len);
        self.start.wrapping_add(index)
    }
}

/// A vector of `len` elements, made in parallel: `fill(i, chunk)` writes chunk `i` of `chunk` elements. A `fill` that
/// is `#[inline(always)]` is compiled for the best vectors of the processor.
///
/// # Safety
/// `fill` must write every element of the chunk that it gets.
pub(crate) unsafe fn build<T: Send>(
    len: usize,
    chunk: usize,
    fill: impl Fn(usize, &mut [MaybeUninit<T>]) + Sync,
) -> Vec<T> {
    let mut out = Vec::with_capacity(len);
    let chunks = out.spare_capacity_mut()[..len].par_chunks_mut(chunk.max(1)).enumerate();
    chunks.for_each(|(i, chunk)| {
        vectorised(
            #[inline(always)]
            || fill(i, chunk),
        )
    });
    // SAFETY: the capacity is at least `len`, and `fill` has written every chunk (guaranteed by the caller).
    unsafe { out.set_len(len) };
    out
}

/// Writes `value` everywhere and returns the slice as initialised.
pub(crate) fn filled<T: Copy>(out: &mut [MaybeUninit<T>], value: T) -> &mut [T] {
    out.fill(MaybeUninit::new(value));
    // SAFETY: every element has just been written.
    unsafe { out.assume_init_mut() }
}

/// `f(x_i)` for every element.
pub(crate) fn map<T: Copy + Sync + Send>(x: &[T], f: impl Fn(T) -> T + Sync) -> Vec<T> {
    // SAFETY: a chunk of the output is as long as its chunk of `x`, so the zip writes all of it.
    unsafe {
        build(
            x.len(),
            CHUNK,
            #[inline(always)]
            |i, out| {
                for (out, &x) in out.iter_mut().zip(&x[i * CHUNK..]) {
                    out.write(f(x));
                }
            },
        )
    }
}

/// `f(x_i, y_i)` for every element of two slices of one length.
pub(crate) fn zip_map<T: Copy + Sync + Send>(x: &[T], y: &[T], f: impl Fn(T, T) -> T + Sync) -> Vec<T> {
    assert_eq!(x.len(), y.len());
    // SAFETY: a chunk of the output is as long as its chunks of `x` and `y`, so the zip writes all of it.
    unsafe {
        build(
            x.len(),
            CHUNK,
            #[inline(always)]
            |i, out| {
                for ((out, &x), &y) in out.iter_mut().zip(&x[i * CHUNK..]).zip(&y[i * CHUNK..]) {
                    out.write(f(x, y));
                }
            },
        )
    }
}

/// Sums of each column of a row-major `[rows, width]`: partial sums of fixed blocks in f64, added in block order.
pub(crate) fn column_sums<T: crate::cpu::float::Float>(x: &[T], width: usize) -> Vec<f64> {
    let partials: Vec<Vec<f64>> = x
        .par_chunks((rows_per_chunk(width) * width).max(1))
        .map(|block| {
            let mut sums = vec![0.0; width];
            for row in block.chunks_exact(width) {
                for (sum, value) in sums.iter_mut().zip(row) {
                    *sum += value.wide();
                }
            }
            sums
        })
        .collect();
    add_up(&partials, width)
}

/// The element-wise sum of vectors of one width, in order.
pub(crate) fn add_up(partials: &[Vec<f64>], width: usize) -> Vec<f64> {
    let mut total = vec![0.0; width];
    for partial in partials {
        for (total, value) in total.iter_mut().zip(partial) {
            *total += value;
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_cover_every_element_once() {
        let x: Vec<f64> = (0..3 * CHUNK + 7).map(|i| i as f64).collect();
        assert_eq!(map(&x, |x| 2.0 * x), x.iter().map(|x| 2.0 * x).collect::<Vec<_>>());
        assert_eq!(zip_map(&x, &x, |x, y| x * y), x.iter().map(|x| x * x).collect::<Vec<_>>());
        let rows = 40_000;
        let ones = vec![1.0f32; rows * 3];
        assert_eq!(column_sums(&ones, 3), vec![rows as f64; 3]);
    }
}

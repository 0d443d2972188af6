//! Parallel loops over fixed chunks: the split depends on the shape only, never on the number of threads.
//!
//! All of them are [`tasks`]. It is compiled once, for the loops of rayon are long and there would be one for each op
//! and element type; and what is a single task, or little [work](with_work), runs where it is called, without a thread
//! that must wake up.

use crate::cpu::vector::vectorised;
use crate::graph::within;
use rayon::prelude::*;
use std::cell::Cell;
use std::mem::MaybeUninit;
use std::slice;

/// Elements of one task in a loop that is bound by memory: 64 KiB of f32, a small part of L2.
pub(crate) const CHUNK: usize = 16 * 1024;

/// Multiplications that one thread does while another wakes up.
const WORTH_A_THREAD: usize = 1 << 18;

thread_local! {
    /// How many scopes with little work are open on this thread.
    static ALONE: Cell<usize> = const { Cell::new(0) };
}

/// Runs `f`, which does so many multiplications: on this thread alone if they are few.
pub(crate) fn with_work<R>(multiplications: usize, f: impl FnOnce() -> R) -> R {
    if multiplications < WORTH_A_THREAD { within(&ALONE, f) } else { f() }
}

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

    /// The same elements as others of that size.
    pub(crate) fn cast<U>(self) -> Region<U> {
        debug_assert_eq!(size_of::<T>(), size_of::<U>());
        Region { start: self.start.cast(), len: self.len }
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

/// Runs `task(0)`, …, `task(count - 1)`, in any order and in parallel.
pub(crate) fn tasks(count: usize, task: impl Fn(usize) + Sync) {
    fn run(count: usize, task: &(dyn Fn(usize) + Sync)) {
        match count {
            0 => (),
            1 => task(0),
            _ if ALONE.get() > 0 => (0..count).for_each(task),
            _ => (0..count).into_par_iter().for_each(task),
        }
    }
    run(count, &task);
}

/// Runs `task(i, chunk)` on every chunk of `size` elements; the last one may be shorter.
pub(crate) fn for_chunks<T: Send + Sync>(x: &mut [T], size: usize, task: impl Fn(usize, &mut [T]) + Sync) {
    let (len, size, x) = (x.len(), size.max(1), Region::of(x));
    tasks(len.div_ceil(size), |i| {
        let start = i * size;
        // SAFETY: chunks do not overlap, each belongs to one task, and `x` is borrowed until all tasks are done.
        task(i, unsafe { slice::from_raw_parts_mut(x.at(start), size.min(len - start)) });
    });
}

/// `task(0)`, …, `task(count - 1)`, computed in parallel.
pub(crate) fn results<R: Send + Sync>(count: usize, task: impl Fn(usize) -> R + Sync) -> Vec<R> {
    let mut all: Vec<Option<R>> = (0..count).map(|_| None).collect(); // dropped, with what is there, if a task panics
    for_chunks(&mut all, 1, |i, place| place.fill_with(|| Some(task(i))));
    all.into_iter().flatten().collect()
}

/// `task(chunk)` for every chunk of `size` elements, computed in parallel; the last chunk may be shorter.
pub(crate) fn of_chunks<T: Sync, R: Send + Sync>(x: &[T], size: usize, task: impl Fn(&[T]) -> R + Sync) -> Vec<R> {
    let size = size.max(1);
    results(x.len().div_ceil(size), |i| task(&x[i * size..x.len().min((i + 1) * size)]))
}

/// A vector of `len` elements, made in parallel: `fill(i, chunk)` writes chunk `i` of `chunk` elements. A `fill` that
/// is `#[inline(always)]` is compiled for the best vectors of the processor.
///
/// # Safety
/// `fill` must write every element of the chunk that it gets.
pub(crate) unsafe fn build<T: Send + Sync>(
    len: usize,
    chunk: usize,
    fill: impl Fn(usize, &mut [MaybeUninit<T>]) + Sync,
) -> Vec<T> {
    let mut out = Vec::with_capacity(len);
    for_chunks(&mut out.spare_capacity_mut()[..len], chunk, |i, chunk| {
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

/// Sums of each column of a row-major `[rows, width]`: partial sums of fixed blocks in f64, added in block order. A
/// block is four chunks, since each has a vector that is allocated, and added up by one thread.
pub(crate) fn column_sums<T: crate::cpu::float::Float>(x: &[T], width: usize) -> Vec<f64> {
    let partials = of_chunks(x, 4 * rows_per_chunk(width) * width, |block| {
        vectorised(
            #[inline(always)]
            || {
                let mut sums = vec![0.0; width];
                for row in block.chunks_exact(width) {
                    for (sum, value) in sums.iter_mut().zip(row) {
                        *sum += value.wide();
                    }
                }
                sums
            },
        )
    });
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
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn every_task_runs_once_whatever_the_count() {
        let threads = || results(1000, |_| std::thread::current().id());
        assert!(with_work(1, threads).iter().all(|thread| *thread == std::thread::current().id()));
        assert!(with_work(usize::MAX, threads).iter().all(|thread| *thread != std::thread::current().id()));
        for count in [0, 1, 2, 7, 1000] {
            assert_eq!(results(count, |i| 3 * i), (0..count).map(|i| 3 * i).collect::<Vec<_>>());
            for size in [0, 1, 3, 2000] {
                let mut x = vec![1; count];
                for_chunks(&mut x, size, |i, chunk| chunk.iter_mut().for_each(|x| *x += i));
                assert!(x.iter().enumerate().all(|(j, x)| *x == 1 + j / size.max(1)));
                let lens = of_chunks(&x, size, <[usize]>::len);
                assert_eq!(lens, x.chunks(size.max(1)).map(<[usize]>::len).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn what_was_computed_is_dropped_if_a_task_panics() {
        let (alive, made) = (Arc::new(()), AtomicUsize::new(0));
        let task = |i: usize| {
            assert!(i < 100, "task {i}");
            made.fetch_add(1, Ordering::Relaxed);
            alive.clone()
        };
        let all = with_work(1, || catch_unwind(AssertUnwindSafe(|| results(101, task))));
        assert!(all.is_err() && made.load(Ordering::Relaxed) == 100);
        assert_eq!(Arc::strong_count(&alive), 1);
    }

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

//! An allocator that keeps large blocks for the next step.

mod free;
mod system;

use free::Free;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr::{null_mut, with_exposed_provenance_mut};
use std::sync::atomic::{AtomicBool, Ordering};

/// The system's allocator, but blocks of 64 KiB and more are kept when they are freed, and handed out again.
///
/// A training step allocates and frees the same activations and gradients every time. The system takes big blocks back
/// at once, and then every page of the next step is a fault and is cleared first: a fifth of a step. And they lie in
/// pages of 4 KiB, of which a processor remembers too few: where they lie in huge pages, as here on Linux, a matrix
/// product takes about a seventh less time in a virtual machine. A binary opts in with one line:
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: msharp_ops::KeepBlocks = msharp_ops::KeepBlocks::new();
/// ```
///
/// A block is cut from the smallest free part that has room for it, and free neighbours become one part. What was in
/// use once stays the process's, so that it holds little more than the most that was in use at one time. Blocks of
/// 4 KiB and more begin at a cache line, those of 64 KiB and more at a page.
#[derive(Debug)]
pub struct KeepBlocks {
    locked: AtomicBool,
    free: UnsafeCell<Free>,
}

/// Blocks of so many bytes and more are kept.
const BIG: usize = 64 << 10;
const CACHE_LINE: usize = 64;
const PAGE: usize = 4096;
/// Addresses that are requested from the system at a time; memory follows where they are touched.
const SPAN: usize = 256 << 20;

// SAFETY: `free` is touched only by `with_free`, by one thread at a time.
unsafe impl Sync for KeepBlocks {}

impl KeepBlocks {
    /// Nothing is kept yet.
    #[allow(clippy::new_without_default)] // a static needs a constant
    pub const fn new() -> Self {
        Self { locked: AtomicBool::new(false), free: UnsafeCell::new(Free::new()) }
    }

    fn with_free<R>(&self, f: impl FnOnce(&mut Free) -> R) -> R {
        // A mutex of the standard library might allocate; and this one is held for a search in two small trees.
        while self.locked.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            std::hint::spin_loop();
        }
        // SAFETY: the lock is held.
        let result = f(unsafe { &mut *self.free.get() });
        self.locked.store(false, Ordering::Release);
        result
    }

    /// A block of whole pages, or null.
    fn take(&self, size: usize) -> *mut u8 {
        let address = self.with_free(|free| {
            free.take(size).or_else(|| {
                let len = size.max(SPAN);
                free.give(system::span(len)?.expose_provenance(), len);
                free.take(size)
            })
        });
        address.map_or(null_mut(), with_exposed_provenance_mut)
    }
}

/// The layout with which a block that is not large is requested from the system.
fn aligned(layout: Layout) -> Layout {
    match layout.size() {
        PAGE.. => layout.align_to(CACHE_LINE).unwrap_or(layout),
        _ => layout,
    }
}

/// The bytes of a large block, whole pages.
fn big(layout: Layout) -> Option<usize> {
    let pages = || layout.size().checked_next_multiple_of(PAGE);
    if layout.size() >= BIG && layout.align() <= PAGE { pages() } else { None }
}

// SAFETY: blocks have their size at least, and belong to one caller until they are deallocated; which allocator a block
// comes from follows from its layout.
unsafe impl GlobalAlloc for KeepBlocks {
    // SAFETY: guaranteed by the caller.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match big(layout) {
            Some(size) => self.take(size),
            // SAFETY: guaranteed by the caller.
            None => unsafe { System.alloc(aligned(layout)) },
        }
    }

    // SAFETY: guaranteed by the caller.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match big(layout) {
            Some(size) => {
                let block = self.take(size);
                if !block.is_null() {
                    // SAFETY: the block has at least this size.
                    unsafe { block.write_bytes(0, layout.size()) };
                }
                block
            }
            // SAFETY: guaranteed by the caller.
            None => unsafe { System.alloc_zeroed(aligned(layout)) },
        }
    }

    // SAFETY: guaranteed by the caller.
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match big(layout) {
            Some(size) => self.with_free(|free| free.give(block.expose_provenance(), size)),
            // SAFETY: guaranteed by the caller, and the layout that it was allocated with.
            None => unsafe { System.dealloc(block, aligned(layout)) },
        }
    }

    // SAFETY: guaranteed by the caller.
    unsafe fn realloc(&self, block: *mut u8, old: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller guarantees that the size fits the alignment.
        let new = unsafe { Layout::from_size_align_unchecked(size, old.align()) };
        match (big(old), big(new)) {
            (Some(a), Some(b)) if a == b => block,
            // SAFETY: guaranteed by the caller; both layouts are aligned alike.
            (None, None) if aligned(old).align() == aligned(new).align() => unsafe {
                System.realloc(block, aligned(old), size)
            },
            // SAFETY: guaranteed by the caller; what is copied fits both blocks.
            _ => unsafe {
                let moved = self.alloc(new);
                if !moved.is_null() {
                    moved.copy_from_nonoverlapping(block, old.size().min(size));
                    self.dealloc(block, old);
                }
                moved
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 4).expect("a layout")
    }

    /// The bytes that are free, in how many parts.
    fn free(allocator: &KeepBlocks) -> (usize, usize) {
        allocator.with_free(|free| (free.parts().iter().map(|(_, size)| size).sum(), free.parts().len()))
    }

    #[test]
    fn blocks_come_back_in_other_sizes_too() {
        let allocator = KeepBlocks::new();
        // SAFETY: every block is freed once, with its layout, and written within it.
        unsafe {
            let first = allocator.alloc(layout(3 << 20));
            assert!(first.addr().is_multiple_of(PAGE));
            first.write_bytes(7, 3 << 20);
            allocator.dealloc(first, layout(3 << 20));
            assert_eq!(free(&allocator), (SPAN, 1));

            let second = allocator.alloc_zeroed(layout((2 << 20) - 1000));
            assert_eq!(second, first, "the same memory");
            assert!(std::slice::from_raw_parts(second, (2 << 20) - 1000).iter().all(|byte| *byte == 0));
            let third = allocator.alloc(layout(BIG));
            assert_eq!((third, *third), (first.add(2 << 20), 7), "what was behind it");
            allocator.dealloc(second, layout((2 << 20) - 1000));
            assert_eq!(free(&allocator), (SPAN - BIG, 2));

            let small = allocator.realloc(third, layout(BIG), 5000);
            assert_eq!(free(&allocator), (SPAN, 1));
            let small = allocator.realloc(small, layout(5000), 100);
            small.write_bytes(1, 100);
            let large = allocator.realloc(small, layout(100), SPAN + 1);
            assert_eq!(std::slice::from_raw_parts(large, 100), [1; 100]);
            let same = allocator.realloc(large, layout(SPAN + 1), SPAN + PAGE);
            assert_eq!(same, large, "the same pages");
            allocator.dealloc(same, layout(SPAN + PAGE));
            assert_eq!(free(&allocator).0, 2 * SPAN + PAGE);
        }
    }

    #[test]
    fn many_threads_share_it() {
        let allocator = &KeepBlocks::new();
        std::thread::scope(|scope| {
            for thread in 0..4usize {
                scope.spawn(move || {
                    for i in 0..300usize {
                        let layout = layout(BIG + (i * 7919 + thread) % (48 * BIG));
                        // SAFETY: the block is freed once, with its layout, and written within it.
                        unsafe {
                            let block = allocator.alloc(layout);
                            block.write_bytes(thread as u8, 4096);
                            block.add(layout.size() - 1).write(thread as u8);
                            assert_eq!(block.add(4095).read(), thread as u8);
                            allocator.dealloc(block, layout);
                        }
                    }
                });
            }
        });
        assert_eq!(free(allocator), (SPAN, 1));
    }

    /// Sizes and order of a network: activations up, gradients down, beside another for a moment.
    #[test]
    fn a_step_after_the_first_one_needs_no_more_memory() {
        let allocator = KeepBlocks::new();
        let sizes: Vec<usize> = (0..40).map(|i| BIG * [10, 37, 28, 9, 38, 1, 17][i % 7]).collect();
        let step = || {
            // SAFETY: every block is freed once, with its layout.
            unsafe {
                let blocks: Vec<*mut u8> = sizes.iter().map(|size| allocator.alloc(layout(*size))).collect();
                let kept: Vec<*mut u8> = sizes
                    .iter()
                    .zip(&blocks)
                    .rev()
                    .map(|(size, block)| {
                        let gradient = allocator.alloc(layout(*size));
                        allocator.dealloc(*block, layout(*size));
                        let small = allocator.alloc(layout(BIG));
                        allocator.dealloc(gradient, layout(*size));
                        small
                    })
                    .collect();
                kept.into_iter().for_each(|block| allocator.dealloc(block, layout(BIG)));
            }
        };
        step();
        let first = free(&allocator).0;
        (0..20).for_each(|_| step());
        assert_eq!(free(&allocator).0, first);
    }
}

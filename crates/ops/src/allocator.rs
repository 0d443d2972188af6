//! An allocator that keeps large blocks for the next step.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering};

/// The system's allocator, but blocks of 64 KiB and more are kept when they are freed, and handed out again.
///
/// A training step allocates and frees the same activations and gradients every time. The system takes big blocks back
/// at once, and then every page of the next step is a fault and is cleared first: a fifth of a step. A binary opts out
/// of that in one line:
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: msharp_ops::KeepBlocks = msharp_ops::KeepBlocks::new();
/// ```
///
/// What is held, in use or kept, is never more than 5/4 of the most that was in use at one time: where that would be
/// exceeded, kept blocks go back to the system. Sizes are rounded up by an eighth at most, so that blocks can be
/// exchanged. Blocks of 4 KiB and more begin at a cache line, those of 2 MiB and more at a huge page, which is
/// requested of Linux.
#[derive(Debug)]
pub struct KeepBlocks {
    locked: AtomicBool,
    kept: UnsafeCell<Kept>,
}

/// Free blocks by size, each with the address of the next one in its first word.
#[derive(Debug)]
struct Kept {
    bins: [*mut u8; BINS],
    /// Bytes in `bins`.
    bytes: usize,
    /// Bytes of big blocks in use.
    in_use: usize,
    /// The most that was in use at one time.
    most: usize,
}

impl Kept {
    /// A block of a bin, which is no longer kept.
    fn pop(&mut self, bin: usize) -> Option<*mut u8> {
        let block = self.bins[bin];
        if block.is_null() {
            return None;
        }
        // SAFETY: a kept block begins with the address of the next one.
        self.bins[bin] = unsafe { block.cast::<*mut u8>().read() };
        self.bytes -= size_of_bin(bin);
        Some(block)
    }
}

/// Blocks of 2 to this power and more are kept.
const BIG_BITS: u32 = 16;
/// Sizes between a power of two and the next.
const STEPS_BITS: u32 = 3;
/// Bins for every size up to 2⁶³.
const BINS: usize = ((63 - BIG_BITS) as usize + 1) << STEPS_BITS;
const HUGE_PAGE: usize = 2 << 20;
const CACHE_LINE: usize = 64;
const PAGE: usize = 4096;

// SAFETY: `kept` is touched only by `with_kept`, by one thread at a time.
unsafe impl Sync for KeepBlocks {}
// SAFETY: free blocks belong to no thread.
unsafe impl Send for KeepBlocks {}

/// The bin of a size, and the size that its blocks have: the next multiple of an eighth of the power of two below.
fn bin(size: usize) -> Option<(usize, usize)> {
    let bits = size.checked_ilog2().filter(|bits| (BIG_BITS..62).contains(bits))?;
    let step = bits - STEPS_BITS;
    let steps = size.div_ceil(1 << step); // 8 ..= 16
    let index = (((bits - BIG_BITS) as usize) << STEPS_BITS) + steps - (1 << STEPS_BITS);
    Some((index, steps << step))
}

impl KeepBlocks {
    /// Nothing is kept yet.
    #[allow(clippy::new_without_default)] // a static needs a constant
    pub const fn new() -> Self {
        let kept = Kept { bins: [null_mut(); BINS], bytes: 0, in_use: 0, most: 0 };
        Self { locked: AtomicBool::new(false), kept: UnsafeCell::new(kept) }
    }

    fn with_kept<R>(&self, f: impl FnOnce(&mut Kept) -> R) -> R {
        // A mutex of the standard library might allocate; and this one is held for a few instructions only.
        while self.locked.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            std::hint::spin_loop();
        }
        // SAFETY: the lock is held.
        let result = f(unsafe { &mut *self.kept.get() });
        self.locked.store(false, Ordering::Release);
        result
    }

    /// A block of a bin: a kept one (`true`), or a new one, for which kept ones go back if need be.
    ///
    /// # Safety
    /// As `GlobalAlloc::alloc`; `(index, size)` is a [`bin`].
    unsafe fn take(&self, index: usize, size: usize, zeroed: bool) -> (*mut u8, bool) {
        let mut back: [(*mut u8, usize); 8] = [(null_mut(), 0); 8];
        let (mut block, mut room) = (null_mut::<u8>(), false);
        while block.is_null() {
            let mut count = 0;
            block = self.with_kept(|kept| {
                if let Some(block) = kept.pop(index) {
                    kept.in_use += size;
                    return block;
                }
                let most = kept.most.max(kept.in_use + size);
                let bound = most + most / 4;
                // The largest first: they are the fewest.
                for other in (0..BINS).rev() {
                    while kept.in_use + size + kept.bytes > bound && count < back.len() {
                        let Some(block) = kept.pop(other) else { break };
                        back[count] = (block, size_of_bin(other));
                        count += 1;
                    }
                }
                room = kept.in_use + size + kept.bytes <= bound;
                if room {
                    (kept.in_use, kept.most) = (kept.in_use + size, most);
                }
                null_mut()
            });
            for (block, size) in &back[..count] {
                // SAFETY: a kept block of that size, which is in no list any more.
                unsafe { System.dealloc(*block, layout(*size)) };
            }
            if block.is_null() && room {
                // SAFETY: the size is not 0.
                block = unsafe { if zeroed { System.alloc_zeroed(layout(size)) } else { System.alloc(layout(size)) } };
                if block.is_null() {
                    self.with_kept(|kept| kept.in_use -= size);
                } else {
                    advise_huge_pages(block, size);
                }
                return (block, false);
            }
        }
        (block, true)
    }
}

/// The layout of a big block.
fn layout(size: usize) -> Layout {
    let align = if size >= HUGE_PAGE { HUGE_PAGE } else { CACHE_LINE };
    // SAFETY: the alignment is a power of two, and a size of a bin is below 2⁶³ by more than the alignment.
    unsafe { Layout::from_size_align_unchecked(size, align) }
}

/// The size of the blocks of a bin.
fn size_of_bin(index: usize) -> usize {
    let (doublings, steps) = (index >> STEPS_BITS, index & ((1 << STEPS_BITS) - 1));
    ((1 << STEPS_BITS) + steps) << (doublings + (BIG_BITS - STEPS_BITS) as usize)
}

#[cfg(target_os = "linux")]
fn advise_huge_pages(block: *mut u8, size: usize) {
    if size < HUGE_PAGE {
        return;
    }
    // SAFETY: advice on memory that is ours; it changes no content, and a refusal does not matter.
    unsafe { libc::madvise(block.cast(), size, libc::MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
fn advise_huge_pages(_: *mut u8, _: usize) {}

/// The layout with which a block that is not large is requested from the system.
fn aligned(layout: Layout) -> Layout {
    match layout.size() {
        PAGE.. => layout.align_to(CACHE_LINE).unwrap_or(layout),
        _ => layout,
    }
}

/// The bin of a layout, if its blocks are kept.
fn bin_of(layout: Layout) -> Option<(usize, usize)> {
    bin(layout.size()).filter(|_| layout.align() <= CACHE_LINE)
}

// SAFETY: blocks of a bin have its size and the alignment of a cache line at least, and belong to one caller until they
// are deallocated; which allocator a block comes from follows from its layout.
unsafe impl GlobalAlloc for KeepBlocks {
    // SAFETY: guaranteed by the caller.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match bin_of(layout) {
            // SAFETY: guaranteed by the caller.
            Some((index, size)) => unsafe { self.take(index, size, false).0 },
            // SAFETY: guaranteed by the caller.
            None => unsafe { System.alloc(aligned(layout)) },
        }
    }

    // SAFETY: guaranteed by the caller.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match bin_of(layout) {
            Some((index, size)) => {
                // SAFETY: guaranteed by the caller.
                let (block, used) = unsafe { self.take(index, size, true) };
                if used {
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
        match bin_of(layout) {
            Some((index, size)) => self.with_kept(|kept| {
                // SAFETY: the block is free, aligned, and bigger than an address.
                unsafe { block.cast::<*mut u8>().write(kept.bins[index]) };
                kept.bins[index] = block;
                (kept.bytes, kept.in_use) = (kept.bytes + size, kept.in_use - size);
            }),
            // SAFETY: guaranteed by the caller, and the layout that it was allocated with.
            None => unsafe { System.dealloc(block, aligned(layout)) },
        }
    }

    // SAFETY: guaranteed by the caller.
    unsafe fn realloc(&self, block: *mut u8, old: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller guarantees that the size fits the alignment.
        let new = unsafe { Layout::from_size_align_unchecked(size, old.align()) };
        match (bin_of(old), bin_of(new)) {
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

    const BIG: usize = 1 << BIG_BITS;

    #[test]
    fn a_bin_holds_sizes_up_to_an_eighth_below_its_own() {
        assert_eq!(bin(BIG - 1), None);
        let mut last = 0;
        for size in (0..4000).map(|i| BIG + i * 70_001) {
            let (index, rounded) = bin(size).expect("a big block");
            assert!(rounded >= size && rounded - size <= size / 8, "{size}: {rounded}");
            assert_eq!((size_of_bin(index), bin(rounded)), (rounded, Some((index, rounded))));
            assert!(index >= last && index < BINS);
            last = index;
        }
        assert!(bin(usize::MAX / 4).is_some_and(|(index, _)| index < BINS) && bin(usize::MAX).is_none());
    }

    fn held(allocator: &KeepBlocks) -> (usize, usize, usize) {
        allocator.with_kept(|kept| (kept.in_use, kept.bytes, kept.most))
    }

    #[test]
    fn blocks_come_back_and_no_more_is_held_than_was_in_use() {
        let allocator = KeepBlocks::new();
        let layout = |size| Layout::from_size_align(size, 4).expect("a layout");
        // SAFETY: every block is freed once, with its layout, and written within it.
        unsafe {
            let first = allocator.alloc(layout(3 << 20));
            assert!((first as usize).is_multiple_of(HUGE_PAGE));
            first.write_bytes(7, 3 << 20);
            allocator.dealloc(first, layout(3 << 20));
            assert_eq!(held(&allocator), (0, 3 << 20, 3 << 20));

            let second = allocator.alloc_zeroed(layout((3 << 20) - 1000));
            assert_eq!(second, first, "the same block");
            assert!(std::slice::from_raw_parts(second, (3 << 20) - 1000).iter().all(|byte| *byte == 0));
            allocator.dealloc(second, layout((3 << 20) - 1000));

            // A larger one: the kept block goes back, for together they would be more than 5/4 of 5 MiB.
            let third = allocator.alloc(layout(5 << 20));
            assert_eq!(held(&allocator), (5 << 20, 0, 5 << 20));
            let small = allocator.realloc(third, layout(5 << 20), 5000);
            assert_eq!(held(&allocator), (0, 5 << 20, 5 << 20));
            let small = allocator.realloc(small, layout(5000), 100);
            small.write_bytes(1, 100);
            let big = allocator.realloc(small, layout(100), 2 << 20);
            assert_eq!(std::slice::from_raw_parts(big, 100), [1; 100]);
            // 5 + 2 MiB would be more than 5/4 of 5.
            assert_eq!(held(&allocator), (2 << 20, 0, 5 << 20));
            allocator.dealloc(big, layout(2 << 20));
        }
    }

    #[test]
    fn many_threads_share_it() {
        let allocator = &KeepBlocks::new();
        std::thread::scope(|scope| {
            for thread in 0..4usize {
                scope.spawn(move || {
                    for i in 0..300usize {
                        let layout =
                            Layout::from_size_align(BIG + (i * 7919 + thread) % (48 * BIG), 4).expect("a layout");
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
        let (in_use, kept, most) = held(allocator);
        assert!(in_use == 0 && kept <= most + most / 4 && most <= 4 * 49 * BIG * 9 / 8, "{in_use} {kept} {most}");
    }
}

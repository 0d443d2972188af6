//! Memory of a thread that is lent for a moment and kept for the next one.

use std::cell::Cell;
use std::thread::LocalKey;

/// Bytes of a cache line.
const LINE: usize = 64;

/// What a thread keeps.
pub(crate) type Kept<T> = Cell<Vec<T>>;

/// Lends `f` so many elements of what this thread keeps: initialised, contents arbitrary, and aligned to a cache line,
/// so that no vector lies in two. Where there are too few, all are `new`.
pub(crate) fn lend<T: Copy, R>(
    kept: &'static LocalKey<Kept<T>>,
    new: T,
    len: usize,
    f: impl FnOnce(&mut [T]) -> R,
) -> R {
    let line = LINE / size_of::<T>(); // 0 of what is larger, and aligned by itself
    let mut memory = kept.take();
    if memory.len() < len + line {
        memory = vec![new; len + line];
    }
    let start = memory.as_ptr().align_offset(LINE).min(line);
    let result = f(&mut memory[start..start + len]);
    kept.set(memory);
    result
}

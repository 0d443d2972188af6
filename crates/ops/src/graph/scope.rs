//! Switches that are on while a closure runs.

use std::cell::Cell;
use std::thread::LocalKey;

/// How many scopes of one kind are open on a thread.
pub(crate) type Depth = LocalKey<Cell<usize>>;

/// Runs `f` inside one more scope, which belongs to the calling thread, nests, and ends even if `f` panics.
pub(crate) fn within<R>(depth: &'static Depth, f: impl FnOnce() -> R) -> R {
    struct Leave(&'static Depth);
    impl Drop for Leave {
        fn drop(&mut self) {
            self.0.set(self.0.get() - 1);
        }
    }
    depth.set(depth.get() + 1);
    let _leave = Leave(depth);
    f()
}

//! The switch that stops our ops from recording a graph.

use super::within;
use std::cell::Cell;

thread_local! {
    /// How many `no_grad` scopes are open on this thread.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Runs `f` without recording: inside, the ops of this crate return tensors without a graph, even on `Var`s, so that
/// evaluation retains no activations.
///
/// The scope belongs to the calling thread, nests, and ends even if `f` panics. It has an effect on the ops of this
/// crate only; those of candle always record.
pub fn no_grad<R>(f: impl FnOnce() -> R) -> R {
    within(&DEPTH, f)
}

/// Whether the ops of this crate record a graph on this thread: true outside [`no_grad`].
pub(crate) fn grad_enabled() -> bool {
    DEPTH.get() == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nests_and_ends_on_panic() {
        assert!(grad_enabled());
        no_grad(|| {
            no_grad(|| assert!(!grad_enabled()));
            assert!(!grad_enabled());
            assert!(std::thread::spawn(grad_enabled).join().unwrap(), "another thread keeps recording");
        });
        assert!(grad_enabled());
        assert!(std::panic::catch_unwind(|| no_grad(|| panic!("inside"))).is_err());
        assert!(grad_enabled());
    }
}

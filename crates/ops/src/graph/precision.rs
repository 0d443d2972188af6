//! The precision of products on a GPU.

use std::cell::Cell;

/// The numbers that a GPU multiplies; sums, statistics, losses and parameters are f32 or f64 in each.
///
/// It has no effect on the CPU, which computes in the element type of the tensors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Precision {
    /// 24 bits, on the ordinary units.
    #[default]
    F32,
    /// Activations in f32, their products of 11 bits on the tensor cores.
    Tf32,
    /// Activations in bfloat16, 8 bits, on the tensor cores; half the memory.
    Bf16,
}

thread_local! {
    /// The most exact of the enclosing scopes; none outside of all.
    static PRECISION: Cell<Option<Precision>> = const { Cell::new(None) };
}

/// Runs `f` with products of `precision` on a GPU. Outside of every such scope it is f32; of nested ones the most exact
/// counts, so that a finite difference in f32 is one even if the network inside has a scope of bfloat16.
///
/// The scope belongs to the calling thread and ends even if `f` panics. A backward pass computes as its forward did.
pub fn with_precision<R>(precision: Precision, f: impl FnOnce() -> R) -> R {
    struct Leave(Option<Precision>);
    impl Drop for Leave {
        fn drop(&mut self) {
            PRECISION.set(self.0);
        }
    }
    let around = PRECISION.get();
    let _leave = Leave(around);
    PRECISION.set(Some(around.map_or(precision, |around| around.min(precision))));
    f()
}

/// The precision here.
pub(crate) fn precision() -> Precision {
    PRECISION.get().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_exact_of_nested_scopes_counts() {
        assert_eq!(precision(), Precision::F32);
        with_precision(Precision::Bf16, || {
            assert_eq!(precision(), Precision::Bf16);
            with_precision(Precision::F32, || {
                with_precision(Precision::Tf32, || assert_eq!(precision(), Precision::F32))
            });
            assert_eq!(precision(), Precision::Bf16);
        });
        assert!(std::panic::catch_unwind(|| with_precision(Precision::Bf16, || panic!("inside"))).is_err());
        assert_eq!(precision(), Precision::F32);
    }
}

//! Whole vectors of the processor, chosen at run time: what the kernels are written in.
//!
//! A kernel is a struct with [`WithSimd`]; [`dispatch`] compiles it for AVX-512, for AVX2, for NEON and for none, and
//! runs the best that the processor has. Everything a kernel calls must be `#[inline(always)]`, else it is compiled
//! without vectors.
//!
//! No kernel sums across the lanes of a vector, so a result has the same bits for any width, wherever multiply and add
//! are fused (AVX2 with FMA, AVX-512, NEON).

use pulp::{Arch, Simd, WithSimd};

/// Element types of which a processor has vectors.
pub trait Lanes: Copy + Send + Sync + 'static {
    /// A vector of the instruction set `S`.
    type Vector<S: Simd>: Copy;

    /// 0
    const ZERO: Self;

    /// The number nearest to `value` in every lane.
    fn constant<S: Simd>(simd: S, value: f64) -> Self::Vector<S>;
    /// `value` in every lane.
    fn splat<S: Simd>(simd: S, value: Self) -> Self::Vector<S>;
    /// a + b
    fn add<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// a − b
    fn sub<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// a b
    fn mul<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// a b + c, rounded once where the processor can.
    fn mul_add<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>, c: Self::Vector<S>) -> Self::Vector<S>;
    /// c − a b, rounded once where the processor can.
    fn sub_mul<S: Simd>(simd: S, c: Self::Vector<S>, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
}

macro_rules! lanes {
    ($type:ty, $vector:ident, $splat:ident, $add:ident, $sub:ident, $mul:ident, $mul_add:ident, $negate_mul_add:ident) => {
        impl Lanes for $type {
            type Vector<S: Simd> = S::$vector;
            const ZERO: Self = 0.0;

            #[inline(always)]
            fn constant<S: Simd>(simd: S, value: f64) -> S::$vector {
                simd.$splat(value as $type)
            }
            #[inline(always)]
            fn splat<S: Simd>(simd: S, value: Self) -> S::$vector {
                simd.$splat(value)
            }
            #[inline(always)]
            fn add<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$add(a, b)
            }
            #[inline(always)]
            fn sub<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$sub(a, b)
            }
            #[inline(always)]
            fn mul<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$mul(a, b)
            }
            #[inline(always)]
            fn mul_add<S: Simd>(simd: S, a: S::$vector, b: S::$vector, c: S::$vector) -> S::$vector {
                simd.$mul_add(a, b, c)
            }
            #[inline(always)]
            fn sub_mul<S: Simd>(simd: S, c: S::$vector, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$negate_mul_add(a, b, c)
            }
        }
    };
}

lanes!(f32, f32s, splat_f32s, add_f32s, sub_f32s, mul_f32s, mul_add_e_f32s, negate_mul_add_e_f32s);
lanes!(f64, f64s, splat_f64s, add_f64s, sub_f64s, mul_f64s, mul_add_e_f64s, negate_mul_add_e_f64s);

/// A vector of elements `T` under the instruction set `S`.
pub(crate) type Vector<T, S> = <T as Lanes>::Vector<S>;

/// Elements of a vector, inside a kernel.
#[inline(always)]
pub(crate) const fn lanes<T: Lanes, S: Simd>() -> usize {
    size_of::<Vector<T, S>>() / size_of::<T>()
}

/// Elements of a vector of this processor, outside of kernels: the width of panels.
pub(crate) fn width<T: Lanes>(arch: Arch) -> usize {
    struct Width<T>(std::marker::PhantomData<T>);
    impl<T: Lanes> WithSimd for Width<T> {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            lanes::<T, S>()
        }
    }
    arch.dispatch(Width(std::marker::PhantomData::<T>))
}

/// Runs a loop compiled for the best vectors of this processor; it must be the closure's own, not that of a function
/// it calls.
pub(crate) fn vectorised<R>(f: impl FnOnce() -> R) -> R {
    Arch::new().dispatch(f)
}

/// Asks for a slice to be brought to L2, and does not wait for it. A hint, which only x86-64 has in stable Rust.
#[inline(always)]
pub(crate) fn prefetch<T>(values: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for line in values.chunks(64 / size_of::<T>()) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: it neither reads nor fails, wherever the address is.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = values;
}

/// A vector from memory.
///
/// # Safety
/// A vector's elements must be readable at `from`.
#[inline(always)]
pub(crate) unsafe fn load<T: Lanes, S: Simd>(from: *const T) -> Vector<T, S> {
    // SAFETY: guaranteed by the caller; every bit pattern is a number.
    unsafe { from.cast::<Vector<T, S>>().read_unaligned() }
}

/// The first `count` elements from memory, then zeros.
///
/// # Safety
/// `count` elements, or a vector's if those are fewer, must be readable at `from`.
#[inline(always)]
pub(crate) unsafe fn load_first<T: Lanes, S: Simd>(simd: S, from: *const T, count: usize) -> Vector<T, S> {
    let mut vector = T::constant(simd, 0.0);
    // SAFETY: a vector is an array of its lanes, and no more than those are touched.
    unsafe { std::ptr::copy_nonoverlapping(from, (&raw mut vector).cast(), count.min(lanes::<T, S>())) };
    vector
}

/// A vector to memory.
///
/// # Safety
/// A vector's elements must be writable at `to`.
#[inline(always)]
pub(crate) unsafe fn store<T: Lanes, S: Simd>(to: *mut T, vector: Vector<T, S>) {
    // SAFETY: guaranteed by the caller.
    unsafe { to.cast::<Vector<T, S>>().write_unaligned(vector) }
}

/// The first `count` elements of a vector to memory.
///
/// # Safety
/// `count` elements, or a vector's if those are fewer, must be writable at `to`.
#[inline(always)]
pub(crate) unsafe fn store_first<T: Lanes, S: Simd>(to: *mut T, vector: Vector<T, S>, count: usize) {
    // SAFETY: a vector is an array of its lanes, and no more than those are touched.
    unsafe { std::ptr::copy_nonoverlapping((&raw const vector).cast(), to, count.min(lanes::<T, S>())) }
}

/// The instruction sets of this processor, the best first; tests run each.
#[cfg(test)]
pub(crate) fn instruction_sets() -> Vec<Arch> {
    let mut sets = vec![Arch::new()];
    #[cfg(target_arch = "x86_64")]
    sets.extend(pulp::x86::V3::try_new().map(Arch::V3));
    sets.push(Arch::Scalar);
    sets
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Edges<'a>(&'a [f32], &'a mut [f32]);

    impl WithSimd for Edges<'_> {
        type Output = ();
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let Self(from, to) = self;
            for (from, to) in from.chunks(lanes::<f32, S>()).zip(to.chunks_mut(lanes::<f32, S>())) {
                // SAFETY: as many elements as the chunks have.
                unsafe {
                    let x = load_first(simd, from.as_ptr(), from.len());
                    store_first::<f32, S>(to.as_mut_ptr(), f32::sub_mul(simd, x, x, x), to.len());
                }
            }
        }
    }

    #[test]
    fn parts_of_vectors_touch_no_more_than_they_should() {
        for arch in instruction_sets() {
            for len in 1..40 {
                let x: Vec<f32> = (0..len).map(|i| i as f32).collect();
                let mut y = vec![-1.0; len];
                arch.dispatch(Edges(&x, &mut y));
                assert_eq!(y, x.iter().map(|x| x - x * x).collect::<Vec<_>>(), "{arch:?}");
            }
        }
    }
}

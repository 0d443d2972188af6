//! The two element types, and how to reach the numbers inside a tensor.

use crate::cpu::curve::{exp_f32, normal_f32, normal_f64};
use crate::cpu::scratch::{Kept, lend};
use crate::cpu::vector::Lanes;
use candle_core::{CpuStorage, Device, Layout, Result, Shape, Storage, Tensor, WithDType, bail};
use std::ops::Neg;
use std::ops::Range;

/// An element type of our ops: `f32` or `f64`.
pub trait Float: WithDType + Neg<Output = Self> + Lanes {
    /// As `f64`, without loss.
    fn wide(self) -> f64;

    /// The nearest number of this type.
    fn narrow(value: f64) -> Self;

    /// eˣ for x ≤ 0.
    fn exp_negative(self) -> Self;

    /// Φ and φ of the standard normal distribution.
    fn normal(self) -> (Self, Self);

    /// [Lends](lend) `f` numbers of this thread.
    fn scratch<R>(len: usize, f: impl FnOnce(&mut [Self]) -> R) -> R;
}

macro_rules! float {
    ($type:ty, $exp:expr, $normal:expr) => {
        impl Float for $type {
            #[inline(always)]
            fn wide(self) -> f64 {
                self.into()
            }

            #[inline(always)]
            fn narrow(value: f64) -> Self {
                value as $type
            }

            #[inline(always)]
            fn exp_negative(self) -> Self {
                $exp(self)
            }

            #[inline(always)]
            fn normal(self) -> (Self, Self) {
                $normal(self)
            }

            fn scratch<R>(len: usize, f: impl FnOnce(&mut [Self]) -> R) -> R {
                thread_local! {
                    static KEPT: Kept<$type> = const { Kept::new(Vec::new()) };
                }
                lend(&KEPT, 0.0, len, f)
            }
        }
    };
}

float!(f32, exp_f32, normal_f32);
float!(f64, f64::exp, normal_f64);

/// Runs `$body` with `$T` the element type of `$tensor`; an `Err` naming the op `$op` for any other type.
macro_rules! with_float {
    ($op:expr, $tensor:expr, $T:ident => $body:expr) => {
        match $tensor.dtype() {
            candle_core::DType::F32 => {
                type $T = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $T = f64;
                $body
            }
            other => candle_core::bail!("{}: expected f32 or f64, got {other:?}", $op),
        }
    };
}
pub(crate) use with_float;

/// A storage on the CPU, for a node or a tensor.
pub(crate) fn on_cpu<T: Float>(values: Vec<T>) -> Storage {
    Storage::Cpu(T::to_cpu_storage_owned(values))
}

/// A tensor on the CPU without a graph.
pub(crate) fn constant<T: Float>(values: Vec<T>, shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::from_vec(values, shape.into(), &Device::Cpu)
}

/// Runs `f` on the elements of a contiguous CPU tensor.
pub(crate) fn with_slice<T: WithDType, R>(x: &Tensor, f: impl FnOnce(&[T]) -> Result<R>) -> Result<R> {
    let (storage, layout) = x.storage_and_layout();
    let (storage, range) = on_the_cpu(x, &storage, layout)?;
    f(&elements(storage)?[range])
}

fn on_the_cpu<'a>(x: &Tensor, storage: &'a Storage, layout: &Layout) -> Result<(&'a CpuStorage, Range<usize>)> {
    let Storage::Cpu(storage) = storage else { bail!("expected a tensor on the CPU, got {:?}", x.device()) };
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("expected a contiguous tensor, got {:?} with strides {:?}", x.shape(), layout.stride())
    };
    Ok((storage, start..end))
}

fn elements<T: WithDType>(storage: &CpuStorage) -> Result<&[T]> {
    T::cpu_storage_as_slice(storage)
}

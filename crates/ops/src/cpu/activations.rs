//! Element-wise passes over activations.

use super::float::{Float, constant, on_cpu, with_float, with_slice};
use super::norm::{masked, positive};
use super::parallel::{map, zip_map};
use crate::graph::{Activation, Pass};
use crate::profile::timed;
use candle_core::{DType, Device, Result, Storage, Tensor};

/// [`relu`](crate::relu)
pub(crate) fn relu<X: Activation>(x: &X) -> Result<X> {
    let named = |pass: &str, x: &[usize]| (format!("relu {x:?} {pass}"), 0.0);
    with_float!("relu", x.values(), T => {
        let y = timed(|| named("forward", x.values().dims()), || with_slice(x.values(), |x| Ok(map(x, positive::<T>))))?;
        X::record("relu", &[x], &[], on_cpu(y), x.values().shape(), move |Pass { y, dy, .. }| {
            let dx = || with_slice(y, |y| with_slice(dy, |dy| Ok(zip_map(y, dy, masked::<T>))));
            Ok([Some(constant(timed(|| named("dx", y.dims()), dx)?, y.shape())?)])
        })
    })
}

/// [`gelu`](crate::gelu)
pub(crate) fn gelu<X: Activation>(x: &X) -> Result<X> {
    let named = |pass: &str, x: &[usize]| (format!("gelu {x:?} {pass}"), 0.0);
    with_float!("gelu", x.values(), T => {
        let y = timed(|| named("forward", x.values().dims()), || with_slice(x.values(), |x| Ok(map(x, value::<T>))))?;
        X::record("gelu", &[x], &[], on_cpu(y), x.values().shape(), move |Pass { inputs: [x], dy, .. }| {
            let dx = || with_slice(x, |x| with_slice(dy, |dy| Ok(zip_map(x, dy, gradient::<T>))));
            Ok([Some(constant(timed(|| named("dx", x.dims()), dx)?, x.shape())?)])
        })
    })
}

/// x Φ(x)
#[inline(always)]
fn value<T: Float>(x: T) -> T {
    x * x.normal().0
}

/// dy (Φ(x) + x φ(x))
#[inline(always)]
fn gradient<T: Float>(x: T, dy: T) -> T {
    let (cdf, pdf) = x.normal();
    dy * (cdf + x * pdf)
}

/// a + b
pub(crate) fn sum(a: &Tensor, b: &Tensor) -> Result<Storage> {
    let named = || (format!("add {:?}", a.dims()), 0.0);
    with_float!("add", a, T => {
        let sum = || with_slice(a, |a| with_slice(b, |b| Ok(zip_map(a, b, |a: T, b| a + b))));
        Ok(on_cpu(timed(named, sum)?))
    })
}

/// `x` in another element type.
pub(crate) fn cast(x: &Tensor, dtype: DType) -> Result<Tensor> {
    x.to_dtype(dtype)
}

/// The elements of `x` in a storage of their own.
pub(crate) fn copied(x: &Tensor) -> Result<Storage> {
    with_float!("leave", x, T => with_slice::<T, _>(x, |values| Ok(on_cpu(values.to_vec()))))
}

/// A storage of one number of arbitrary value.
pub(crate) fn number() -> Result<Storage> {
    Ok(on_cpu(vec![0f32]))
}

/// The number 0.
pub(crate) fn zero() -> Result<Tensor> {
    Tensor::new(0f32, &Device::Cpu)
}

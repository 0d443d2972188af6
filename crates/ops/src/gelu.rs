//! The Gaussian error linear unit.

use crate::float::{Float, with_float, with_slice};
use crate::node::{Activation, Pass, constant, on_cpu};
use crate::parallel::{map, zip_map};
use crate::profile::timed;
use candle_core::Result;

/// x Φ(x) of every element, Φ the standard normal distribution (Hendrycks, Gimpel 2016,
/// <https://arxiv.org/abs/1606.08415>): PyTorch's `gelu` without approximation, and what timm's networks take. Any
/// shape.
///
/// Its derivative is Φ(x) + x φ(x). `Err` for an element type that is no float.
pub fn gelu<X: Activation>(x: &X) -> Result<X> {
    let x = &x.input()?;
    #[cfg(feature = "cuda")]
    if let Some(gpu) = crate::cuda::Gpu::of(x.values())? {
        return crate::cuda::gelu(&gpu, x);
    }
    let named = |pass: &str, x: &[usize]| (format!("gelu {x:?} {pass}"), 0.0);
    with_float!("gelu", x.values(), T => {
        let y = timed(|| named("forward", x.values().dims()), || with_slice(x.values(), |x| Ok(map(x, value::<T>))))?;
        X::record("gelu", &[x], &[], on_cpu(y), x.values().shape(), move |Pass { inputs: [x], dy, .. }| {
            let dx = || with_slice(x, |x| with_slice(dy, |dy| Ok(zip_map(x, dy, gradient::<T>))));
            Ok([Some(constant(timed(|| named("dx", x.dims()), dx)?, x.shape())?)])
        })
    })
}

#[inline(always)]
fn value<T: Float>(x: T) -> T {
    x * x.normal().0
}

#[inline(always)]
fn gradient<T: Float>(x: T, dy: T) -> T {
    let (cdf, pdf) = x.normal();
    dy * (cdf + x * pdf)
}

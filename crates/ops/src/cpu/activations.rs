//! The rectifier, and the sum.

use crate::float::{same_dtype, with_float, with_slice};
use crate::node::{Activation, Pass, constant, on_cpu};
use crate::norm::{masked, positive};
use crate::parallel::{map, zip_map};
use candle_core::{Result, bail};

/// max(x, 0) of every element; the gradient at 0 is 0, as in PyTorch. Any shape.
pub fn relu<X: Activation>(x: &X) -> Result<X> {
    let x = &x.input()?;
    #[cfg(feature = "cuda")]
    if let Some(gpu) = crate::cuda::Gpu::of(x.values())? {
        return crate::cuda::relu(&gpu, x);
    }
    with_float!("relu", x.values(), T => {
        let y = with_slice(x.values(), |x| Ok(map(x, positive::<T>)))?;
        X::record("relu", &[x], &[], on_cpu(y), x.values().shape(), |Pass { y, dy, .. }| {
            let dx = with_slice(y, |y| with_slice(dy, |dy| Ok(zip_map(y, dy, masked::<T>))))?;
            Ok([Some(constant(dx, y.shape())?)])
        })
    })
}

/// a + b of every element, two activations of one shape: the end of a residual block without a norm.
///
/// `Err` if shapes or element types differ.
pub fn add<X: Activation>(a: &X, b: &X) -> Result<X> {
    let (a, b) = (&a.input()?, &b.input()?);
    if a.values().dims() != b.values().dims() {
        bail!("add: shapes differ: {:?} and {:?}", a.values().dims(), b.values().dims());
    }
    same_dtype("add", &[a.values(), b.values()])?;
    let back = |Pass::<2> { wanted, dy, .. }: Pass<2>| Ok(wanted.map(|wanted| wanted.then(|| dy.clone())));
    #[cfg(feature = "cuda")]
    if let Some(gpu) = crate::cuda::Gpu::of(a.values())? {
        let sum = crate::cuda::add(&gpu, a.values(), b.values())?;
        return X::record("add", &[a, b], &[], sum, a.values().shape(), back);
    }
    with_float!("add", a.values(), T => {
        let y = with_slice(a.values(), |a| with_slice(b.values(), |b| Ok(zip_map(a, b, |a: T, b| a + b))))?;
        X::record("add", &[a, b], &[], on_cpu(y), a.values().shape(), back)
    })
}

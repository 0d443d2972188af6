//! Element-wise ops: rectifier, Gaussian error linear unit, sum.

use super::same_dtype;
use crate::dispatch::on_device;
use crate::graph::{Activation, Pass};
use candle_core::{Result, bail};

/// max(x, 0) of every element; the gradient at 0 is 0, as in PyTorch. Any shape.
pub fn relu<X: Activation>(x: &X) -> Result<X> {
    let x = &x.input()?;
    on_device!(x.values(), X::relu(x))
}

/// x Φ(x) of every element, Φ the standard normal distribution (Hendrycks, Gimpel 2016,
/// <https://arxiv.org/abs/1606.08415>): PyTorch's `gelu` without approximation, the activation of timm's vision
/// transformers. Any shape.
///
/// Its derivative is Φ(x) + x φ(x). `Err` for an element type that is no float.
pub fn gelu<X: Activation>(x: &X) -> Result<X> {
    let x = &x.input()?;
    on_device!(x.values(), X::gelu(x))
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
    let sum = on_device!(a.values(), sum(a.values(), b.values()))?;
    X::record("add", &[a, b], &[], sum, a.values().shape(), |Pass::<2> { wanted, dy, .. }| {
        Ok(wanted.map(|wanted| wanted.then(|| dy.clone())))
    })
}

//! LayerScale: a residual block whose branch has a scale for every feature.

use super::same_dtype;
use crate::dispatch::on_device;
use crate::graph::{Activation, Recorded};
use candle_core::{Result, Tensor, bail};

/// h + γ ⊙ x, the activations `h` and `x` of one shape `[.., d]`, `gamma` `[d]`: the end of a residual block with
/// LayerScale (Touvron et al. 2021, <https://arxiv.org/abs/2103.17239>), as timm's `ls1` and `ls2`.
///
/// The gradient of γ is a sum over all positions of dy ⊙ x, in f64 on the CPU. `Err` if shapes or element types do not
/// fit.
pub fn layer_scale<X: Activation>(h: &X, x: &X, gamma: &Tensor) -> Result<X> {
    let dims = x.values().dims();
    if h.values().dims() != dims {
        bail!("layer_scale: shapes differ: h {:?} and x {dims:?}", h.values().dims());
    }
    let Some(&d) = dims.last().filter(|d| **d > 0) else {
        bail!("layer_scale: expected x [.., d] with d of at least 1, got {dims:?}")
    };
    if gamma.dims() != [d] {
        bail!("layer_scale: x {dims:?} needs a gamma [{d}], got {:?}", gamma.dims());
    }
    same_dtype("layer_scale", &[h.values(), x.values()])?;
    let (h, x, gamma) = (&h.input()?, &x.input()?, &gamma.input()?);
    on_device!(x.values(), X::layer_scale(h, x, gamma))
}

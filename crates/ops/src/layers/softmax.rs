//! The softmax of rows.

use crate::dispatch::on_device;
use crate::graph::Activation;
use candle_core::{Result, bail};

/// exp(xᵢ) / Σⱼ exp(xⱼ) over the last dimension of `x` `[.., c]`: PyTorch's `softmax(dim=-1)`. The largest element is
/// subtracted first, so nothing overflows, and −∞ becomes 0.
///
/// Its gradient is yᵢ (dyᵢ − Σⱼ dyⱼ yⱼ). `Err` for a scalar, or an element type that is no float.
pub fn softmax<X: Activation>(x: &X) -> Result<X> {
    let Some(&c) = x.values().dims().last() else { bail!("softmax: expected x [.., c], got a scalar") };
    let x = &x.input()?;
    on_device!(x.values(), X::softmax(x, c))
}

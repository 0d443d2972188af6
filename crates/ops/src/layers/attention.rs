//! Multi-head self-attention as one op.

use super::AttentionSize;
use crate::dispatch::on_device;
use crate::graph::Activation;
use candle_core::{Result, bail};

/// softmax(Q Kᵀ / √(d/heads)) V in every head of every sample (Vaswani et al. 2017,
/// <https://arxiv.org/abs/1706.03762>), the results of the heads side by side: `[b, n, d]`.
///
/// `qkv` is `[b, n, 3 d]` as timm's `attn.qkv` yields it: queries, keys and values one after the other, each the heads
/// side by side. There is no mask and no dropout. The gradient is exact; the bits do not depend on the number of
/// threads.
///
/// `Err` for another rank, or if `heads` does not divide d.
pub fn attention<X: Activation>(qkv: &X, heads: usize) -> Result<X> {
    let dims = qkv.values().dims();
    let &[b, n, packed] = dims else { bail!("attention: expected qkv [b, n, 3 d], got {dims:?}") };
    if heads == 0 || packed == 0 || !packed.is_multiple_of(3 * heads) {
        bail!("attention: expected qkv [b, n, 3 d] with {heads} heads that divide d, got {dims:?}");
    }
    let size = AttentionSize { b, n, d: packed / 3, heads };
    let qkv = &qkv.input()?;
    on_device!(qkv.values(), X::attention(qkv, size))
}

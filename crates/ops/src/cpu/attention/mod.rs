//! Multi-head self-attention as one op.
//!
//! A task is a head of a sample: its scores, `[n, n]`, live in that thread's scratch memory and never in a tensor. The
//! backward computes them again from what is saved, the largest score and the sum of each row, which costs one product
//! of five and saves `heads · n²` numbers a sample.

mod head;
mod products;

use crate::float::{Float, with_float, with_slice};
use crate::node::{Activation, Pass, constant, on_cpu};
use crate::parallel::Region;
use crate::profile::timed;
use candle_core::{Result, bail};
use head::Head;
use pulp::Arch;
use rayon::prelude::*;

/// softmax(Q Kᵀ / √(d/heads)) V in every head of every sample (Vaswani et al. 2017,
/// <https://arxiv.org/abs/1706.03762>), the heads' results side by side: `[b, n, d]`.
///
/// `qkv` is `[b, n, 3 d]` as timm's `attn.qkv` yields it: queries, keys and values one after the other, each the heads
/// side by side. Without a mask and without dropout. The gradient is exact; the bits do not depend on the number of
/// threads.
///
/// `Err` for another rank, or if `heads` does not divide d.
pub fn attention<X: Activation>(qkv: &X, heads: usize) -> Result<X> {
    let dims = qkv.values().dims();
    let &[b, n, packed] = dims else { bail!("attention: expected qkv [b, n, 3 d], got {dims:?}") };
    if heads == 0 || packed == 0 || !packed.is_multiple_of(3 * heads) {
        bail!("attention: expected qkv [b, n, 3 d] with {heads} heads that divide d, got {dims:?}");
    }
    let size = Size { b, n, d: packed / 3, heads };
    let qkv = &qkv.input()?;
    #[cfg(feature = "cuda")]
    if let Some(gpu) = crate::cuda::Gpu::of(qkv.values())? {
        return crate::cuda::attention(&gpu, qkv, size);
    }
    with_float!("attention", qkv.values(), T => {
        let (y, saved) = timed(|| size.named("forward", 2), || with_slice::<T, _>(qkv.values(), |qkv| Ok(size.forward(qkv))))?;
        X::record("attention", &[qkv], &[], on_cpu(y), [b, n, size.d].as_slice(), move |Pass { inputs: [qkv], y, dy, .. }| {
            let backward = || with_slice::<T, _>(qkv, |qkv| {
                with_slice(y, |y| with_slice(dy, |dy| Ok(size.backward(qkv, y, dy, &saved))))
            });
            Ok([Some(constant(timed(|| size.named("backward", 4), backward)?, qkv.shape())?)])
        })
    })
}

/// Samples, tokens, features, heads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) b: usize,
    pub(crate) n: usize,
    pub(crate) d: usize,
    pub(crate) heads: usize,
}

/// The largest score of a row, and 1 over the sum of its exponentials.
#[derive(Clone, Copy)]
struct Saved<T> {
    most: T,
    share: T,
}

impl Size {
    /// Features of a head.
    pub(crate) fn features(&self) -> usize {
        self.d / self.heads
    }

    /// 1 / √features
    pub(crate) fn scale(&self) -> f64 {
        1.0 / (self.features() as f64).sqrt()
    }

    /// A pass of so many products in a profile.
    fn named(&self, pass: &str, products: usize) -> (String, f64) {
        let &Size { b, n, d, heads } = self;
        (format!("attention [{b}, {n}, {d}] of {heads} heads {pass}"), 2.0 * (products * b * n * n * d) as f64)
    }

    /// Runs `f` for every head of every sample, on its own part of `saved`.
    fn heads<T: Float>(&self, saved: &mut [Saved<T>], f: impl Fn(Head, usize, &mut [Saved<T>]) + Sync) {
        saved.par_chunks_mut(self.n.max(1)).enumerate().for_each(|(i, saved)| {
            let head = Head { n: self.n, d: self.d, features: self.features(), scale: self.scale(), arch: Arch::new() };
            f(head, i, saved);
        });
    }

    /// Where the head with number `i` begins in a tensor of `parts` d features a token.
    fn start(&self, i: usize, parts: usize) -> usize {
        let (sample, head) = (i / self.heads, i % self.heads);
        sample * self.n * parts * self.d + head * self.features()
    }

    fn forward<T: Float>(&self, qkv: &[T]) -> (Vec<T>, Vec<Saved<T>>) {
        let len = self.b * self.n * self.d;
        let mut y = Vec::with_capacity(len);
        let mut saved = vec![Saved { most: T::ZERO, share: T::ZERO }; self.b * self.heads * self.n];
        let out = Region::of_capacity(&mut y);
        self.heads(&mut saved, |head, i, saved| {
            head.forward(&qkv[self.start(i, 3)..], out.after(self.start(i, 1)), saved);
        });
        // SAFETY: the capacity is `len`, and every head has written its features of every token.
        unsafe { y.set_len(len) };
        (y, saved)
    }

    fn backward<T: Float>(&self, qkv: &[T], y: &[T], dy: &[T], saved: &[Saved<T>]) -> Vec<T> {
        let mut dqkv = Vec::with_capacity(qkv.len());
        let out = Region::of_capacity(&mut dqkv);
        self.heads(&mut saved.to_vec(), |head, i, saved| {
            let (packed, single) = (self.start(i, 3), self.start(i, 1));
            head.backward(&qkv[packed..], &y[single..], &dy[single..], saved, out.after(packed));
        });
        // SAFETY: the capacity is that of qkv, and every head has written its queries, keys and values of every token.
        unsafe { dqkv.set_len(qkv.len()) };
        dqkv
    }
}

//! Multi-head self-attention as one op.
//!
//! A task is a head of a sample: its scores, `[n, n]`, live in that thread's scratch memory, a block of queries at a
//! time, and never in a tensor. The backward computes them again from what is saved, the largest score and the sum of
//! each row, which costs one product of five and saves `heads · n²` numbers a sample.

mod head;

use super::float::{Float, constant, on_cpu, with_float, with_slice};
use super::parallel::{Region, for_chunks, with_work};
use super::vector::prefetch;
use crate::graph::{Activation, Pass};
use crate::layers::AttentionSize;
use crate::profile::timed;
use candle_core::Result;
use head::Head;
use pulp::Arch;

/// [`attention`](crate::attention), whose shapes are checked.
pub(crate) fn attention<X: Activation>(qkv: &X, size: AttentionSize) -> Result<X> {
    with_float!("attention", qkv.values(), T => {
        let (y, saved) = timed(|| size.named("forward", 2), || with_slice::<T, _>(qkv.values(), |qkv| Ok(size.forward(qkv))))?;
        X::record("attention", &[qkv], &[], on_cpu(y), (size.b, size.n, size.d), move |Pass { inputs: [qkv], y, dy, .. }| {
            let backward = || with_slice::<T, _>(qkv, |qkv| {
                with_slice(y, |y| with_slice(dy, |dy| Ok(size.backward(qkv, y, dy, &saved))))
            });
            Ok([Some(constant(timed(|| size.named("backward", 4), backward)?, qkv.shape())?)])
        })
    })
}

/// The largest score of a row, and 1 over the sum of its exponentials.
#[derive(Clone, Copy)]
struct Saved<T> {
    most: T,
    share: T,
}

impl AttentionSize {
    /// A pass of so many products in a profile.
    fn named(&self, pass: &str, products: usize) -> (String, f64) {
        let &AttentionSize { b, n, d, heads } = self;
        (format!("attention [{b}, {n}, {d}] of {heads} heads {pass}"), 2.0 * (products * b * n * n * d) as f64)
    }

    /// Runs `f` for every head of every sample, on its own part of `saved`.
    fn heads<T: Float>(&self, saved: &mut [Saved<T>], f: impl Fn(Head, usize, &mut [Saved<T>]) + Sync) {
        let one = |i: usize, saved: &mut [Saved<T>]| {
            let head = Head { n: self.n, d: self.d, features: self.features(), scale: self.scale(), arch: Arch::new() };
            f(head, i, saved);
        };
        let multiplications = 2 * self.b * self.n * self.n * self.d; // of the forward
        with_work(multiplications, || for_chunks(saved, self.n, one));
    }

    /// Where the head with number `i` begins in a tensor of `parts` d features a token.
    fn start(&self, i: usize, parts: usize) -> usize {
        let (sample, head) = (i / self.heads, i % self.heads);
        sample * self.n * parts * self.d + head * self.features()
    }

    /// Asks for what head `i` reads in a tensor of `parts` d features a token, if there is such a head. Its rows are
    /// short and far apart, which no processor guesses; they come while the head before it is computed.
    fn prefetch<T: Float>(&self, x: &[T], i: usize, parts: usize) {
        if i >= self.b * self.heads {
            return;
        }
        let features = x[self.start(i, parts)..].chunks(self.d).map(|row| &row[..self.features().min(row.len())]);
        features.take(self.n * parts).for_each(prefetch);
    }

    fn forward<T: Float>(&self, qkv: &[T]) -> (Vec<T>, Vec<Saved<T>>) {
        let len = self.b * self.n * self.d;
        let mut y = Vec::with_capacity(len);
        let mut saved = vec![Saved { most: T::ZERO, share: T::ZERO }; self.b * self.heads * self.n];
        let out = Region::of_capacity(&mut y);
        self.heads(&mut saved, |head, i, saved| {
            self.prefetch(qkv, i + 1, 3);
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
            self.prefetch(qkv, i + 1, 3);
            [y, dy].into_iter().for_each(|single| self.prefetch(single, i + 1, 1));
            head.backward(&qkv[packed..], &y[single..], &dy[single..], saved, out.after(packed));
        });
        // SAFETY: the capacity is that of qkv, and every head has written its queries, keys and values of every token.
        unsafe { dqkv.set_len(qkv.len()) };
        dqkv
    }
}

//! One head of one sample: a few products of matrices with the softmax of rows between them, for a block of queries at
//! a time, so that its scores stay in cache however many tokens there are.

use super::Saved;
use crate::cpu::float::Float;
use crate::cpu::parallel::Region;
use crate::cpu::product::{Left, Matrix, PackRight, Product, Start, right_len};
use crate::cpu::rows;
use crate::cpu::softmax::exponentials;
use crate::cpu::vector::{vectorised, width};
use pulp::Arch;
use std::ops::Range;

/// Queries of a block at most.
const QUERIES: usize = 72;

/// n tokens, of whose d features this head has `features`.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub(super) n: usize,
    pub(super) d: usize,
    pub(super) features: usize,
    pub(super) scale: f64,
    pub(super) arch: Arch,
}

/// The part of a slice that a task reads.
fn read<T>(slice: &[T]) -> Region<T> {
    Region::to_read(slice)
}

impl Head {
    /// Elements between rows of scores: whole vectors, so that no loop over them has a rest. The scores beyond `n` are
    /// −∞, so they have no weight.
    fn row<T: Float>(&self) -> usize {
        self.n.next_multiple_of(width::<T>(self.arch))
    }

    /// What the scores of a row are added to.
    fn before_scores<'a, T: Float>(&self, row: &'a mut [T]) -> Start<'a, T> {
        row[..self.n].fill(T::ZERO);
        row[self.n..].fill(T::narrow(f64::NEG_INFINITY));
        Start::Row(row)
    }

    /// Queries of a block.
    fn block(&self) -> usize {
        self.n.div_ceil(self.n.div_ceil(QUERIES).max(1)).max(1)
    }

    fn blocks(&self) -> impl Iterator<Item = Range<usize>> {
        let (n, block) = (self.n, self.block());
        (0..n).step_by(block).map(move |start| start..(start + block).min(n))
    }

    /// `b` in panels, in `to`.
    fn pack<T: Float>(&self, from: Matrix<T>, inner: usize, columns: usize, to: &mut [T]) {
        self.arch.dispatch(PackRight { from, inner, columns, to: Region::of(to) });
    }

    /// c = start + a · b, where b is in panels.
    fn multiply<T: Float>(
        &self,
        a: Matrix<T>,
        b: &[T],
        start: Start<T>,
        c: Matrix<T>,
        [rows, inner, columns]: [usize; 3],
    ) {
        self.arch.dispatch(Product { rows, inner, columns, a: Left::Matrix(a), b, start, c });
    }

    /// Scratch memory in parts of these lengths.
    fn with_scratch<T: Float, const N: usize>(&self, lengths: [usize; N], f: impl FnOnce([&mut [T]; N])) {
        let padded = |len: &usize| len.next_multiple_of(64);
        T::scratch(lengths.iter().map(padded).sum(), |mut memory| {
            f(lengths.each_ref().map(|len| {
                let (part, rest) = std::mem::take(&mut memory).split_at_mut(padded(len));
                memory = rest;
                &mut part[..*len]
            }));
        });
    }

    /// Elements of a matrix of keys or values in panels, and of its transpose.
    fn panels<T: Float>(&self) -> (usize, usize) {
        let width = width::<T>(self.arch);
        (right_len(self.n, self.features, width), right_len(self.features, self.n, width))
    }

    /// Queries, keys and values of a packed tensor, `[n, features]`.
    fn parts<T>(&self, qkv: Region<T>) -> [Matrix<T>; 3] {
        [0, 1, 2].map(|part| Matrix::rows(qkv.after(part * self.d), 3 * self.d))
    }

    /// y `[n, features]` of the tokens, rows `d` apart.
    pub(super) fn forward<T: Float>(&self, qkv: &[T], y: Region<T>, saved: &mut [Saved<T>]) {
        let (n, features, row) = (self.n, self.features, self.row::<T>());
        let [q, k, v] = self.parts(read(qkv));
        let (panels, transposed) = self.panels::<T>();
        self.with_scratch([transposed, panels, self.block() * row, row], |[keys, values, scores, before]| {
            let before = self.before_scores(before);
            self.pack(k.transposed(), features, n, keys);
            self.pack(v, n, features, values);
            for block in self.blocks() {
                let weights = Matrix::rows(Region::of(scores), row);
                self.multiply(q.from(block.start, 0), keys, before, weights, [block.len(), features, row]);
                let scale = T::narrow(self.scale);
                vectorised(
                    #[inline(always)]
                    || {
                        for (scores, saved) in scores.chunks_exact_mut(row).zip(&mut saved[block.clone()]) {
                            let (most, sum) = exponentials(scores, scale);
                            let share = T::narrow(1.0 / sum);
                            scores.iter_mut().for_each(|weight| *weight *= share);
                            *saved = Saved { most, share };
                        }
                    },
                );
                let y = Matrix::rows(y, self.d).from(block.start, 0);
                self.multiply(weights, values, Start::Zero, y, [block.len(), n, features]);
            }
        });
    }

    /// dq, dk, dv of the tokens, packed as they are. With P the softmax and D = dy vᵀ,
    /// dv = Pᵀ dy, G = P ∘ (D − rowsum(dy ∘ y)) / √features, dq = G k, dk = Gᵀ q.
    pub(super) fn backward<T: Float>(&self, qkv: &[T], y: &[T], dy: &[T], saved: &[Saved<T>], dqkv: Region<T>) {
        let (n, d, features, row) = (self.n, self.d, self.features, self.row::<T>());
        let ([q, k, v], out) = (self.parts(read(qkv)), Matrix::rows(read(dy), d));
        let [dq, dk, dv] = self.parts(dqkv);
        let (panels, transposed) = self.panels::<T>();
        let scores = self.block() * row;
        let lengths = [transposed, transposed, panels, panels, scores, scores, row];
        self.with_scratch(lengths, |[keys_across, values_across, keys, packed, weights, gradients, before]| {
            let before = self.before_scores(before);
            self.pack(k.transposed(), features, n, keys_across);
            self.pack(v.transposed(), features, n, values_across);
            self.pack(k, n, features, keys);
            for block in self.blocks() {
                let (first, rows) = (block.start, block.len());
                let (q, out) = (q.from(first, 0), out.from(first, 0));
                let (p, g) = (Matrix::rows(Region::of(weights), row), Matrix::rows(Region::of(gradients), row));
                self.multiply(q, keys_across, before, p, [rows, features, row]);
                self.multiply(out, values_across, Start::Zero, g, [rows, features, row]);
                let scale = T::narrow(self.scale);
                vectorised(
                    #[inline(always)]
                    || {
                        let rows = weights.chunks_exact_mut(row).zip(gradients.chunks_exact_mut(row));
                        for (i, (weights, gradients)) in block.clone().zip(rows) {
                            let mean = T::narrow(rows::product(&dy[i * d..][..features], &y[i * d..][..features]));
                            let Saved { most, share } = saved[i];
                            for (weight, gradient) in weights.iter_mut().zip(gradients) {
                                *weight = ((*weight - most) * scale).exp_negative() * share;
                                *gradient = *weight * (*gradient - mean) * scale;
                            }
                        }
                    },
                );
                // Each block of queries adds its terms of dk and dv, the first one to nothing.
                let start = if first == 0 { Start::Zero } else { Start::Sum };
                self.pack(out, rows, features, packed);
                self.multiply(p.transposed(), packed, start, dv, [n, rows, features]);
                self.pack(q, rows, features, packed);
                self.multiply(g.transposed(), packed, start, dk, [n, rows, features]);
                self.multiply(g, keys, Start::Zero, dq.from(first, 0), [rows, n, features]);
            }
        });
    }
}

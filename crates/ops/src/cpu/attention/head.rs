//! One head of one sample: a few products of matrices with the softmax of rows between them.

use super::Saved;
use super::products::{Matrix, Product, pack, panels_len};
use crate::cpu::float::Float;
use crate::cpu::parallel::Region;
use crate::cpu::rows;
use crate::cpu::softmax::{exponentials, shifted_exponentials};
use crate::cpu::vector::{vectorised, width};
use pulp::Arch;

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
    /// Elements between rows of scores.
    fn row(&self) -> usize {
        self.n.next_multiple_of(16)
    }

    /// c = a · b, where `packed` is memory for the panels of b, and c is `[n, columns]`.
    fn multiply<T: Float>(
        &self,
        a: Matrix<T>,
        b: Matrix<T>,
        c: Matrix<T>,
        inner: usize,
        columns: usize,
        packed: &mut [T],
    ) {
        // SAFETY: the matrices are this head's, in slices that are long enough.
        unsafe { pack(b, inner, columns, width::<T>(self.arch), packed) };
        self.arch.dispatch(Product { rows: self.n, inner, columns, a, b: packed, c });
    }

    /// Memory for the panels of the largest matrix that is packed, and for `scores` matrices of scores.
    fn with_scratch<T: Float>(&self, scores: usize, f: impl FnOnce(&mut [T], &mut [T])) {
        let width = width::<T>(self.arch);
        let panels = panels_len(self.features, self.n, width).max(panels_len(self.n, self.features, width));
        let panels = panels.next_multiple_of(64);
        T::scratch(panels + scores * self.n * self.row(), |memory| {
            let (packed, scores) = memory.split_at_mut(panels);
            f(packed, scores);
        });
    }

    /// Queries, keys and values of a packed tensor, `[n, features]`.
    fn parts<T>(&self, qkv: Region<T>) -> [Matrix<T>; 3] {
        [0, 1, 2].map(|part| Matrix::rows(qkv.after(part * self.d), 3 * self.d))
    }

    /// y `[n, features]` of the tokens, rows `d` apart.
    pub(super) fn forward<T: Float>(&self, qkv: &[T], y: Region<T>, saved: &mut [Saved<T>]) {
        let (n, features, row) = (self.n, self.features, self.row());
        let [q, k, v] = self.parts(read(qkv));
        self.with_scratch(1, |packed, scores: &mut [T]| {
            let weights = Matrix::rows(Region::of(scores), row);
            self.multiply(q, k.transposed(), weights, features, n, packed);
            let scale = T::narrow(self.scale);
            vectorised(
                #[inline(always)]
                || {
                    for (scores, saved) in scores.chunks_exact_mut(row).zip(&mut *saved) {
                        let (most, sum) = exponentials(&mut scores[..n], scale);
                        let share = T::narrow(1.0 / sum);
                        scores[..n].iter_mut().for_each(|weight| *weight *= share);
                        *saved = Saved { most, share };
                    }
                },
            );
            self.multiply(weights, v, Matrix::rows(y, self.d), n, features, packed);
        });
    }

    /// dq, dk, dv of the tokens, packed as they are. With P the softmax and D = dy vᵀ,
    /// dv = Pᵀ dy, G = P ∘ (D − rowsum(dy ∘ y)) / √features, dq = G k, dk = Gᵀ q.
    pub(super) fn backward<T: Float>(&self, qkv: &[T], y: &[T], dy: &[T], saved: &[Saved<T>], dqkv: Region<T>) {
        let (n, d, features, row) = (self.n, self.d, self.features, self.row());
        let [q, k, v] = self.parts(read(qkv));
        let [dq, dk, dv] = self.parts(dqkv);
        let out = Matrix::rows(read(dy), d);
        self.with_scratch(2, |packed, scores: &mut [T]| {
            let (weights, gradients) = scores.split_at_mut(n * row);
            let (p, g) = (Matrix::rows(Region::of(weights), row), Matrix::rows(Region::of(gradients), row));
            let scale = T::narrow(self.scale);
            self.multiply(q, k.transposed(), p, features, n, packed);
            vectorised(
                #[inline(always)]
                || {
                    for (weights, saved) in weights.chunks_exact_mut(row).zip(saved) {
                        shifted_exponentials(&mut weights[..n], scale, saved.most);
                        weights[..n].iter_mut().for_each(|weight| *weight *= saved.share);
                    }
                },
            );
            self.multiply(p.transposed(), out, dv, n, features, packed);
            self.multiply(out, v.transposed(), g, features, n, packed);
            vectorised(
                #[inline(always)]
                || {
                    let rows = weights.chunks_exact(row).zip(gradients.chunks_exact_mut(row));
                    for (i, (weights, gradients)) in rows.enumerate() {
                        let mean = T::narrow(rows::product(&dy[i * d..][..features], &y[i * d..][..features]));
                        for (gradient, &weight) in gradients[..n].iter_mut().zip(weights) {
                            *gradient = weight * (*gradient - mean) * scale;
                        }
                    }
                },
            );
            self.multiply(g, k, dq, n, features, packed);
            self.multiply(g.transposed(), q, dk, n, features, packed);
        });
    }
}

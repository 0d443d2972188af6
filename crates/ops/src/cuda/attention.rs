//! Attention: products of all heads at once, with the softmax of the scores between them.
//!
//! The heads are split, `[b, heads, n, features]`, so that they are one batch of products. Scores are f32 in
//! each precision; their softmax is kept for the backward, in the type of the activations.

use super::device_of;
use super::gpu::Gpu;
use super::launch::{Grid, Pointer, arguments};
use super::memory::Fresh;
use super::product::{Batch, Product};
use super::rows::{Rows, softmax_gradient_rows, softmax_rows};
use crate::graph::{Activation, Pass};
use crate::graph::{Precision, precision};
use crate::layers::AttentionSize;
use candle_core::{DType, Result, Tensor, bail};

/// [`attention`](crate::attention), whose shapes are checked.
pub(crate) fn attention<X: Activation>(gpu: &Gpu, qkv: &X, size: AttentionSize) -> Result<X> {
    let x = qkv.values();
    let dtype = x.dtype();
    let precision = match (dtype, precision()) {
        (DType::BF16, _) => Precision::Bf16,
        (DType::F32, Precision::F32) => Precision::F32,
        (DType::F32, _) => Precision::Tf32,
        (other, _) => bail!("attention: activations on a GPU are f32 or bf16, not {other:?}"),
    };
    let heads = Heads { size, precision, dtype };
    let [q, k, v] = heads.apart(gpu, x, 3)?;
    let scores = gpu.empty(DType::F32, heads.scores())?;
    heads.multiply(gpu, Sort::Scores, q.pointer()?, k.pointer()?, scores.pointer()?)?;
    let weights = gpu.empty(dtype, heads.scores())?;
    softmax_rows(gpu, heads.rows(), (scores.pointer()?, DType::F32), (weights.pointer()?, dtype), size.scale())?;
    let y = gpu.empty(dtype, heads.features())?;
    heads.multiply(gpu, Sort::Features, weights.pointer()?, v.pointer()?, y.pointer()?)?;
    let y = heads.together(gpu, [&y, &y, &y], 1)?;
    let weights = weights.into_tensor(heads.scores());
    let AttentionSize { b, n, d, .. } = size;
    X::record("attention", &[qkv], &[], y.into_storage(), (b, n, d), move |Pass { inputs: [x], dy, .. }| {
        let dx = heads.backward(&*device_of(dy)?, x, Pointer::of(&weights)?, dy)?;
        Ok([Some(dx.into_tensor(x.shape()))])
    })
}

#[derive(Clone, Copy)]
struct Heads {
    size: AttentionSize,
    precision: Precision,
    dtype: DType,
}

/// A product of each head, by what it yields.
#[derive(Clone, Copy)]
enum Sort {
    /// `[n, n]`, f32: features times features, transposed.
    Scores,
    /// `[n, features]`: scores times features.
    Features,
    /// `[n, features]`: scores, transposed, times features.
    FeaturesOfColumns,
}

impl Heads {
    /// Elements between rows of scores, so that each begins at a multiple of 16 bytes.
    fn row(&self) -> usize {
        self.size.n.next_multiple_of(8)
    }

    fn rows(&self) -> Rows {
        let AttentionSize { b, n, heads, .. } = self.size;
        Rows { rows: b * heads * n, c: n, apart: self.row() }
    }

    /// Elements of all scores.
    fn scores(&self) -> usize {
        self.rows().rows * self.row()
    }

    /// Elements of all queries, keys, values or results.
    fn features(&self) -> usize {
        self.size.b * self.size.n * self.size.d
    }

    fn multiply(&self, gpu: &Gpu, sort: Sort, a: Pointer, b: Pointer, c: Pointer) -> Result<()> {
        let (n, features, row) = (self.size.n, self.size.features(), self.row());
        let (inner, columns, transposed, apart) = match sort {
            Sort::Scores => (features, n, (false, true), [features, features, row]),
            Sort::Features => (n, features, (false, false), [row, features, features]),
            Sort::FeaturesOfColumns => (n, features, (true, false), [row, features, features]),
        };
        let wide = matches!(sort, Sort::Scores);
        let batch = Some(Batch { count: self.size.b * self.size.heads, apart });
        let product = Product { rows: n, inner, columns, transposed, precision: self.precision, wide, batch };
        gpu.multiply(product, a, b, c)
    }

    /// The heads of `parts` parts of a packed tensor.
    fn apart(&self, gpu: &Gpu, packed: &Tensor, parts: usize) -> Result<[Fresh; 3]> {
        let part = |i: usize| gpu.empty(self.dtype, if i < parts { self.features() } else { 1 });
        let all = [part(0)?, part(1)?, part(2)?];
        self.place(gpu, Pointer::of(packed)?, [&all[0], &all[1], &all[2]], parts, false)?;
        Ok(all)
    }

    /// The packed tensor of the heads of `parts` parts.
    fn together(&self, gpu: &Gpu, parts_of: [&Fresh; 3], parts: usize) -> Result<Fresh> {
        let packed = gpu.empty(self.dtype, parts * self.features())?;
        self.place(gpu, packed.pointer()?, parts_of, parts, true)?;
        Ok(packed)
    }

    fn place(&self, gpu: &Gpu, packed: Pointer, apart: [&Fresh; 3], parts: usize, back: bool) -> Result<()> {
        let n = parts * self.features();
        let at = |i: usize| if i < parts { apart[i].pointer() } else { Ok(Pointer::NONE) };
        let AttentionSize { n: tokens, heads, .. } = self.size;
        let arguments = arguments![packed, at(0)?, at(1)?, at(2)?, n, tokens, parts, heads, self.size.features(), back];
        let kernel = if self.dtype == DType::BF16 { "heads_bf16" } else { "heads_f32" };
        gpu.launch(kernel, Grid::over(n), arguments)
    }

    /// dqkv. With P the softmax and D = dy vᵀ: dv = Pᵀ dy, G = P ∘ (D − rowsum(P ∘ D)) / √features, dq = G k, dk = Gᵀ
    /// q.
    fn backward(&self, gpu: &Gpu, x: &Tensor, weights: Pointer, dy: &Tensor) -> Result<Fresh> {
        let [q, k, v] = self.apart(gpu, x, 3)?;
        let [out, ..] = self.apart(gpu, dy, 1)?;
        let features = || gpu.empty(self.dtype, self.features());
        let (dq, dk, dv) = (features()?, features()?, features()?);
        self.multiply(gpu, Sort::FeaturesOfColumns, weights, out.pointer()?, dv.pointer()?)?;
        let gradients = gpu.empty(DType::F32, self.scores())?;
        self.multiply(gpu, Sort::Scores, out.pointer()?, v.pointer()?, gradients.pointer()?)?;
        let scores = gpu.empty(self.dtype, self.scores())?;
        let (of_weights, from) = ((weights, self.dtype), (gradients.pointer()?, DType::F32));
        softmax_gradient_rows(gpu, self.rows(), of_weights, from, scores.pointer()?, self.size.scale())?;
        self.multiply(gpu, Sort::Features, scores.pointer()?, k.pointer()?, dq.pointer()?)?;
        self.multiply(gpu, Sort::FeaturesOfColumns, scores.pointer()?, q.pointer()?, dk.pointer()?)?;
        self.together(gpu, [&dq, &dk, &dv], 3)
    }
}

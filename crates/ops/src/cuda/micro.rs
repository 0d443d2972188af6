//! Micro-batches on a GPU: what each contributes to the gradient of a parameter, and parameters that are displaced for
//! each; see `per_sample::micro`.

use super::activations::sums_of_chunks;
use super::conv::{Layer, turned};
use super::device_of;
use super::gpu::Gpu;
use super::launch::{Grid, Pointer, arguments, in_grid};
use crate::per_sample::groups::Groups;
use crate::per_sample::micro::Displacement;
use crate::per_sample::recorder::{Factors, Gradients, Terms};
use candle_core::{DType, Result, Tensor, bail};

/// The values of a parameter, f32: the same for all rows, or displaced for each micro-batch.
pub(super) struct Values {
    all: Tensor,
    /// Elements of the parameter.
    pub len: usize,
    /// Rows that share them; for all, more than there are.
    pub rows: usize,
}

impl Values {
    /// The same for all.
    pub(super) fn plain(param: &Tensor) -> Self {
        Self { all: param.clone(), len: param.elem_count(), rows: i64::MAX as usize }
    }

    /// Those of a parameter of `op` for a batch of so many samples, of so many rows each.
    pub(super) fn of(
        gpu: &Gpu,
        op: &str,
        param: &Tensor,
        displaced: Option<&Displacement>,
        (samples, rows): (usize, usize),
    ) -> Result<Self> {
        let Some(displaced) = displaced else { return Ok(Self::plain(param)) };
        let groups = displaced.groups_of(op, samples)?;
        let Gradients::Formed(gradients) = &*displaced.gradients else {
            bail!("{op}: a gradient that is kept as factors has no values")
        };
        let len = param.elem_count();
        let all = gpu.empty(DType::F32, groups.count() * len)?;
        let from = [Pointer::of(param)?, Pointer::of(gradients)?, Pointer::of(&displaced.scales)?];
        moved(gpu, DType::F32, from, all.pointer()?, (groups.count(), len))?;
        Ok(Self { all: all.into_tensor((groups.count(), len)), len, rows: groups.size * rows })
    }

    /// Where they begin.
    pub(super) fn pointer(&self) -> Result<Pointer> {
        Pointer::of(&self.all)
    }
}

/// w + cⱼ gⱼ of every row j, in the type `dtype`, from f32 w `[len]`, f32 g `[rows, len]` and f64 c `[rows]`.
pub(super) fn moved(
    gpu: &Gpu,
    dtype: DType,
    [w, g, scales]: [Pointer; 3],
    out: Pointer,
    (rows, len): (usize, usize),
) -> Result<()> {
    let kernel = if dtype == DType::BF16 { "moved_bf16" } else { "moved_f32" };
    gpu.launch(kernel, Grid::over(rows * len), arguments![w, g, scales, out, rows * len, len])
}

/// x times the scale of its row, for `n` elements in rows of `len`, of which the last may have fewer; into `out`, which
/// may be x.
pub(super) fn scaled(
    gpu: &Gpu,
    dtype: DType,
    (x, scales): (Pointer, Pointer),
    out: Pointer,
    (n, len): (usize, usize),
) -> Result<()> {
    let kernel = if dtype == DType::BF16 { "scaled_bf16" } else { "scaled_f32" };
    gpu.launch(kernel, Grid::over(n), arguments![x, scales, out, n, len])
}

/// ⟨xⱼ, yⱼ⟩ of the `rows` rows of `len` elements of two f32 matrices, f64 `[rows]`; and 0 for what is negative.
pub(super) fn products_of_rows(
    gpu: &Gpu,
    [x, y]: [Pointer; 2],
    out: Pointer,
    (rows, len): (usize, usize),
) -> Result<()> {
    let count = len.div_ceil(256 * 16).min(64);
    let parts = gpu.empty(DType::F64, rows * count)?;
    let grid = Grid { blocks: (count as u32, in_grid(rows, "micro-batches")?, 1), threads: (256, 1) };
    gpu.launch("products", grid, arguments![x, y, parts.pointer()?, len])?;
    gpu.launch("add_parts", Grid::over(rows), arguments![parts.pointer()?, out, rows, count])
}

/// The terms of micro-batches whose gradients are f32 `[groups, ..]`.
pub(super) fn terms_of(gpu: &Gpu, groups: Groups, gradients: Tensor, keeps: bool) -> Result<Terms> {
    let rows = groups.count();
    let squares = gpu.empty(DType::F64, rows)?;
    let at = Pointer::of(&gradients)?;
    products_of_rows(gpu, [at, at], squares.pointer()?, (rows, gradients.elem_count() / rows))?;
    let gradients = keeps.then_some(Gradients::Formed(gradients));
    Ok(Terms { samples: groups.samples, squares: squares.into_tensor(rows), gradients })
}

/// The terms of a parameter of `c` elements that is added to every row of x.
pub(super) fn terms_of_sums(x: &Tensor, c: usize, groups: Groups, keeps: bool) -> Result<Terms> {
    let gpu = &*device_of(x)?;
    let rows = x.elem_count() / c / groups.samples;
    terms_of(gpu, groups, sums_of_chunks(gpu, x, c, groups.size * rows)?, keeps)
}

/// Σ wⱼ gⱼ, flat, f32; the weights f64 `[groups]`.
pub(crate) fn weighted_gradient(gpu: &Gpu, gradients: &Gradients, groups: Groups, weights: &Tensor) -> Result<Tensor> {
    match gradients {
        Gradients::Formed(gradients) => {
            let len = gradients.elem_count() / groups.count();
            let sum = gpu.empty(DType::F32, len)?;
            let arguments =
                arguments![Pointer::of(gradients)?, Pointer::of(weights)?, sum.pointer()?, groups.count(), len];
            gpu.launch("weighted_rows", Grid::over(len), arguments)?;
            match *gradients.dims() {
                [_, c_out, taps, c_in] => turned(gpu, DType::F32, sum.pointer()?, [c_out, taps, c_in], len),
                _ => Ok(sum.into_tensor(len)),
            }
        }
        Gradients::Factors(Factors { a, d, g, precision }) => {
            let layer = Layer { g: *g, precision: *precision, dtype: d.dtype() };
            let (n, len) = (d.elem_count(), d.elem_count() / groups.samples * groups.size);
            let by_weight = gpu.empty(d.dtype(), n)?;
            scaled(gpu, d.dtype(), (Pointer::of(d)?, Pointer::of(weights)?), by_weight.pointer()?, (n, len))?;
            layer.grad_weight(gpu, a, &by_weight.into_tensor(d.shape()), &[g.c_out * g.window()])
        }
    }
}

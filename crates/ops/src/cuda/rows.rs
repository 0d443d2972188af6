//! Softmax and layer normalisation: a warp for each row.

use super::activations::column_sums;
use super::gpu::Gpu;
use super::launch::{Grid, Pointer, THREADS, arguments, in_grid};
use super::micro::{Values, terms_of};
use super::{by_dtype, device_of};
use crate::graph::{Activation, Pass};
use crate::per_sample::groups::{Groups, samples};
use crate::per_sample::recorder::take_part;
use candle_core::{DType, Result, Tensor, bail};

/// Rows of `c` elements that begin so many elements apart.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    pub rows: usize,
    pub c: usize,
    pub apart: usize,
}

/// Rows of a sum's parts: at least 64, and at most 256 parts.
pub(super) fn chunk_of(rows: usize) -> usize {
    rows.div_ceil(256).max(64)
}

/// A warp for each row.
fn warps(rows: usize) -> Result<Grid> {
    let blocks = rows.div_ceil(THREADS as usize / 32);
    match blocks <= i32::MAX as usize {
        true => Ok(Grid::of(blocks)),
        false => bail!("{rows} rows are too many for a GPU"),
    }
}

/// softmax(scale · x) of rows of `from` elements, which become `to`.
pub(super) fn softmax_rows(
    gpu: &Gpu,
    r: Rows,
    (x, from): (Pointer, DType),
    (y, to): (Pointer, DType),
    scale: f64,
) -> Result<()> {
    let kernel = match (from, to) {
        (DType::F32, DType::F32) => "softmax_float_float",
        (DType::F32, DType::BF16) => "softmax_float_bf16",
        (DType::BF16, DType::BF16) => "softmax_bf16_bf16",
        _ => bail!("softmax: activations on a GPU are f32 or bf16, not {from:?} that become {to:?}"),
    };
    gpu.launch(kernel, warps(r.rows)?, arguments![x, y, r.rows, r.c, r.apart, r.apart, scale as f32])
}

/// scale · y (dy − Σ y dy), in the type of y.
pub(super) fn softmax_gradient_rows(
    gpu: &Gpu,
    r: Rows,
    (y, to): (Pointer, DType),
    (dy, from): (Pointer, DType),
    dx: Pointer,
    scale: f64,
) -> Result<()> {
    let kernel = match (from, to) {
        (DType::F32, DType::F32) => "softmax_gradient_float_float",
        (DType::F32, DType::BF16) => "softmax_gradient_float_bf16",
        (DType::BF16, DType::BF16) => "softmax_gradient_bf16_bf16",
        _ => bail!("softmax: activations on a GPU are f32 or bf16, not {from:?} that become {to:?}"),
    };
    gpu.launch(kernel, warps(r.rows)?, arguments![y, dy, dx, r.rows, r.c, r.apart, r.apart, scale as f32])
}

/// [`softmax`](crate::softmax) of rows of `c`.
pub(crate) fn softmax<X: Activation>(gpu: &Gpu, x: &X, c: usize) -> Result<X> {
    let (values, dtype) = (x.values(), x.values().dtype());
    let rows = Rows { rows: values.elem_count() / c.max(1), c, apart: c };
    let y = gpu.empty(dtype, values.elem_count())?;
    softmax_rows(gpu, rows, (Pointer::of(values)?, dtype), (y.pointer()?, dtype), 1.0)?;
    X::record("softmax", &[x], &[], y.into_storage(), values.shape(), move |Pass { y, dy, .. }| {
        let gpu = device_of(dy)?;
        let dx = gpu.empty(dtype, y.elem_count())?;
        let (y_at, dy_at) = ((Pointer::of(y)?, dtype), (Pointer::of(dy)?, dy.dtype()));
        softmax_gradient_rows(&gpu, rows, y_at, dy_at, dx.pointer()?, 1.0)?;
        Ok([Some(dx.into_tensor(y.shape()))])
    })
}

/// [`layer_norm`](crate::layer_norm), whose shapes are checked.
pub(crate) fn layer_norm<X: Activation>(gpu: &Gpu, x: &X, (weight, bias): (&Tensor, &Tensor), eps: f64) -> Result<X> {
    for parameter in [weight, bias] {
        if parameter.dtype() != DType::F32 {
            bail!("layer_norm: parameters on a GPU are f32, not {:?}", parameter.dtype());
        }
    }
    let (values, c) = (x.values(), weight.elem_count());
    let rows = values.elem_count() / c;
    let (part, samples) = (take_part("layer_norm", [weight, bias]), samples(values));
    let of_sample = rows / samples.max(1);
    let values_of = |k: usize, param| Values::of(gpu, "layer_norm", param, part.displaced(k), (samples, of_sample));
    let (scale, shift) = (values_of(0, weight)?, values_of(1, bias)?);
    let y = gpu.empty(values.dtype(), values.elem_count())?;
    let (mean, rstd) = (gpu.empty(DType::F32, rows)?, gpu.empty(DType::F32, rows)?);
    let arguments = arguments![
        Pointer::of(values)?,
        scale.pointer()?,
        shift.pointer()?,
        y.pointer()?,
        mean.pointer()?,
        rstd.pointer()?,
        rows,
        c,
        scale.rows,
        shift.rows,
        eps as f32
    ];
    gpu.launch(by_dtype!("layer_norm", values), warps(rows)?, arguments)?;
    let (mean, rstd) = (mean.into_tensor(rows), rstd.into_tensor(rows));
    let back = move |Pass::<3> { inputs: [x, _, _], wanted, dy, .. }: Pass<3>| {
        let gpu = device_of(dy)?;
        let (from, grad, mean, rstd) = (Pointer::of(x)?, Pointer::of(dy)?, Pointer::of(&mean)?, Pointer::of(&rstd)?);
        let dx = if wanted[0] {
            let dx = gpu.empty(x.dtype(), x.elem_count())?;
            let arguments = arguments![from, grad, scale.pointer()?, mean, rstd, dx.pointer()?, rows, c, scale.rows];
            gpu.launch(by_dtype!("layer_norm_input", x), warps(rows)?, arguments)?;
            Some(dx.into_tensor(x.shape()))
        } else {
            None
        };
        // Σ dy x̂ and Σ dy over every `chunk` rows, `[chunks, c]` each.
        let sums = |chunk: usize| -> Result<[Tensor; 2]> {
            let chunks = rows.div_ceil(chunk);
            let (scales, shifts) = (gpu.empty(DType::F32, chunks * c)?, gpu.empty(DType::F32, chunks * c)?);
            let grid = Grid { blocks: (c.div_ceil(32) as u32, in_grid(chunks, "micro-batches")?, 1), threads: (32, 8) };
            let arguments = arguments![from, grad, mean, rstd, scales.pointer()?, shifts.pointer()?, rows, c, chunk];
            gpu.launch(by_dtype!("layer_norm_parameters", x), grid, arguments)?;
            Ok([scales.into_tensor((chunks, c)), shifts.into_tensor((chunks, c))])
        };
        let mut of_groups = None;
        for k in [0, 1] {
            part.measure(k, |size, keeps| {
                let all = match of_groups.take() {
                    Some(all) => all,
                    None => sums(size * of_sample)?,
                };
                let own = all[k].clone();
                of_groups = Some(all);
                terms_of(&gpu, Groups { samples, size }, own, keeps)
            })?;
        }
        let computes = [0, 1].map(|k| part.computes(k, wanted[1 + k]));
        if !computes[0] && !computes[1] {
            return Ok([dx, None, None]);
        }
        let [scales, shifts] = sums(chunk_of(rows))?;
        let sum = |computes: bool, parts: Tensor| computes.then(|| column_sums(&gpu, &parts, c)).transpose();
        Ok([dx, sum(computes[0], scales)?, sum(computes[1], shifts)?])
    };
    X::record("layer_norm", &[x], &[weight, bias], y.into_storage(), values.shape(), back)
}

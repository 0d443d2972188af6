//! What is computed for the samples of a batch.

use super::gpu::Gpu;
use super::launch::{Grid, Pointer, arguments};
use crate::{Reweighted, Slope, Temperature};
use candle_core::{DType, Result, Tensor, bail};

/// [`rms_slopes`](crate::rms_slopes), whose shapes are checked.
pub(crate) fn rms_slopes(gpu: &Gpu, slopes: &[Slope]) -> Result<Tensor> {
    let b = slopes[0].ahead.elem_count();
    let (sum, norms) = (gpu.empty(DType::F64, b)?, gpu.empty(DType::F64, b)?);
    let grid = Grid::of(b.div_ceil(256));
    for (k, Slope { ahead, behind, delta, sides }) in slopes.iter().enumerate() {
        for losses in [ahead, behind] {
            if losses.dtype() != DType::F32 {
                bail!("losses on a GPU are f32, not {:?}", losses.dtype());
            }
        }
        let (ahead, behind) = (ahead.detach().contiguous()?, behind.detach().contiguous()?);
        let from = [Pointer::of(&ahead)?, Pointer::of(&behind)?, Pointer::of(delta)?];
        let arguments = arguments![from[0], from[1], from[2], *sides, sum.pointer()?, b, k == 0];
        gpu.launch("add_squared_slope", grid, arguments)?;
    }
    gpu.launch("root_mean", grid, arguments![sum.pointer()?, norms.pointer()?, b, slopes.len() as f64])?;
    Ok(norms.into_tensor(b))
}

/// √Σₖ xₖⱼ of the columns of x, f64 `[rows, columns]`: norms from the squares of their parts.
pub(crate) fn norms_of_columns(gpu: &Gpu, squares: &Tensor) -> Result<Tensor> {
    let (rows, columns) = squares.dims2()?;
    let norms = gpu.empty(DType::F64, columns)?;
    let arguments = arguments![Pointer::of(squares)?, norms.pointer()?, rows, columns];
    gpu.launch("norms_of_columns", Grid::over(columns), arguments)?;
    Ok(norms.into_tensor(columns))
}

/// [`reweight`](crate::reweight), whose shapes are checked.
pub(crate) fn reweight(gpu: &Gpu, norms: &Tensor, temperature: Temperature) -> Result<Reweighted> {
    let (kind, value) = match temperature {
        Temperature::Raw(lambda) => (0, lambda),
        Temperature::Relative(lambda) => (1, lambda),
        Temperature::EffectiveSize(m) => (2, m),
    };
    let b = norms.elem_count();
    let (weights, measures) = (gpu.empty(DType::F64, b)?, gpu.empty(DType::F64, 4)?);
    let arguments = arguments![Pointer::of(norms)?, weights.pointer()?, measures.pointer()?, b, kind, value];
    gpu.launch("gibbs", Grid::of(1), arguments)?;
    let measures = measures.into_tensor(4);
    let [effective_size, q10, q50, q90] = [0, 1, 2, 3].map(|i| measures.get(i));
    Ok(Reweighted { weights: weights.into_tensor(b), effective_size: effective_size?, quantiles: [q10?, q50?, q90?] })
}

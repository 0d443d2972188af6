//! LayerScale: a residual block whose branch has a scale for every feature.

use super::activations::column_sums;
use super::gpu::Gpu;
use super::launch::{Grid, Pointer, arguments};
use super::{by_dtype, device_of};
use crate::graph::{Activation, Pass};
use candle_core::{DType, Result, Tensor, bail};

/// [`layer_scale`](crate::layer_scale), whose shapes are checked.
pub(crate) fn layer_scale<X: Activation>(gpu: &Gpu, h: &X, x: &X, gamma: &Tensor) -> Result<X> {
    if gamma.dtype() != DType::F32 {
        bail!("layer_scale: parameters on a GPU are f32, not {:?}", gamma.dtype());
    }
    let (values, n, d) = (x.values(), x.values().elem_count(), gamma.elem_count());
    let y = gpu.empty(values.dtype(), n)?;
    let from = [Pointer::of(h.values())?, Pointer::of(values)?, Pointer::of(gamma)?];
    let arguments = arguments![from[0], from[1], from[2], y.pointer()?, n, d];
    gpu.launch(by_dtype!("layer_scale", values), Grid::over(n), arguments)?;
    let back = move |Pass::<3> { inputs: [_, x, gamma], wanted, dy, .. }: Pass<3>| {
        let gpu = device_of(dy)?;
        let input = || -> Result<Tensor> {
            let dx = gpu.empty(x.dtype(), n)?;
            let arguments = arguments![Pointer::of(dy)?, Pointer::of(gamma)?, dx.pointer()?, n, d];
            gpu.launch(by_dtype!("layer_scale_input", x), Grid::over(n), arguments)?;
            Ok(dx.into_tensor(x.shape()))
        };
        let parameter = || -> Result<Tensor> {
            let (rows, chunks) = (n / d, (n / d).div_ceil(64).clamp(1, 256));
            let sums = gpu.empty(DType::F32, chunks * d)?;
            let grid = Grid { blocks: (d.div_ceil(32) as u32, chunks as u32, 1), threads: (32, 8) };
            let arguments = arguments![Pointer::of(x)?, Pointer::of(dy)?, sums.pointer()?, rows, d];
            gpu.launch(by_dtype!("layer_scale_parameter", x), grid, arguments)?;
            column_sums(&gpu, &sums.into_tensor((chunks, d)), d)
        };
        let dh = wanted[0].then(|| dy.clone());
        Ok([dh, wanted[1].then(input).transpose()?, wanted[2].then(parameter).transpose()?])
    };
    X::record("layer_scale", &[h, x], &[gamma], y.into_storage(), values.shape(), back)
}

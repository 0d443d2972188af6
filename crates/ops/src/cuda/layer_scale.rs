//! LayerScale: a residual block whose branch has a scale for every feature.

use super::activations::column_sums;
use super::gpu::Gpu;
use super::launch::{Grid, Pointer, arguments, in_grid};
use super::micro::{Values, terms_of};
use super::rows::chunk_of;
use super::{by_dtype, device_of};
use crate::graph::{Activation, Pass};
use crate::per_sample::groups::{Groups, samples};
use crate::per_sample::recorder::take_part;
use candle_core::{DType, Result, Tensor, bail};

/// [`layer_scale`](crate::layer_scale), whose shapes are checked.
pub(crate) fn layer_scale<X: Activation>(gpu: &Gpu, h: &X, x: &X, gamma: &Tensor) -> Result<X> {
    if gamma.dtype() != DType::F32 {
        bail!("layer_scale: parameters on a GPU are f32, not {:?}", gamma.dtype());
    }
    let (values, n, d) = (x.values(), x.values().elem_count(), gamma.elem_count());
    let (part, samples) = (take_part("layer_scale", [gamma]), samples(values));
    let of_sample = n / d / samples.max(1);
    let scales = Values::of(gpu, "layer_scale", gamma, part.displaced(0), (samples, of_sample))?;
    let y = gpu.empty(values.dtype(), n)?;
    let from = [Pointer::of(h.values())?, Pointer::of(values)?, scales.pointer()?];
    let arguments = arguments![from[0], from[1], from[2], y.pointer()?, n, d, scales.rows];
    gpu.launch(by_dtype!("layer_scale", values), Grid::over(n), arguments)?;
    let back = move |Pass::<3> { inputs: [_, x, _], wanted, dy, .. }: Pass<3>| {
        let gpu = device_of(dy)?;
        let input = || -> Result<Tensor> {
            let dx = gpu.empty(x.dtype(), n)?;
            let arguments = arguments![Pointer::of(dy)?, scales.pointer()?, dx.pointer()?, n, d, scales.rows];
            gpu.launch(by_dtype!("layer_scale_input", x), Grid::over(n), arguments)?;
            Ok(dx.into_tensor(x.shape()))
        };
        // Σ dy x over every `chunk` rows, `[chunks, d]`.
        let sums = |chunk: usize| -> Result<Tensor> {
            let chunks = (n / d).div_ceil(chunk);
            let sums = gpu.empty(DType::F32, chunks * d)?;
            let grid = Grid { blocks: (d.div_ceil(32) as u32, in_grid(chunks, "micro-batches")?, 1), threads: (32, 8) };
            let arguments = arguments![Pointer::of(x)?, Pointer::of(dy)?, sums.pointer()?, n / d, d, chunk];
            gpu.launch(by_dtype!("layer_scale_parameter", x), grid, arguments)?;
            Ok(sums.into_tensor((chunks, d)))
        };
        let parameter = || column_sums(&gpu, &sums(chunk_of(n / d))?, d);
        let terms = |size, keeps| terms_of(&gpu, Groups { samples, size }, sums(size * of_sample)?, keeps);
        let dh = wanted[0].then(|| dy.clone());
        Ok([dh, wanted[1].then(input).transpose()?, part.gradient(0, wanted[2], parameter, terms)?])
    };
    X::record("layer_scale", &[h, x], &[gamma], y.into_storage(), values.shape(), back)
}

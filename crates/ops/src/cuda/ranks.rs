//! Sums over ranks, each of which has a GPU.

use super::gpu::Gpu;
use super::launch::{Grid, Pointer, arguments};
use super::memory::Fresh;
use candle_core::{DType, Result, Tensor, bail};

/// Σᵣ wᵣ cᵣ / `divisor` of the rows cᵣ of `chunks` f32 `[ranks, n]` on a GPU, f32 `[n]`: each entry in f64, in the
/// order of the rows, and rounded once. One launch, and one copy of 8 bytes a row to the GPU.
///
/// `Err` if shape or element type do not fit.
pub fn sum_of_ranks(chunks: &Tensor, weights: &[f64], divisor: f64) -> Result<Tensor> {
    let (&[ranks, n], DType::F32) = (chunks.dims(), chunks.dtype()) else {
        bail!("sum_of_ranks: expected f32 [ranks, n], got {:?} {:?}", chunks.dtype(), chunks.dims())
    };
    if weights.len() != ranks {
        bail!("sum_of_ranks: {} weights for {ranks} rows; expected as many", weights.len());
    }
    let gpu = super::device_of(chunks)?;
    let (chunks, sum) = (chunks.detach().contiguous()?, gpu.empty(DType::F32, n)?);
    let weights = Tensor::from_slice(weights, ranks, chunks.device())?;
    add_up(&gpu, Pointer::of(&chunks)?, &weights, divisor, &sum, 0, n)?;
    Ok(sum.into_tensor(n))
}

/// The same of `len` numbers of each rank, from `chunks` on, written to `out` from entry `first` on.
pub(super) fn add_up(
    gpu: &Gpu,
    chunks: Pointer,
    weights: &Tensor,
    divisor: f64,
    out: &Fresh,
    first: usize,
    len: usize,
) -> Result<()> {
    let (ranks, out) = (weights.elem_count(), out.pointer()?.plus(first * size_of::<f32>()));
    let arguments = arguments![chunks, Pointer::of(weights)?, divisor, out, ranks, len];
    gpu.launch("sum_of_ranks", Grid::over(len), arguments)
}

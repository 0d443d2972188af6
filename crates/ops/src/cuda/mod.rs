//! The ops on an NVIDIA GPU.
//!
//! This module and `cpu` have the same functions, one for each op; [`on_device!`](crate::dispatch) chooses between
//! them. Kernels are CUDA C++, in `kernels/`; convolutions are cuDNN's ([`convolution`](mod@convolution)), products of
//! matrices cuBLASLt's ([`product`]).
//!
//! - Activations are f32 or bfloat16 and channels-last; parameters, gradients of parameters, statistics and losses are
//!   f32; sums are f32 within a block and f64 beyond.
//! - No host-device synchronisation: sizes are on the host, values stay on the GPU.
//! - The bits of a result depend on the shape alone: no atomic sums, and blocks are added in order.

mod activations;
mod attention;
mod conv;
mod convolution;
mod cudnn;
mod dropout;
mod gpu;
mod images;
mod launch;
mod layer_scale;
mod loss;
mod lowered;
mod memory;
mod micro;
mod micro_conv;
#[cfg(feature = "nccl")]
mod nccl;
mod norm;
mod parameters;
mod pool;
mod product;
mod ranks;
mod rows;
mod samples;
mod tokens;

pub(crate) use activations::{cast, copied, gelu, number, relu, sum, zero};
pub(crate) use attention::attention;
pub(crate) use conv::convolution;
pub use convolution::{convolution_plans, convolution_plans_for};
pub(crate) use dropout::dropout;
pub(crate) use gpu::Gpu;
use gpu::locked;
pub use gpu::{cuda_device, gpu_count, gpu_memory_peak, gpu_name};
pub use images::{ImagePlacement, place_images};
pub(crate) use layer_scale::layer_scale;
pub(crate) use loss::{cross_entropy, cross_entropy_of_distributions, last_layer_norms, weighted_sum};
pub(crate) use micro::weighted_gradient;
#[cfg(feature = "nccl")]
pub use nccl::{NCCL_ID, NcclRank, exit_at_once, nccl_id, nccl_version};
pub(crate) use norm::{batch_norm, group_norm};
pub(crate) use parameters::{adamw_step, add_scaled, displaced, displaced_by_signs, dot, saved, scale, sgd_step};
pub(crate) use pool::{averages, max_pool2d};
pub use ranks::sum_of_ranks;
pub(crate) use rows::{layer_norm, softmax};
pub(crate) use samples::{norms_of_columns, reweight, rms_slopes};
pub(crate) use tokens::{first_token, patches, tokens};

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::{CudaStorage, CudaStorageSlice};
use candle_core::{Result, Tensor, bail};
use std::sync::Arc;

/// The name of a kernel for the element type of a tensor, f32 or bf16.
macro_rules! by_dtype {
    ($name:literal, $x:expr) => {
        match $x.dtype() {
            candle_core::DType::F32 => concat!($name, "_f32"),
            candle_core::DType::BF16 => concat!($name, "_bf16"),
            other => candle_core::bail!("activations on a GPU are f32 or bf16, not {other:?}"),
        }
    };
}
use by_dtype;

/// The name of a kernel for an element type, f32 or bf16, and for vectors of several channels or for single ones.
macro_rules! by_width {
    ($name:literal, $dtype:expr, $wide:expr) => {
        match ($dtype, $wide) {
            (candle_core::DType::BF16, true) => concat!($name, "_bf16_8"),
            (candle_core::DType::BF16, false) => concat!($name, "_bf16_1"),
            (candle_core::DType::F32, true) => concat!($name, "_float_4"),
            (candle_core::DType::F32, false) => concat!($name, "_float_1"),
            (other, _) => candle_core::bail!("activations on a GPU are f32 or bf16, not {other:?}"),
        }
    };
}
use by_width;

/// The GPU of a tensor; an `Err` if it is on none.
fn device_of(x: &Tensor) -> Result<Arc<Gpu>> {
    match Gpu::of(x)? {
        Some(gpu) => Ok(gpu),
        None => bail!("expected a tensor on a GPU, got {:?}", x.device()),
    }
}

/// Elements in a storage.
pub(crate) fn len(storage: &CudaStorage) -> Result<usize> {
    Ok(match &storage.slice {
        CudaStorageSlice::U8(slice) => slice.len(),
        CudaStorageSlice::U32(slice) => slice.len(),
        CudaStorageSlice::I64(slice) => slice.len(),
        CudaStorageSlice::BF16(slice) => slice.len(),
        CudaStorageSlice::F32(slice) => slice.len(),
        CudaStorageSlice::F64(slice) => slice.len(),
        _ => bail!("expected u8, u32, i64, bf16, f32 or f64 on a GPU, got {:?}", storage.dtype()),
    })
}

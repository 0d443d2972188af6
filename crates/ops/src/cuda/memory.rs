//! Uninitialised memory for the result of a kernel.

use super::launch::Pointer;
use candle_core::cuda_backend::{CudaDevice, CudaStorage, CudaStorageSlice, WrapErr, cudarc};
use candle_core::{DType, Result, Shape, Storage, Tensor, bail};
use cudarc::driver::CudaStream;
use std::sync::Arc;

/// Elements that are not written yet.
pub(crate) struct Fresh(CudaStorage);

impl Fresh {
    pub(super) fn new(device: &CudaDevice, stream: &Arc<CudaStream>, dtype: DType, len: usize) -> Result<Self> {
        if len == 0 {
            bail!("a GPU has no tensor without elements");
        }
        // SAFETY: every caller launches a kernel that writes all of it before anything reads it; in the tests it is
        // filled with NaN first.
        let slice = unsafe {
            match dtype {
                DType::U8 => CudaStorageSlice::U8(stream.alloc(len).w()?),
                DType::U32 => CudaStorageSlice::U32(stream.alloc(len).w()?),
                DType::I64 => CudaStorageSlice::I64(stream.alloc(len).w()?),
                DType::BF16 => CudaStorageSlice::BF16(stream.alloc(len).w()?),
                DType::F32 => CudaStorageSlice::F32(stream.alloc(len).w()?),
                DType::F64 => CudaStorageSlice::F64(stream.alloc(len).w()?),
                other => bail!("a GPU's ops make no {other:?}"),
            }
        };
        Ok(Self(CudaStorage { slice, device: device.clone() }))
    }

    /// Where it begins.
    pub(crate) fn pointer(&self) -> Result<Pointer> {
        Pointer::of_storage(&self.0)
    }

    /// For a node of the graph.
    pub(crate) fn into_storage(self) -> Storage {
        Storage::Cuda(self.0)
    }

    /// For a gradient, or another tensor without a graph.
    pub(crate) fn into_tensor(self, shape: impl Into<Shape>) -> Tensor {
        crate::graph::stored(self.into_storage(), shape)
    }
}

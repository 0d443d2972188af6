//! The values that tensors had before they were changed in place.

use crate::cuda;
use candle_core::{CpuStorage, CudaStorage, InplaceOp1, Layout, Result, Storage, Tensor, bail};
use std::sync::Mutex;

/// The values that tensors had before they were changed in place.
#[must_use = "the tensors stay displaced until they are put back"]
pub struct Saved(Vec<(Tensor, Storage)>);

impl Saved {
    /// Restores the values of the tensors, bit for bit, without a copy.
    pub fn put_back(self) -> Result<()> {
        self.0.into_iter().try_for_each(|(tensor, values)| exchange(&tensor, values).map(drop))
    }

    /// Puts each of `values` into the place of the storage of one of `tensors`; all of them or none.
    pub(crate) fn exchange(tensors: &[&Tensor], values: Vec<Storage>) -> Result<Self> {
        let mut saved = Self(Vec::with_capacity(tensors.len()));
        for (tensor, values) in tensors.iter().zip(values) {
            match exchange(tensor, values) {
                Ok(before) => saved.0.push((tensor.detach(), before)),
                Err(error) => {
                    saved.put_back()?;
                    return Err(error);
                }
            }
        }
        Ok(saved)
    }
}

/// Puts `values` into the place of a tensor's storage, and returns that.
fn exchange(tensor: &Tensor, values: Storage) -> Result<Storage> {
    struct Exchange(Mutex<Option<Storage>>);

    impl Exchange {
        fn with(&self, len: usize, layout: &Layout, swap: impl FnOnce(&mut Storage)) -> Result<()> {
            if layout.contiguous_offsets() != Some((0, len)) {
                bail!("a view of a larger tensor cannot be changed in place");
            }
            if let Ok(mut values) = self.0.lock()
                && let Some(values) = values.as_mut()
            {
                swap(values);
            }
            Ok(())
        }
    }

    impl InplaceOp1 for Exchange {
        fn name(&self) -> &'static str {
            "exchange"
        }

        fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
            let len = match &*storage {
                CpuStorage::U8(values) => values.len(),
                CpuStorage::U32(values) => values.len(),
                CpuStorage::I64(values) => values.len(),
                CpuStorage::F32(values) => values.len(),
                CpuStorage::F64(values) => values.len(),
                _ => bail!("expected u8, u32, i64, f32 or f64"),
            };
            self.with(len, layout, |values| {
                if let Storage::Cpu(values) = values {
                    std::mem::swap(storage, values);
                }
            })
        }

        fn cuda_fwd(&self, storage: &mut CudaStorage, layout: &Layout) -> Result<()> {
            let len = cuda::len(storage)?;
            self.with(len, layout, |values| {
                if let Storage::Cuda(values) = values {
                    std::mem::swap(storage, values);
                }
            })
        }
    }
    let exchange = Exchange(Mutex::new(Some(values)));
    tensor.detach().inplace_op1(&exchange)?;
    match exchange.0.into_inner() {
        Ok(Some(values)) => Ok(values),
        _ => bail!("the storage of a tensor was lost"),
    }
}

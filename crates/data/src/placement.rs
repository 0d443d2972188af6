//! Where the images of a set are stored and its batches are made: in host memory, or on a GPU.

use crate::Dataset;
use crate::augment::{Augment, Normalise};
use candle_core::{Device, Result, Tensor};
use msharp_core::Key;

/// Where a [`Loader`](crate::Loader) stores its images and makes its batches. The default is the host.
///
/// Batches are the same to the bit, wherever they are made. On a GPU the images are copied once, n·h·w·3 bytes, and a
/// batch transfers only its indices and random draws; on the host a batch is made on the CPU and stays there.
#[derive(Clone, Debug, Default)]
pub struct Placement(Site);

#[derive(Clone, Debug, Default)]
enum Site {
    #[default]
    Host,
    #[cfg(feature = "cuda")]
    Gpu {
        images: Tensor, // u8 [n, h, w, 3]
        table: Tensor,  // f32 [3, 256]
    },
}

impl Placement {
    /// Stores the images of `set` on `device`: nothing to do for the CPU, one copy to a GPU.
    ///
    /// Use the result with the same set only: its normalisation is part of the copy.
    ///
    /// # Errors
    /// If this program was built without the feature `cuda`, or the GPU has not enough memory.
    pub fn of(set: &Dataset, device: &Device) -> Result<Self> {
        #[cfg(feature = "cuda")]
        if device.is_cuda() {
            let (h, w) = set.size;
            let images = Tensor::from_slice(&set.images, (set.len(), h, w, 3), device)?;
            return Ok(Self(Site::Gpu { images, table: Normalise::new(set).table(device)? }));
        }
        let _ = set;
        match device {
            Device::Cpu => Ok(Self::default()),
            other => candle_core::bail!("batches on {other:?} need the feature `cuda`"),
        }
    }

    /// The device of the batches.
    pub(crate) fn device(&self) -> Device {
        match &self.0 {
            Site::Host => Device::Cpu,
            #[cfg(feature = "cuda")]
            Site::Gpu { images, .. } => images.device().clone(),
        }
    }

    /// The images at `indices`, each augmented by the draw of its key, f32 `[b, h, w, 3]`.
    pub(crate) fn images(
        &self,
        set: &Dataset,
        indices: &[usize],
        augment: &Augment,
        normalise: &Normalise,
        key: impl Fn(usize) -> Key,
    ) -> Result<Tensor> {
        let (h, w) = set.size;
        match &self.0 {
            Site::Host => {
                let mut inputs = Vec::with_capacity(indices.len() * set.image_len());
                for &index in indices {
                    normalise.append(set.image(index), set.size, augment, key(index), &mut inputs);
                }
                Tensor::from_vec(inputs, (indices.len(), h, w, 3), &Device::Cpu)
            }
            #[cfg(feature = "cuda")]
            Site::Gpu { images, table } => {
                let placement = |&index: &usize| augment.placement(index, set.size, key(index));
                let placements: Vec<_> = indices.iter().map(placement).collect();
                msharp_ops::place_images(images, &placements, table, augment.crop_pad)
            }
        }
    }
}

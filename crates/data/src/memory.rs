//! Where the images of a set lie, and its batches are made.

use crate::Dataset;
use crate::augment::{Augment, Normalise};
use candle_core::{Device, Result, Tensor};
use msharp_core::Key;

/// The memory of a [`Loader`](crate::Loader). Batches are the same to the bit, wherever they are made.
#[derive(Clone, Debug, Default)]
pub enum Memory {
    /// That of the host: batches are on the CPU.
    #[default]
    Host,
    /// That of a GPU, which augments the images that it has.
    #[cfg(feature = "cuda")]
    Gpu(Resident),
}

/// A set that was copied to a GPU.
#[cfg(feature = "cuda")]
#[derive(Clone, Debug)]
pub struct Resident {
    images: Tensor, // u8 [n, h, w, 3]
    table: Tensor,  // f32 [3, 256]
}

impl Memory {
    /// Puts the images of `set` where `device` has them: a GPU gets a copy.
    ///
    /// # Errors
    /// If this program was built without the feature `cuda`, or the GPU has not enough memory.
    pub fn of(set: &Dataset, device: &Device) -> Result<Self> {
        #[cfg(feature = "cuda")]
        if device.is_cuda() {
            let (h, w) = set.size;
            let images = Tensor::from_slice(&set.images, (set.len(), h, w, 3), device)?;
            return Ok(Self::Gpu(Resident { images, table: Normalise::new(set).table(device)? }));
        }
        let _ = set;
        match device {
            Device::Cpu => Ok(Self::Host),
            other => candle_core::bail!("batches on {other:?} need the feature `cuda`"),
        }
    }

    /// The device on which batches are.
    pub(crate) fn device(&self) -> Device {
        match self {
            Self::Host => Device::Cpu,
            #[cfg(feature = "cuda")]
            Self::Gpu(resident) => resident.images.device().clone(),
        }
    }

    /// The images at `indices`, each augmented as its key says, f32 `[b, h, w, 3]`.
    pub(crate) fn images(
        &self,
        set: &Dataset,
        indices: &[usize],
        augment: &Augment,
        normalise: &Normalise,
        key: impl Fn(usize) -> Key,
    ) -> Result<Tensor> {
        let (h, w) = set.size;
        match self {
            Self::Host => {
                let mut inputs = Vec::with_capacity(indices.len() * set.image_len());
                for &index in indices {
                    normalise.append(set.image(index), set.size, augment, key(index), &mut inputs);
                }
                Tensor::from_vec(inputs, (indices.len(), h, w, 3), &Device::Cpu)
            }
            #[cfg(feature = "cuda")]
            Self::Gpu(Resident { images, table }) => {
                let placement = |&index: &usize| augment.placement(index, set.size, key(index));
                let placements: Vec<_> = indices.iter().map(placement).collect();
                msharp_ops::place_images(images, &placements, table, augment.crop_pad)
            }
        }
    }
}

//! Batches of augmented images from a set of bytes that is on the GPU.

use super::device_of;
use super::launch::{Grid, Pointer, arguments};
use candle_core::{DType, Result, Tensor, bail};

/// What is done to one image of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImagePlacement {
    /// Which image of the set.
    pub index: u32,
    /// Rows and columns of the padded image above and left of the crop.
    pub crop: (u32, u32),
    /// Whether it is mirrored, left and right.
    pub mirrored: bool,
    /// Rows from, to and columns from, to of the rectangle that is 0 after the normalisation.
    pub cut: [u32; 4],
}

/// Images of `set` u8 `[n, h, w, 3]`, each cropped from a border of `pad` black pixels, mirrored, normalised by `table`
/// f32 `[3, 256]` and cut as its placement says: f32 `[b, h, w, 3]`. One launch, and one copy of 32 bytes an image to
/// the GPU.
///
/// `Err` if the shapes or element types do not fit, or an image does not exist.
pub fn place_images(set: &Tensor, placements: &[ImagePlacement], table: &Tensor, pad: usize) -> Result<Tensor> {
    let (&[n, h, w, 3], DType::U8, &[3, 256], DType::F32) = (set.dims(), set.dtype(), table.dims(), table.dtype())
    else {
        let shapes = [set, table].map(|tensor| (tensor.dtype(), tensor.dims().to_vec()));
        bail!("place_images: expected a set u8 [n, h, w, 3] and a table f32 [3, 256], got {shapes:?}")
    };
    if let Some(placement) = placements.iter().find(|placement| placement.index as usize >= n) {
        bail!("place_images: there is no image {}, only {n}", placement.index);
    }
    let gpu = device_of(set)?;
    let words = placements.iter().flat_map(|ImagePlacement { index, crop, mirrored, cut }| {
        let [top, bottom, left, right] = *cut;
        [*index, crop.0, crop.1, u32::from(*mirrored), top, bottom, left, right]
    });
    let words = Tensor::from_iter(words, set.device())?;
    let shape = (placements.len(), h, w, 3);
    let len = placements.len() * h * w * 3;
    let out = gpu.empty(DType::F32, len)?;
    let from = [Pointer::of(set)?, Pointer::of(&words)?, Pointer::of(table)?];
    gpu.launch("place_images", Grid::over(len), arguments![from[0], from[1], from[2], out.pointer()?, len, h, w, pad])?;
    Ok(out.into_tensor(shape))
}

//! From a picture of any size to the input of a network: crop, flip, colours, normalisation and erasing, with
//! torchvision's definitions.

mod affine;
mod color_jitter;
mod colors;
mod crop;
mod levels;
mod op;
mod rand_augment;
mod random_erasing;

pub use color_jitter::ColorJitter;
pub use crop::Crop;
pub use op::PictureOp;
pub use rand_augment::RandAugment;
pub use random_erasing::RandomErasing;

use crate::augment::Normalise;
use crate::draw::Draw;
use crate::resize::Region;
use crate::{Error, Interpolation, Picture};
use msharp_core::Key;

/// What happens to each picture, in the order of the fields: torchvision's and timm's order.
///
/// Bytes are computed with Pillow's arithmetic, so that a checkpoint of timm or torchvision sees the pixels that it was
/// trained on. What is random is a pure function of the [`Key`] of the sample; each step has a stream of its own, so
/// that turning one off leaves the draws of the others as they were. The distributions are torchvision's, the random
/// numbers are not. They consist of sums, products and square roots, which are the same on every machine.
///
/// ```
/// use msharp_core::Key;
/// use msharp_data::{Picture, RandAugment, Transform};
/// # fn main() -> candle_core::Result<()> {
/// let picture = Picture { height: 40, width: 60, pixels: vec![128; 40 * 60 * 3] };
/// let train = Transform { rand_augment: Some(RandAugment::default()), ..Transform::imagenet_train(32) };
/// assert_eq!(train.apply(&picture, Key::new(7))?.len(), 32 * 32 * 3);                  // f32 [h, w, c], normalised
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Transform {
    /// S, the height and width of the result in pixels; 1 to [`Transform::MAX_SIZE`].
    pub size: usize,
    /// Which part of the picture becomes the result.
    pub crop: Crop,
    /// How it is resized.
    pub interpolation: Interpolation,
    /// The probability that the result is mirrored, left and right.
    pub flip: f64,
    /// Operations drawn from a list of fourteen.
    pub rand_augment: Option<RandAugment>,
    /// Random brightness, contrast, saturation and hue.
    pub color_jitter: Option<ColorJitter>,
    /// Mean of each channel, of pixel values in [0, 1]. Finite.
    pub mean: [f32; 3],
    /// Standard deviation of each channel, of pixel values in [0, 1]. Finite and above 0.
    pub std: [f32; 3],
    /// A rectangle that is 0 after the normalisation.
    pub random_erasing: Option<RandomErasing>,
}

/// A picture before the normalisation, and the rectangle that is 0 after it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Bytes {
    /// `[S, S, 3]`.
    pub(crate) picture: Picture,
    pub(crate) erased: Option<Region>,
}

impl Transform {
    /// The largest side of a result.
    pub const MAX_SIZE: usize = 4096;

    /// Mean of ImageNet's channels, as nearly every checkpoint uses it.
    pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];

    /// Standard deviation of ImageNet's channels, as nearly every checkpoint uses it.
    pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

    /// For training on ImageNet: a random resized crop of 8 % to 100 % of the area, and flips.
    pub fn imagenet_train(size: usize) -> Self {
        let crop = Crop::RandomResized { scale: (0.08, 1.), ratio: (3. / 4., 4. / 3.) };
        Self { crop, flip: 0.5, ..Self::imagenet_eval(size, 1.) }
    }

    /// For evaluation on ImageNet: the central S·S pixels after the shorter side was resized to S/`crop_pct`. 0.875 is
    /// torchvision's; timm's configurations state theirs.
    pub fn imagenet_eval(size: usize, crop_pct: f64) -> Self {
        Self {
            size,
            crop: Crop::Center { crop_pct },
            interpolation: Interpolation::Bilinear,
            flip: 0.,
            rand_augment: None,
            color_jitter: None,
            mean: Self::IMAGENET_MEAN,
            std: Self::IMAGENET_STD,
            random_erasing: None,
        }
    }

    /// For fine-tuning on CIFAR at S pixels: resized to S·S (bicubic), cropped from a padding of S/8, as 4 of 32, and
    /// flipped.
    pub fn cifar_train(size: usize) -> Self {
        Self { crop: Crop::Padded { pad: size / 8 }, flip: 0.5, ..Self::cifar_eval(size) }
    }

    /// For evaluation on CIFAR at S pixels: resized to S·S (bicubic).
    pub fn cifar_eval(size: usize) -> Self {
        Self { crop: Crop::Whole, interpolation: Interpolation::Bicubic, ..Self::imagenet_eval(size, 1.) }
    }

    /// Whether all fields are in their ranges.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] names the first that is not.
    pub fn check(&self) -> Result<(), Error> {
        let Self { size, flip, mean, std, .. } = self;
        let wrong = if !(1..=Self::MAX_SIZE).contains(size) {
            format!("size is {size}, expected 1 to {}", Self::MAX_SIZE)
        } else if !(0. ..=1.).contains(flip) {
            format!("flip is {flip}, expected a probability")
        } else if !mean.iter().all(|mean| mean.is_finite()) {
            format!("mean is {mean:?}, expected finite numbers")
        } else if !std.iter().all(|std| *std > 0. && std.is_finite()) {
            format!("std is {std:?}, expected finite numbers above 0")
        } else {
            self.crop.check(self.size)?;
            self.rand_augment.iter().try_for_each(RandAugment::check)?;
            self.color_jitter.iter().try_for_each(ColorJitter::check)?;
            return self.random_erasing.iter().try_for_each(RandomErasing::check);
        };
        Err(Error::InvalidArgument(wrong))
    }

    /// The normalised pixels of `picture` under the draws of `key`, f32 `[S, S, 3]`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if a field is out of its range, or the picture has not h·w·3 bytes.
    pub fn apply(&self, picture: &Picture, key: Key) -> candle_core::Result<Vec<f32>> {
        let mut out = Vec::with_capacity(self.len());
        self.bytes(picture, key)?.append(&Normalise::of(self.mean, self.std), &mut out);
        Ok(out)
    }

    /// The picture before normalisation and erasing, S·S pixels: to look at.
    ///
    /// # Errors
    /// As [`apply`](Transform::apply).
    pub fn picture(&self, picture: &Picture, key: Key) -> candle_core::Result<Picture> {
        Ok(self.bytes(picture, key)?.picture)
    }

    /// S·S·3.
    pub(crate) fn len(&self) -> usize {
        self.size * self.size * 3
    }

    pub(crate) fn bytes(&self, picture: &Picture, key: Key) -> Result<Bytes, Error> {
        self.check()?;
        picture.check()?;
        let draw = |step: &str| Draw::new(key.fold_name(step));
        let mirrored = draw("flip").chance(self.flip);
        let mut picture = self.crop.apply(picture, self.size, self.interpolation, mirrored, &mut draw("crop"));
        if let Some(augment) = &self.rand_augment {
            augment.draw(self.size, &mut draw("rand_augment")).for_each(|op| op.apply(&mut picture));
        }
        if let Some(jitter) = &self.color_jitter {
            jitter.draw(&mut draw("color_jitter")).for_each(|op| op.apply(&mut picture));
        }
        let erasing = self.random_erasing.as_ref();
        let erased = erasing.and_then(|erasing| erasing.draw(self.size, &mut draw("random_erasing")));
        Ok(Bytes { picture, erased })
    }
}

impl Bytes {
    /// Appends the normalised pixels.
    pub(crate) fn append(&self, normalise: &Normalise, out: &mut Vec<f32>) {
        let (start, row) = (out.len(), self.picture.width * 3);
        normalise.append_bytes(&self.picture.pixels, out);
        if let Some(Region { rows, columns }) = &self.erased {
            for y in rows.clone() {
                out[start + y * row..][columns.start * 3..columns.end * 3].fill(0.);
            }
        }
    }
}

#[cfg(feature = "cuda")]
impl Bytes {
    /// What a GPU does to picture `index` of a batch: nothing but the erasing.
    pub(crate) fn placement(&self, index: u32) -> msharp_ops::ImagePlacement {
        let none = Region::at(0, 0, 0, 0);
        let Region { rows, columns } = self.erased.as_ref().unwrap_or(&none);
        let cut = [rows.start, rows.end, columns.start, columns.end].map(|edge| edge as u32);
        msharp_ops::ImagePlacement { index, crop: (0, 0), mirrored: false, cut }
    }
}

#[cfg(test)]
mod tests;

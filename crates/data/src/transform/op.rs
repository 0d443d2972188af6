//! The operations that change the colours or the place of pixels, as values.

use super::{affine, colors, levels};
use crate::Picture;

/// One operation of `ColorJitter` or `RandAugment` with its number: torchvision's definition, Pillow's arithmetic.
///
/// The bytes are those of torchvision on Pillow's images. Pixels from outside of the picture are black; positions are
/// rounded to the nearest pixel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PictureOp {
    /// Nothing.
    Identity,
    /// Blends with black: `adjust_brightness(factor)`; 1 changes nothing.
    Brightness(f32),
    /// Blends with the mean grey: `adjust_contrast(factor)`; 1 changes nothing.
    Contrast(f32),
    /// Blends with the grey picture: `adjust_saturation(factor)`; 1 changes nothing. RandAugment calls it Color.
    Saturation(f32),
    /// Turns the hue by a share of the circle, within −½ and ½: `adjust_hue`.
    Hue(f32),
    /// Blends with the smoothed picture: `adjust_sharpness(factor)`; 1 changes nothing.
    Sharpness(f32),
    /// Row y is read x + level·y: moved left for a level above 0.
    ShearX(f32),
    /// Column x is read at y + level·x: moved up for a level above 0.
    ShearY(f32),
    /// Moved right by pixels.
    TranslateX(i32),
    /// Moved down by pixels.
    TranslateY(i32),
    /// Turned about the centre by degrees, counter-clockwise.
    Rotate(f32),
    /// Keeps the highest bits of each byte, 1 to 8.
    Posterize(u32),
    /// Inverts bytes that are not below the threshold.
    Solarize(f32),
    /// Stretches each channel to 0..255.
    AutoContrast,
    /// Makes the histogram of each channel uniform.
    Equalize,
}

impl PictureOp {
    /// Changes `picture`.
    pub fn apply(self, picture: &mut Picture) {
        let pixels = &mut picture.pixels;
        match self {
            Self::Identity => {}
            Self::Brightness(factor) => colors::brightness(pixels, factor),
            Self::Contrast(factor) => colors::contrast(pixels, factor),
            Self::Saturation(factor) => colors::saturation(pixels, factor),
            Self::Hue(turn) => colors::hue(pixels, turn),
            Self::Sharpness(factor) => colors::sharpness(picture, factor),
            Self::ShearX(level) => affine::shear(picture, level.into(), 0.),
            Self::ShearY(level) => affine::shear(picture, 0., level.into()),
            Self::TranslateX(pixels) => affine::translate(picture, pixels.into(), 0.),
            Self::TranslateY(pixels) => affine::translate(picture, 0., pixels.into()),
            Self::Rotate(degrees) => affine::rotate(picture, degrees.into()),
            Self::Posterize(bits) => levels::posterize(pixels, bits),
            Self::Solarize(threshold) => levels::solarize(pixels, threshold),
            Self::AutoContrast => levels::autocontrast(pixels),
            Self::Equalize => levels::equalize(pixels),
        }
    }
}

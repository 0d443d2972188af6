//! Random crop, flip and cutout, and the normalisation of pixels.

use crate::Dataset;
use crate::dataset::CHANNELS;
use msharp_core::Key;
use rand::RngExt;
use std::ops::Range;

/// Random changes of a training image: crop, then flip, then cutout.
///
/// The draw of a sample is a pure function of its [`Key`], and does not depend on which of the three are on: turning
/// cutout on leaves the crops and flips as they were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Augment {
    /// Pad by this many black pixels on each side and crop back to size at a random place: torchvision's
    /// `RandomCrop(h, padding)`, which pads before the normalisation. 0 is off; 4 is usual for CIFAR.
    pub crop_pad: usize,
    /// Mirror left and right with probability ½.
    pub flip: bool,
    /// Set a square of this side, in pixels, to 0 *after* the normalisation, which is the mean of each channel. Its
    /// centre is uniform over the image, and the square is clipped at the border (DeVries and Taylor 2017,
    /// <https://arxiv.org/abs/1708.04552>: 16 on CIFAR-10, 8 on CIFAR-100). `None` is off.
    pub cutout: Option<usize>,
}

impl Augment {
    /// No changes.
    pub const fn none() -> Self {
        Self { crop_pad: 0, flip: false, cutout: None }
    }

    /// The standard of CIFAR (He et al. 2016, section 4.2): crops from a padding of 4, and flips.
    pub const fn standard() -> Self {
        Self { crop_pad: 4, flip: true, cutout: None }
    }

    /// The draw of one sample for images of `size`.
    fn place(&self, (h, w): (usize, usize), key: Key) -> Place {
        let mut rng = key.rng();
        let mut below = |n: usize| rng.random_range(0..n as u32) as usize; // u32: the same draw on every platform
        Place {
            down: below(2 * self.crop_pad + 1),
            right: below(2 * self.crop_pad + 1),
            mirrored: below(2) == 1 && self.flip,
            centre: (below(h), below(w)),
        }
    }
}

#[cfg(feature = "cuda")]
impl Augment {
    /// The draw of one sample, as a GPU gets it.
    pub(crate) fn placement(&self, index: usize, size: (usize, usize), key: Key) -> msharp_ops::ImagePlacement {
        let place = self.place(size, key);
        let (rows, columns) = self.cutout.map_or((0..0, 0..0), |side| place.square(side, size));
        msharp_ops::ImagePlacement {
            index: index as u32,
            crop: (place.down as u32, place.right as u32),
            mirrored: place.mirrored,
            cut: [rows.start, rows.end, columns.start, columns.end].map(|edge| edge as u32),
        }
    }
}

/// Where one augmented image lies in the padded original.
struct Place {
    /// Rows of the padded image above the crop.
    down: usize,
    /// Columns of the padded image left of the crop.
    right: usize,
    mirrored: bool,
    /// Row and column of the cutout's centre.
    centre: (usize, usize),
}

impl Place {
    /// Rows and columns of the cutout.
    fn square(&self, side: usize, (h, w): (usize, usize)) -> (Range<usize>, Range<usize>) {
        let span = |centre: usize, n: usize| {
            let first = centre as isize - side as isize / 2;
            let last = first + side as isize;
            first.clamp(0, n as isize) as usize..last.clamp(0, n as isize) as usize
        };
        (span(self.centre.0, h), span(self.centre.1, w))
    }
}

/// Bytes to normalised numbers, (byte/255 − mean)/std, as a table of `[3, 256]`.
pub(crate) struct Normalise([[f32; 256]; CHANNELS]);

impl Normalise {
    pub(crate) fn new(set: &Dataset) -> Self {
        Self::of(set.mean, set.std)
    }

    pub(crate) fn of(mean: [f32; CHANNELS], std: [f32; CHANNELS]) -> Self {
        let entry = |c: usize, byte: usize| (byte as f32 / 255. - mean[c]) / std[c];
        Self(std::array::from_fn(|c| std::array::from_fn(|byte| entry(c, byte))))
    }

    /// The table where a GPU needs it.
    #[cfg(feature = "cuda")]
    pub(crate) fn table(&self, device: &candle_core::Device) -> candle_core::Result<candle_core::Tensor> {
        candle_core::Tensor::from_slice(self.0.as_flattened(), (CHANNELS, 256), device)
    }

    fn pixel(&self, rgb: [u8; CHANNELS]) -> [f32; CHANNELS] {
        std::array::from_fn(|c| self.0[c][rgb[c] as usize])
    }

    /// Appends `pixels`, `[…, 3]`, as they are.
    pub(crate) fn append_bytes(&self, pixels: &[u8], out: &mut Vec<f32>) {
        let start = out.len();
        out.resize(start + pixels.len(), 0.);
        for (out, rgb) in out[start..].chunks_exact_mut(CHANNELS).zip(pixels.chunks_exact(CHANNELS)) {
            out.copy_from_slice(&self.pixel([rgb[0], rgb[1], rgb[2]]));
        }
    }

    /// Appends the image, `[h, w, 3]` bytes of `size`, to `out`, augmented by the draw of `key`.
    pub(crate) fn append(
        &self,
        image: &[u8],
        size @ (h, w): (usize, usize),
        augment: &Augment,
        key: Key,
        out: &mut Vec<f32>,
    ) {
        let start = out.len();
        let place = augment.place(size, key);
        let black = self.pixel([0; CHANNELS]);
        for y in 0..h {
            let row = (y + place.down).checked_sub(augment.crop_pad).filter(|&row| row < h);
            for x in 0..w {
                let x = if place.mirrored { w - 1 - x } else { x };
                let column = (x + place.right).checked_sub(augment.crop_pad).filter(|&column| column < w);
                out.extend_from_slice(&match (row, column) {
                    (Some(row), Some(column)) => {
                        let at = (row * w + column) * CHANNELS;
                        self.pixel([image[at], image[at + 1], image[at + 2]])
                    }
                    _ => black,
                });
            }
        }
        if let Some(side) = augment.cutout {
            let (rows, columns) = place.square(side, size);
            for y in rows {
                out[start + (y * w + columns.start) * CHANNELS..start + (y * w + columns.end) * CHANNELS].fill(0.);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::tests::counting;

    const SIZE: (usize, usize) = (6, 5);

    /// A normalisation that is the identity up to the unit, and an image whose pixels all differ.
    fn plain() -> (Normalise, Vec<u8>) {
        let set = Dataset { mean: [0.; 3], std: [1. / 255.; 3], ..counting(1, 1) };
        (Normalise::new(&set), (1..=90).collect())
    }

    fn augmented(augment: &Augment, key: Key) -> Vec<f32> {
        let (normalise, image) = plain();
        let mut out = vec![-1.]; // something is there already
        normalise.append(&image, SIZE, augment, key, &mut out);
        out.iter().skip(1).map(|v| v.round()).collect()
    }

    /// The specification, step by step on whole images: pad, crop, mirror, cut out.
    fn slow(augment: &Augment, key: Key) -> Vec<f32> {
        let (h, w) = SIZE;
        let pad = augment.crop_pad;
        let place = augment.place(SIZE, key);
        let mut padded = vec![vec![[0.; 3]; w + 2 * pad]; h + 2 * pad];
        for y in 0..h {
            for x in 0..w {
                padded[y + pad][x + pad] = std::array::from_fn(|c| ((y * w + x) * 3 + c + 1) as f32);
            }
        }
        let mut crop: Vec<Vec<[f32; 3]>> =
            padded[place.down..][..h].iter().map(|row| row[place.right..][..w].to_vec()).collect();
        if place.mirrored {
            crop.iter_mut().for_each(|row| row.reverse());
        }
        for (y, row) in crop.iter_mut().enumerate() {
            for (x, pixel) in row.iter_mut().enumerate() {
                let side = augment.cutout.unwrap_or(0);
                let within = |at: usize, centre: usize| at + side / 2 >= centre && at + side / 2 < centre + side;
                if within(y, place.centre.0) && within(x, place.centre.1) {
                    *pixel = [0.; 3];
                }
            }
        }
        crop.concat().concat()
    }

    #[test]
    fn agrees_with_the_step_by_step_specification() {
        for augment in [
            Augment::none(),
            Augment::standard(),
            Augment { crop_pad: 2, flip: true, cutout: Some(3) },
            Augment { crop_pad: 9, flip: false, cutout: Some(4) }, // a crop may miss the image
            Augment { crop_pad: 0, flip: true, cutout: Some(50) },
        ] {
            for i in 0..200 {
                assert_eq!(augmented(&augment, Key::new(i)), slow(&augment, Key::new(i)), "{augment:?} {i}");
            }
        }
    }

    #[test]
    fn none_is_the_image_normalised() {
        let set = Dataset { mean: [0.5, 0.25, 0.], std: [0.25, 0.5, 1.], ..counting(1, 1) };
        let mut out = Vec::new();
        Normalise::new(&set).append(&[0, 51, 255], (1, 1), &Augment::none(), Key::new(0), &mut out);
        for (got, want) in out.iter().zip([-2., -0.1, 1.]) {
            assert!((got - want).abs() < 1e-6, "{got} {want}");
        }
    }

    #[test]
    fn the_padding_is_black_and_the_cutout_is_the_mean() {
        let set = Dataset { mean: [0.5; 3], std: [0.25; 3], images: vec![255; 12], ..counting(1, 1) };
        let augment = Augment { crop_pad: 2, flip: false, cutout: None };
        let mut seen = Vec::new();
        for i in 0..50 {
            Normalise::new(&set).append(set.image(0), (2, 2), &augment, Key::new(i), &mut seen);
        }
        assert!(seen.contains(&-2.) && seen.contains(&2.) && seen.iter().all(|v| [-2., 2.].contains(v)));
        let mut cut = Vec::new();
        Normalise::new(&set).append(
            set.image(0),
            (2, 2),
            &Augment { cutout: Some(9), ..Augment::none() },
            Key::new(0),
            &mut cut,
        );
        assert_eq!(cut, [0.; 12]);
    }

    #[test]
    fn every_place_is_equally_likely() {
        let augment = Augment { crop_pad: 1, flip: true, cutout: Some(1) };
        let mut counts = [[0; 9]; 2];
        for i in 0..3600 {
            let place = augment.place(SIZE, Key::new(3).fold(i));
            counts[place.mirrored as usize][place.down * 3 + place.right] += 1;
        }
        // 200 each, standard deviation 14
        assert!(counts.as_flattened().iter().all(|count| (130..270).contains(count)), "{counts:?}");
    }
}

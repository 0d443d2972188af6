//! Which part of a picture becomes the input, and how it gets the right size.

use crate::draw::Draw;
use crate::resize::{Region, Resizing};
use crate::{Error, Interpolation, Picture};

/// How a picture of any size becomes one of S·S pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Crop {
    /// A random part, resized: torchvision's `RandomResizedCrop(S, scale, ratio)`. Its share of the area is uniform in
    /// `scale`, width by height log-uniform in `ratio`. After ten draws that do not fit it is the largest central part
    /// whose ratio is within the range.
    RandomResized {
        /// The least and the largest share of the area; 0 < least ≤ largest ≤ 1.
        scale: (f64, f64),
        /// The least and the largest width by height; above 0.
        ratio: (f64, f64),
    },
    /// The centre: torchvision's `Resize(⌊S/crop_pct⌋)`, of the shorter side, then `CenterCrop(S)`.
    Center {
        /// The side of the crop by the shorter side of the resized picture; above 0, at most 1.
        crop_pct: f64,
    },
    /// All of it, resized to S·S pixels, padded with black and cropped at random: torchvision's
    /// `Resize((S, S))`, then `RandomCrop(S, padding = pad)`.
    Padded {
        /// The padding on each side, in pixels of the result; at most S.
        pad: usize,
    },
    /// All of it, resized to S·S pixels, whatever its proportions: torchvision's `Resize((S, S))`.
    Whole,
}

impl Crop {
    pub(super) fn check(&self, size: usize) -> Result<(), Error> {
        let wrong = match *self {
            Self::RandomResized { scale: (low, high), .. } if !(0. < low && low <= high && high <= 1.) => {
                format!("scale is {low} to {high}, expected a range above 0 and at most 1")
            }
            Self::RandomResized { ratio: (low, high), .. } if !(0. < low && low <= high && high.is_finite()) => {
                format!("ratio is {low} to {high}, expected a finite range above 0")
            }
            Self::Center { crop_pct } if !(0. < crop_pct && crop_pct <= 1.) => {
                format!("crop_pct is {crop_pct}, expected above 0 and at most 1")
            }
            Self::Padded { pad } if pad > size => format!("pad is {pad}, expected at most the size, {size}"),
            _ => return Ok(()),
        };
        Err(Error::InvalidArgument(wrong))
    }

    /// The picture of `size`·`size` pixels.
    pub(super) fn apply(
        &self,
        picture: &Picture,
        size: usize,
        interpolation: Interpolation,
        mirrored: bool,
        draw: &mut Draw,
    ) -> Picture {
        let (height, width) = (picture.height, picture.width);
        let (whole, square) = (Region::at(0, 0, height, width), Region::at(0, 0, size, size));
        let plain = Resizing { crop: whole, size: (size, size), window: square, mirrored, interpolation };
        match *self {
            Self::RandomResized { scale, ratio } => {
                Resizing { crop: random(height, width, scale, ratio, draw), ..plain }.apply(picture)
            }
            Self::Center { crop_pct } => {
                let (height, width) = resized((size as f64 / crop_pct) as usize, height, width);
                let centre = |n: usize| ((n - size) as f64 / 2.).round_ties_even() as usize;
                let window = Region::at(centre(height), centre(width), size, size);
                Resizing { size: (height, width), window, ..plain }.apply(picture)
            }
            Self::Padded { pad } => {
                let (down, right) = (draw.below(2 * pad + 1), draw.below(2 * pad + 1));
                shifted(&plain.apply(picture), down as isize - pad as isize, right as isize - pad as isize)
            }
            Self::Whole => plain.apply(picture),
        }
    }
}

/// Height and width when the shorter side becomes `short`: torchvision's `Resize(short)`.
fn resized(short: usize, height: usize, width: usize) -> (usize, usize) {
    let long = |long: usize, by: usize| ((short * long) as f64 / by as f64) as usize;
    match width <= height {
        true => (long(height, width), short),
        false => (short, long(width, height)),
    }
}

/// The part of `RandomResizedCrop`.
fn random(height: usize, width: usize, scale: (f64, f64), ratio: (f64, f64), draw: &mut Draw) -> Region {
    let area = height as f64 * width as f64;
    for _ in 0..10 {
        let share = area * draw.between(scale.0, scale.1);
        let aspect = draw.log_between(ratio.0, ratio.1);
        let w = (share * aspect).sqrt().round_ties_even() as usize;
        let h = (share / aspect).sqrt().round_ties_even() as usize;
        if (1..=width).contains(&w) && (1..=height).contains(&h) {
            return Region::at(draw.below(height - h + 1), draw.below(width - w + 1), h, w);
        }
    }
    let aspect = width as f64 / height as f64;
    let fitting = |side: f64| side.round_ties_even().max(1.) as usize;
    let (h, w) = if aspect < ratio.0 {
        (fitting(width as f64 / ratio.0).min(height), width)
    } else if aspect > ratio.1 {
        (height, fitting(height as f64 * ratio.1).min(width))
    } else {
        (height, width)
    };
    Region::at((height - h) / 2, (width - w) / 2, h, w)
}

/// The picture moved up by `down` and left by `right` pixels; what comes in is black.
fn shifted(picture: &Picture, down: isize, right: isize) -> Picture {
    let (height, width) = (picture.height, picture.width);
    let mut pixels = vec![0; picture.pixels.len()];
    let from = right.max(0) as usize..(width as isize + right).clamp(0, width as isize) as usize;
    let to = (-right).max(0) as usize;
    for (y, out) in pixels.chunks_exact_mut(width * 3).enumerate() {
        let source = y.checked_add_signed(down).filter(|&source| source < height);
        if let (Some(source), false) = (source, from.is_empty()) {
            let row = &picture.pixels[source * width * 3..][from.start * 3..from.end * 3];
            out[to * 3..][..row.len()].copy_from_slice(row);
        }
    }
    Picture { height, width, pixels }
}

#[cfg(test)]
mod tests {
    use super::*;
    use msharp_core::Key;

    const SCALE: (f64, f64) = (0.08, 1.);
    const RATIO: (f64, f64) = (3. / 4., 4. / 3.);

    #[test]
    fn random_parts_have_the_areas_and_ratios_of_torchvision() {
        let mut draw = Draw::new(Key::new(5));
        let (mut areas, mut logs, mut wide) = (0., 0., 0.);
        const N: usize = 4000;
        for _ in 0..N {
            let Region { rows, columns } = random(400, 600, SCALE, RATIO, &mut draw);
            assert!(rows.end <= 400 && columns.end <= 600);
            let (h, w) = (rows.len() as f64, columns.len() as f64);
            let (area, ratio) = (h * w / 240_000., w / h);
            assert!((0.079..=1.01).contains(&area) && (0.74..=1.35).contains(&ratio), "{area} {ratio}");
            (areas, logs) = (areas + area, logs + ratio.ln());
            wide += f64::from(columns.start + columns.len() / 2 < 300);
        }
        // The means of 40 000 draws of torchvision, which differ from those without refusals, 0.54 and 0.
        assert!((areas / N as f64 - 0.390).abs() < 0.012, "{}", areas / N as f64);
        assert!((logs / N as f64 - 0.032).abs() < 0.01, "{}", logs / N as f64);
        assert!((wide / N as f64 - 0.5).abs() < 0.04);
    }

    #[test]
    fn what_never_fits_becomes_the_largest_central_part() {
        let mut draw = Draw::new(Key::new(0));
        let mut part = |height, width| random(height, width, (0.9, 1.), RATIO, &mut draw);
        assert_eq!(part(10, 1000), Region::at(0, 493, 10, 13));
        assert_eq!(part(1000, 9), Region::at(494, 0, 12, 9));
        assert_eq!(random(20, 20, (1., 1.), (1., 1.), &mut draw), Region::at(0, 0, 20, 20));
        assert_eq!(random(1, 1, SCALE, RATIO, &mut draw), Region::at(0, 0, 1, 1));
    }

    #[test]
    fn a_shift_brings_in_black() {
        let picture = Picture { height: 2, width: 2, pixels: (1..=12).collect() };
        let shift = |down, right| shifted(&picture, down, right).pixels;
        assert_eq!(shift(0, 0), picture.pixels);
        assert_eq!(shift(1, 0), [7, 8, 9, 10, 11, 12, 0, 0, 0, 0, 0, 0]);
        assert_eq!(shift(-1, -1), [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3]);
        assert_eq!(shift(0, 1), [4, 5, 6, 0, 0, 0, 10, 11, 12, 0, 0, 0]);
        assert_eq!(shift(0, -2), [0; 12]);
        assert_eq!(shift(2, 2), [0; 12]);
    }
}

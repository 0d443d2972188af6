//! Resizing in Pillow's fixed-point arithmetic, bit for bit.

mod taps;

use crate::dataset::CHANNELS;
use crate::{Error, Picture};
use pulp::{Arch, Simd, WithSimd};
use std::ops::Range;
use std::str::FromStr;
use taps::{PRECISION, Taps};

/// How a pixel between pixels is computed, with antialiasing: Pillow's `Image.resize`, which torchvision and timm use.
///
/// The bits are those of Pillow up to version 12, with which published networks were trained: rows first, then columns.
/// Pillow 13 begins with the columns where the height shrinks much more than the width; bytes differ by a grey level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interpolation {
    /// The triangle: torchvision's default.
    #[default]
    Bilinear,
    /// Keys's cubic convolution with a = −½: what most checkpoints of timm ask for.
    Bicubic,
}

impl Interpolation {
    /// Half the width of the filter.
    fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.,
            Self::Bicubic => 2.,
        }
    }

    /// The filter at `x`.
    fn weight(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let x = x.abs();
        match self {
            Self::Bilinear => (1. - x).max(0.),
            Self::Bicubic if x < 1. => ((A + 2.) * x - (A + 3.)) * x * x + 1.,
            Self::Bicubic if x < 2. => (((x - 5.) * x + 8.) * x - 4.) * A,
            Self::Bicubic => 0.,
        }
    }
}

impl FromStr for Interpolation {
    type Err = Error;

    /// `bilinear` or `bicubic`, as timm's `config.json` has it.
    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "bilinear" => Ok(Self::Bilinear),
            "bicubic" => Ok(Self::Bicubic),
            _ => Err(Error::InvalidArgument(format!("interpolation is {name}, expected bilinear or bicubic"))),
        }
    }
}

/// A rectangle of pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) rows: Range<usize>,
    pub(crate) columns: Range<usize>,
}

impl Region {
    /// The rectangle of `height`·`width` pixels below and right of (`top`, `left`).
    pub(crate) fn at(top: usize, left: usize, height: usize, width: usize) -> Self {
        Self { rows: top..top + height, columns: left..left + width }
    }
}

/// A part of a picture, resized, and a part of that: what is cropped afterwards is never computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resizing {
    /// The part of the picture that is resized. Pixels around it have no influence.
    pub(crate) crop: Region,
    /// Its height and width afterwards.
    pub(crate) size: (usize, usize),
    /// The part of the result that is computed.
    pub(crate) window: Region,
    /// Whether the result is mirrored, left and right.
    pub(crate) mirrored: bool,
    pub(crate) interpolation: Interpolation,
}

impl Resizing {
    /// The result.
    pub(crate) fn apply(&self, picture: &Picture) -> Picture {
        let Self { crop, size, window, mirrored, interpolation } = self;
        let columns = match mirrored {
            false => Taps::new(*interpolation, crop.columns.len(), size.1, window.columns.clone()),
            true => Taps::new(*interpolation, crop.columns.len(), size.1, window.columns.clone().rev()),
        };
        let rows = Taps::new(*interpolation, crop.rows.len(), size.0, window.rows.clone());
        let sources = rows.sources();
        let (stride, top) = (picture.width * CHANNELS, crop.rows.start);
        let part = &picture.pixels[(top + sources.start) * stride..(top + sources.end) * stride];
        let crop = crop.columns.start * CHANNELS..crop.columns.end * CHANNELS;
        let pixels =
            Arch::new().dispatch(Passes { part, stride, crop, first: sources.start, columns: &columns, rows: &rows });
        Picture { height: rows.len(), width: columns.len(), pixels }
    }
}

/// Both passes, compiled for the widest vectors of the machine.
struct Passes<'a> {
    /// The rows of the picture that are needed.
    part: &'a [u8],
    /// The bytes of one of them.
    stride: usize,
    /// The bytes of each that are resized.
    crop: Range<usize>,
    /// Which source of `rows` is the first of `part`.
    first: usize,
    columns: &'a Taps,
    rows: &'a Taps,
}

impl WithSimd for Passes<'_> {
    type Output = Vec<u8>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Vec<u8> {
        let Self { part, stride, crop, first, columns, rows } = self;
        let row_len = columns.len() * CHANNELS;
        let mut narrow = vec![0; part.len() / stride * row_len]; // resized horizontally
        let mut lanes = vec![[0; LANES]; crop.len() / CHANNELS];
        for (out, band) in narrow.chunks_mut(ROWS * row_len).zip(part.chunks(ROWS * stride)) {
            for (r, row) in band.chunks_exact(stride).enumerate() {
                fill(&mut lanes, r, &row[crop.clone()]);
            }
            horizontally(&lanes, columns, out, row_len);
        }
        let mut pixels = vec![0; rows.len() * row_len];
        for (out, (source, weights)) in pixels.chunks_exact_mut(row_len).zip(rows.iter()) {
            vertically(&narrow[(source - first) * row_len..], weights, out);
        }
        pixels
    }
}

/// Rows that are resized horizontally at once.
const ROWS: usize = 4;

/// A pixel of each of them, with a fourth channel that fills a vector register.
const LANES: usize = ROWS * 4;

/// ½ in fixed point: what rounds a sum.
const HALF: i32 = 1 << (PRECISION - 1);

/// The byte of a sum in fixed point.
#[inline(always)]
fn rounded(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

/// Writes a row of pixels into the lanes of row `r`; what is in the fourth channel has no meaning.
#[inline(always)]
fn fill(lanes: &mut [[u8; LANES]], r: usize, row: &[u8]) {
    let lanes_of_r = 4 * r..4 * r + 4;
    for (lanes, four) in lanes.iter_mut().zip(row.windows(4).step_by(CHANNELS)) {
        lanes[lanes_of_r.clone()].copy_from_slice(four);
    }
    if let (Some(lanes), Some(pixel)) = (lanes.last_mut(), row.last_chunk::<CHANNELS>()) {
        lanes[lanes_of_r][..CHANNELS].copy_from_slice(pixel);
    }
}

/// Resizes up to four rows into those of `out`, which are `row_len` bytes long.
#[inline(always)]
fn horizontally(lanes: &[[u8; LANES]], columns: &Taps, out: &mut [u8], row_len: usize) {
    let rows = out.len() / row_len;
    for (x, (first, weights)) in columns.iter().enumerate() {
        let mut sums = [HALF; LANES];
        for (lanes, weight) in lanes[first..].iter().zip(weights) {
            for (sum, value) in sums.iter_mut().zip(lanes) {
                *sum = sum.wrapping_add(i32::from(*value).wrapping_mul(*weight));
            }
        }
        let mut bytes = [0; LANES];
        for (byte, sum) in bytes.iter_mut().zip(sums) {
            *byte = rounded(sum);
        }
        for (r, pixel) in bytes.as_chunks::<4>().0.iter().enumerate().take(rows) {
            out[r * row_len + x * CHANNELS..][..CHANNELS].copy_from_slice(&pixel[..CHANNELS]);
        }
    }
}

/// One output row: the sum of the rows in `rows`, each of the length of `out`, by `weights`.
#[inline(always)]
fn vertically(rows: &[u8], weights: &[i32], out: &mut [u8]) {
    const BLOCK: usize = 32;
    let len = out.len();
    let (blocks, rest) = out.as_chunks_mut::<BLOCK>();
    let done = len - rest.len();
    for (block, out) in blocks.iter_mut().enumerate() {
        let mut sums = [HALF; BLOCK];
        for (row, weight) in rows.chunks_exact(len).zip(weights) {
            for (sum, value) in sums.iter_mut().zip(&row.as_chunks::<BLOCK>().0[block]) {
                *sum = sum.wrapping_add(i32::from(*value).wrapping_mul(*weight));
            }
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = rounded(sum);
        }
    }
    for (x, out) in rest.iter_mut().enumerate() {
        let values = rows.chunks_exact(len).map(|row| i32::from(row[done + x]));
        let products = values.zip(weights).map(|(value, weight)| value.wrapping_mul(*weight));
        *out = rounded(products.fold(HALF, i32::wrapping_add));
    }
}

impl Picture {
    /// The picture at another size, with the bits of Pillow's `Image.resize((width, height), …)`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if a side is 0, or the picture has not h·w·3 bytes.
    pub fn resize(&self, height: usize, width: usize, interpolation: Interpolation) -> candle_core::Result<Picture> {
        self.check()?;
        if height == 0 || width == 0 {
            return Err(
                Error::InvalidArgument(format!("resize to {height}·{width} pixels, expected at least 1·1")).into()
            );
        }
        let (crop, window) = (Region::at(0, 0, self.height, self.width), Region::at(0, 0, height, width));
        Ok(Resizing { crop, size: (height, width), window, mirrored: false, interpolation }.apply(self))
    }

    /// Whether the number of bytes is that of the size.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let Self { height, width, pixels } = self;
        let expected = height.checked_mul(*width).and_then(|n| n.checked_mul(CHANNELS));
        if expected != Some(pixels.len()) || pixels.is_empty() {
            let text =
                format!("a picture of {height}·{width} pixels has {} bytes, expected h·w·3, at least 3", pixels.len());
            return Err(Error::InvalidArgument(text));
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::draw::Draw;
    use msharp_core::Key;

    pub(crate) fn noise(height: usize, width: usize, seed: u64) -> Picture {
        let mut draw = Draw::new(Key::new(seed));
        Picture { height, width, pixels: (0..height * width * CHANNELS).map(|_| draw.below(256) as u8).collect() }
    }

    fn crop(picture: &Picture, Region { rows, columns }: &Region) -> Picture {
        let row =
            |y: usize| &picture.pixels[(y * picture.width + columns.start) * CHANNELS..][..columns.len() * CHANNELS];
        let pixels = rows.clone().flat_map(row).copied().collect();
        Picture { height: rows.len(), width: columns.len(), pixels }
    }

    fn mirror(picture: &Picture) -> Picture {
        let rows = picture.pixels.chunks_exact(picture.width * CHANNELS);
        let pixels = rows.flat_map(|row| row.rchunks_exact(CHANNELS)).flatten().copied().collect();
        Picture { pixels, ..picture.clone() }
    }

    #[test]
    fn a_window_of_a_crop_is_that_part_of_the_resized_crop() -> candle_core::Result<()> {
        let mut draw = Draw::new(Key::new(1));
        let mut within = |n: usize| {
            let length = 1 + draw.below(n);
            let start = draw.below(n - length + 1);
            start..start + length
        };
        for i in 0..200 {
            let picture = noise(1 + i % 17, 1 + i % 23, i as u64);
            let from = Region { rows: within(picture.height), columns: within(picture.width) };
            let size = (1 + i % 13, 1 + i % 19);
            let window = Region { rows: within(size.0), columns: within(size.1) };
            let interpolation = [Interpolation::Bilinear, Interpolation::Bicubic][i % 2];
            let whole = crop(&picture, &from).resize(size.0, size.1, interpolation)?;
            let part = crop(&whole, &window);
            let resizing = Resizing { crop: from, size, window, mirrored: false, interpolation };
            assert_eq!(resizing.apply(&picture), part, "{resizing:?}");
            assert_eq!(Resizing { mirrored: true, ..resizing }.apply(&picture), mirror(&part));
        }
        Ok(())
    }

    #[test]
    fn the_same_size_is_the_same_picture_and_one_colour_stays() -> candle_core::Result<()> {
        for interpolation in [Interpolation::Bilinear, Interpolation::Bicubic] {
            let picture = noise(9, 14, 3);
            assert_eq!(picture.resize(9, 14, interpolation)?, picture);
            let grey = Picture { pixels: vec![201; picture.pixels.len()], ..picture };
            for (h, w) in [(1, 1), (5, 90), (33, 2)] {
                assert!(grey.resize(h, w, interpolation)?.pixels.iter().all(|&byte| byte == 201));
            }
        }
        Ok(())
    }

    /// The sum over all sources in f64, rounded between the passes: the definition without fixed point and windows.
    #[test]
    fn agrees_with_sums_over_all_pixels_within_one_grey_level() -> candle_core::Result<()> {
        for (interpolation, (h, w)) in [(Interpolation::Bilinear, (4, 31)), (Interpolation::Bicubic, (25, 6))] {
            let picture = noise(11, 15, 8);
            let weights = |n: usize, m: usize, i: usize| -> Vec<f64> {
                let scale = n as f64 / m as f64;
                let at = |j: usize| interpolation.weight((j as f64 + 0.5 - (i as f64 + 0.5) * scale) / scale.max(1.));
                let sum: f64 = (0..n).map(at).sum();
                (0..n).map(|j| at(j) / sum).collect()
            };
            let found = picture.resize(h, w, interpolation)?;
            for (at, &byte) in found.pixels.iter().enumerate() {
                let (y, x, c) = (at / CHANNELS / w, at / CHANNELS % w, at % CHANNELS);
                let row = |j: usize| -> f64 {
                    let value = |i: usize| f64::from(picture.pixels[(j * 15 + i) * CHANNELS + c]);
                    let sum: f64 = weights(15, w, x).iter().enumerate().map(|(i, weight)| weight * value(i)).sum();
                    sum.round().clamp(0., 255.)
                };
                let sum: f64 = weights(11, h, y).iter().enumerate().map(|(j, weight)| weight * row(j)).sum();
                assert!((sum.clamp(0., 255.) - f64::from(byte)).abs() < 1.01, "{sum} {byte}");
            }
        }
        Ok(())
    }

    #[test]
    fn a_picture_that_contradicts_itself_is_an_error() {
        for (height, width, bytes) in [(2, 2, 11), (0, 2, 0), (usize::MAX, usize::MAX, 3)] {
            let picture = Picture { height, width, pixels: vec![0; bytes] };
            let error = picture.resize(1, 1, Interpolation::Bilinear).unwrap_err().to_string();
            assert!(error.contains("expected h·w·3"), "{error}");
        }
        assert!(noise(2, 2, 0).resize(0, 1, Interpolation::Bilinear).is_err());
        assert!("nearest".parse::<Interpolation>().unwrap_err().to_string().contains("expected bilinear or bicubic"));
    }
}

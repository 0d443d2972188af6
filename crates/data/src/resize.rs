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
pub(crate) mod tests;

//! TIFF: the first picture of a file, in strips or tiles, whole pixels or planes; uncompressed, LZW, Deflate, PackBits
//! or JPEG. Greyscale of 1, 8 or 16 bits, a palette, RGB of 8 or 16 bits, CMYK and YCbCr of 8 bits.

use super::size;
use crate::Picture;
use std::io::Cursor;
use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::tags::{ExtraSamples, Tag};
use tiff::{ColorType, TiffError};

/// Bytes that a pixel has at most: four of 16 bits.
const PIXEL: usize = 8;
/// Bytes of one of a file's tables at most.
const TABLE: usize = 16 << 20;

/// As in Pillow, and unlike in other formats, the picture is turned as its `Orientation` says.
pub(super) fn decode(bytes: &[u8]) -> Result<Picture, String> {
    let damaged = |error: TiffError| match error {
        TiffError::UnsupportedError(what) => format!("it is a TIFF of a kind that is not read: {what}"),
        other => format!("it is truncated or damaged: {other}"),
    };
    let indices = as_levels(bytes);
    let mut decoder = Decoder::new(Cursor::new(indices.as_deref().unwrap_or(bytes))).map_err(damaged)?;
    let (width, height) = decoder.dimensions().map_err(damaged)?;
    let (height, width) = size(width, height)?;
    let (mut limits, most) = (Limits::default(), (height * width * PIXEL).max(TABLE));
    (limits.decoding_buffer_size, limits.intermediate_buffer_size, limits.ifd_value_size) = (most, most, TABLE);
    decoder = decoder.with_limits(limits);
    let colours = decoder.colortype().map_err(damaged)?;
    let extra: Vec<u16> = decoder.find_tag_unsigned_vec(Tag::ExtraSamples).map_err(damaged)?.unwrap_or_default();
    if extra.contains(&ExtraSamples::AssociatedAlpha.to_u16()) {
        return Err("its colours are multiplied by alpha, expected alpha beside them".into());
    }
    let palette: Option<Vec<u16>> = match indices {
        Some(_) => Some(decoder.get_tag_u16_vec(Tag::ColorMap).map_err(damaged)?),
        None => None,
    };
    let turned: u16 = decoder.find_tag_unsigned(Tag::Orientation).map_err(damaged)?.unwrap_or(1);

    let mut raw = DecodingResult::U8(Vec::new());
    let layout = decoder.read_image_to_buffer(&mut raw).map_err(damaged)?;
    let (count, planes) = (height * width, layout.planes);
    let pixels = match (&raw, colours) {
        (DecodingResult::U8(raw), ColorType::Gray(8)) if let Some(palette) = palette => looked_up(raw, &palette)?,
        _ if indices.is_some() => return Err(format!("its palette has {colours:?} indices, expected 8 bits")),
        (DecodingResult::U8(raw), ColorType::Gray(1)) => {
            let row = width.div_ceil(8);
            let bits = |line: &[u8]| (0..width).map(|x| 255 * (line[x / 8] >> (7 - x % 8) & 1)).collect::<Vec<u8>>();
            raw.chunks_exact(row).flat_map(bits).flat_map(|level| [level; 3]).collect()
        }
        (DecodingResult::U8(raw), ColorType::Gray(8) | ColorType::Multiband { bit_depth: 8, num_samples: 2 }) => {
            by_pixel(raw, planes, count, |pixel| [pixel[0]; 3])
        }
        // Pillow clips them, as in PNG.
        (DecodingResult::U16(raw), ColorType::Gray(16)) => {
            by_pixel(raw, planes, count, |pixel| [pixel[0].min(255) as u8; 3])
        }
        (DecodingResult::U8(raw), ColorType::RGB(8) | ColorType::RGBA(8)) => {
            by_pixel(raw, planes, count, |pixel| [pixel[0], pixel[1], pixel[2]])
        }
        (DecodingResult::U16(raw), ColorType::RGB(16) | ColorType::RGBA(16)) => {
            by_pixel(raw, planes, count, |pixel| [0, 1, 2].map(|i| (pixel[i] >> 8) as u8))
        }
        (DecodingResult::U8(raw), ColorType::CMYK(8)) => by_pixel(raw, planes, count, cmyk),
        (DecodingResult::U8(raw), ColorType::YCbCr(8)) => by_pixel(raw, planes, count, ycbcr),
        _ => return Err(format!("its pixels are {colours:?}, expected greyscale, a palette, RGB, CMYK or YCbCr")),
    };
    match pixels.len() == count * 3 {
        true => turn(Picture { height, width, pixels }, turned),
        false => Err("it is truncated or damaged: there are too few pixels".into()),
    }
}

/// The same file, with the indices of a palette called grey levels: the decoder reads no palette. `None` without one.
fn as_levels(bytes: &[u8]) -> Option<Vec<u8>> {
    const MEANING: u16 = 262;
    let is_little = bytes[0] == b'I';
    let short = |at: usize| {
        let pair = *bytes.get(at..)?.first_chunk()?;
        Some(if is_little { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) })
    };
    let four = *bytes.get(4..)?.first_chunk()?;
    let directory = if is_little { u32::from_le_bytes(four) } else { u32::from_be_bytes(four) } as usize;
    let mut entries = (0..usize::from(short(directory)?)).map(|i| directory + 2 + 12 * i);
    let value = 8 + entries.find(|at| short(*at) == Some(MEANING))?;
    let (palette, grey) = (3, 1u16);
    if short(value)? != palette {
        return None;
    }
    let mut changed = bytes.to_vec();
    changed[value..value + 2].copy_from_slice(&if is_little { grey.to_le_bytes() } else { grey.to_be_bytes() });
    Some(changed)
}

/// The colours of indices: a palette has all reds, then all greens, then all blues.
fn looked_up(indices: &[u8], palette: &[u16]) -> Result<Vec<u8>, String> {
    let colours = palette.len() / 3;
    if let Some(index) = indices.iter().find(|index| usize::from(**index) >= colours) {
        return Err(format!("its palette has no colour {index}"));
    }
    let colour = |index: &u8| [0, 1, 2].map(|i| (palette[i * colours + usize::from(*index)] >> 8) as u8);
    Ok(indices.iter().flat_map(colour).collect())
}

/// The colours of pixels whose samples lie together, or each in a plane of its own.
fn by_pixel<T: Copy + Default>(raw: &[T], planes: usize, pixels: usize, colour: impl Fn(&[T]) -> [u8; 3]) -> Vec<u8> {
    if planes > 1 {
        let mut pixel = vec![T::default(); planes];
        let mut gather = |at: usize| {
            pixel.iter_mut().zip(raw.chunks_exact(pixels)).for_each(|(sample, plane)| *sample = plane[at]);
            colour(&pixel)
        };
        let count = if raw.len() == planes * pixels { pixels } else { 0 };
        return (0..count).flat_map(&mut gather).collect();
    }
    let samples = raw.len() / pixels;
    raw.chunks_exact(samples.max(1)).flat_map(colour).collect()
}

/// Pillow's conversion.
fn cmyk(pixel: &[u8]) -> [u8; 3] {
    let light = 255 - u32::from(pixel[3]);
    [0, 1, 2].map(|i| {
        let product = u32::from(pixel[i]) * light + 128;
        light.saturating_sub(((product >> 8) + product) >> 8) as u8
    })
}

/// ITU-R BT.601, as in JPEG.
fn ycbcr(pixel: &[u8]) -> [u8; 3] {
    let (y, cb, cr) = (f32::from(pixel[0]), f32::from(pixel[1]) - 128., f32::from(pixel[2]) - 128.);
    [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb].map(|level| level.round() as u8)
}

/// The picture as `orientation` says; the first row and the first column of what is stored are, in the numbering of
/// TIFF and EXIF, at 1: top and left, 2: top and right, 3: bottom and right, 4: bottom and left, and 5 to 8: left and
/// top, right and top, right and bottom, left and bottom.
fn turn(picture: Picture, orientation: u16) -> Result<Picture, String> {
    let Picture { height, width, pixels } = &picture;
    let (rows, columns) = if orientation < 5 { (*height, *width) } else { (*width, *height) };
    let from = |y: usize, x: usize| match orientation {
        2 => (y, width - 1 - x),
        3 => (height - 1 - y, width - 1 - x),
        4 => (height - 1 - y, x),
        5 => (x, y),
        6 => (height - 1 - x, y),
        7 => (height - 1 - x, width - 1 - y),
        _ => (x, width - 1 - y),
    };
    match orientation {
        2..=8 => {
            let places = (0..rows).flat_map(|y| (0..columns).map(move |x| (y, x)));
            let colour = |(y, x): (usize, usize)| {
                let (row, column) = from(y, x);
                let at = 3 * (row * width + column);
                [pixels[at], pixels[at + 1], pixels[at + 2]]
            };
            Ok(Picture { height: rows, width: columns, pixels: places.flat_map(colour).collect() })
        }
        _ => Ok(picture),
    }
}

//! JPEG: baseline and progressive; greyscale, YCbCr, RGB, CMYK and YCCK, in any subsampling.

use super::size;
use crate::Picture;
use std::borrow::Cow;
use std::ops::Range;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// The marker of a scan: where the header ends.
const SCAN: u8 = 0xda;
/// The end marker.
const END: [u8; 2] = [0xff, 0xd9];

/// Where libjpeg warns and goes on, at a damaged scan for instance, this is an error. Bytes between the parts of the
/// header, between the last scan and the end marker, or after it, are ignored as there.
pub(super) fn decode(bytes: &[u8]) -> Result<Picture, String> {
    let header = header(bytes);
    let whole = header.as_ref().map_or(Cow::Borrowed(bytes), |(parts, scan)| in_one_piece(bytes, parts, *scan));
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let damaged = |error| format!("it is truncated or damaged: {error:?}");
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(&*whole), options);
    decoder.decode_headers().map_err(damaged)?;
    let (width, height) = decoder.dimensions().ok_or("its header is incomplete")?;
    let (height, width) = size(width as u64, height as u64)?;
    // A thumbnail in the header has an end marker of its own.
    if !header.is_some_and(|(_, scan)| bytes[scan..].windows(2).rev().any(|pair| pair == END)) {
        return Err("it is truncated: the end marker is missing".into());
    }
    let pixels = decoder.decode().map_err(damaged)?;
    match pixels.len() == height * width * 3 {
        true => Ok(Picture { height, width, pixels }),
        false => Err(format!("its components are {:?}, expected those of a colour", decoder.input_colorspace())),
    }
}

/// The parts of the header, each from its marker on, and where the first scan begins. Bytes between parts belong to
/// none.
fn header(bytes: &[u8]) -> Option<(Vec<Range<usize>>, usize)> {
    let (mut at, mut parts) = (2, Vec::new());
    loop {
        let is_marker = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0 | 0xff);
        let start = at + bytes.get(at..)?.windows(2).position(is_marker)?;
        match bytes[start..] {
            [_, SCAN, ..] => return Some((parts, start)),
            [_, _, high, low, ..] => at = start + 2 + usize::from(u16::from_be_bytes([high, low])),
            _ => return None,
        }
        parts.push(start..at.min(bytes.len()));
    }
}

/// The same with the parts of its header side by side.
fn in_one_piece<'a>(bytes: &'a [u8], parts: &[Range<usize>], scan: usize) -> Cow<'a, [u8]> {
    if 2 + parts.iter().map(Range::len).sum::<usize>() == scan {
        return Cow::Borrowed(bytes);
    }
    let parts = parts.iter().map(|part| &bytes[part.clone()]);
    Cow::Owned([&bytes[..2]].into_iter().chain(parts).chain([&bytes[scan..]]).flatten().copied().collect())
}

//! JPEG: baseline and progressive; greyscale, YCbCr, RGB, CMYK and YCCK, in any subsampling.

use super::size;
use crate::Picture;
use std::borrow::Cow;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// The marker of a scan: where the header ends.
const SCAN: u8 = 0xda;

/// Where libjpeg warns and goes on, at a damaged scan for instance, this is an error. Bytes between the parts of the
/// header, between the last scan and the end marker, or after it, are ignored as there.
pub(super) fn decode(bytes: &[u8]) -> Result<Picture, String> {
    let bytes = &*with_header_in_one_piece(bytes);
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let damaged = |error| format!("it is truncated or damaged: {error:?}");
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(damaged)?;
    let (width, height) = decoder.dimensions().ok_or("its header is incomplete")?;
    let (height, width) = size(width as u64, height as u64)?;
    if !has_end(bytes) {
        return Err("it is truncated: the end marker is missing".into());
    }
    let pixels = decoder.decode().map_err(damaged)?;
    match pixels.len() == height * width * 3 {
        true => Ok(Picture { height, width, pixels }),
        false => Err(format!("its components are {:?}, expected those of a colour", decoder.input_colorspace())),
    }
}

/// The same without bytes between the parts of the header, which belong to none.
fn with_header_in_one_piece(bytes: &[u8]) -> Cow<'_, [u8]> {
    let (mut at, mut parts, mut is_whole) = (2, bytes[..bytes.len().min(2)].to_vec(), true);
    loop {
        let rest = &bytes[at.min(bytes.len())..];
        let is_marker = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0 | 0xff);
        let Some(start) = rest.windows(2).position(is_marker) else { return Cow::Borrowed(bytes) };
        is_whole &= start == 0;
        match rest[start..] {
            [_, SCAN, ..] if is_whole => return Cow::Borrowed(bytes),
            [_, SCAN, ..] => return Cow::Owned([&parts, &rest[start..]].concat()),
            [_, _, high, low, ..] => {
                let end = start + 2 + usize::from(u16::from_be_bytes([high, low]));
                parts.extend(&rest[start..end.min(rest.len())]);
                at += end;
            }
            _ => return Cow::Borrowed(bytes),
        }
    }
}

/// Whether the end marker follows the beginning of the first scan. A thumbnail in the header has a marker of its own.
fn has_end(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let [0xff, marker, high, low, ..] = bytes[at.min(bytes.len())..] {
        match marker {
            SCAN => break,
            0xff => at += 1, // fill bytes may precede a marker
            _ => at += 2 + usize::from(u16::from_be_bytes([high, low])),
        }
    }
    bytes[at.min(bytes.len())..].windows(2).rev().any(|pair| pair == [0xff, 0xd9])
}

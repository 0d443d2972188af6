//! PNG: every colour type and depth, interlaced or not.

use super::{first_three, repeated, size};
use crate::Picture;
use png::{BitDepth, ColorType, Decoder, Limits, Transformations};
use std::io::Cursor;

/// Memory for what precedes the pixels, a palette for instance.
const MOST_BYTES_OF_CHUNKS: usize = 64 << 20;

pub(super) fn decode(bytes: &[u8]) -> Result<Picture, String> {
    let damaged = |error: png::DecodingError| format!("it is truncated or damaged: {error}");
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), Limits { bytes: MOST_BYTES_OF_CHUNKS });
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder.set_transformations(Transformations::EXPAND); // a palette to colours, fewer bits to 8, transparency to alpha
    let header = decoder.read_header_info().map_err(damaged)?;
    let (height, width) = size(header.width, header.height)?;
    let stored = header.color_type;
    let mut reader = decoder.read_info().map_err(damaged)?;
    let mut raw = vec![0; reader.output_buffer_size().ok_or("its header claims too many bytes")?];
    reader.next_frame(&mut raw).map_err(damaged)?;

    let (expanded, depth) = reader.output_color_type();
    let deep = depth == BitDepth::Sixteen;
    let pixels = match (expanded, deep) {
        (ColorType::Rgb, false) => raw,
        (ColorType::Rgba, false) => first_three::<4>(&raw),
        (ColorType::Grayscale, false) => repeated::<1>(&raw),
        (ColorType::GrayscaleAlpha, false) => repeated::<2>(&raw),
        (ColorType::Rgb, true) => first_three::<3>(&high_bytes(&raw)),
        (ColorType::Rgba, true) => first_three::<4>(&high_bytes(&raw)),
        (ColorType::Grayscale, true) => clipped::<2>(&raw),
        (ColorType::GrayscaleAlpha, true) if stored == ColorType::Grayscale => clipped::<4>(&raw),
        (ColorType::GrayscaleAlpha, true) => repeated::<4>(&raw), // the high byte comes first
        (ColorType::Indexed, _) => return Err("its palette is missing".into()),
    };
    Ok(Picture { height, width, pixels })
}

/// The high byte of each sample of 16 bits.
fn high_bytes(raw: &[u8]) -> Vec<u8> {
    raw.iter().step_by(2).copied().collect()
}

/// Grey levels of 16 bits clipped at 255, which is what Pillow makes of its mode `I;16`; a pixel has `N` bytes.
fn clipped<const N: usize>(raw: &[u8]) -> Vec<u8> {
    let level = |pixel: &[u8; N]| u16::from_be_bytes([pixel[0], pixel[1]]).min(255) as u8;
    raw.as_chunks::<N>().0.iter().flat_map(|pixel| [level(pixel); 3]).collect()
}

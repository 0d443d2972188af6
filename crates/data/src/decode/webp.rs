//! WebP: with and without loss, with and without alpha; the first frame of an animation.

use super::{first_three, size};
use crate::Picture;
use image_webp::WebPDecoder;
use std::io::Cursor;

/// `bytes` has the twelve bytes of WebP's signature.
pub(super) fn decode(bytes: &[u8]) -> Result<Picture, String> {
    let damaged = |error: image_webp::DecodingError| format!("it is truncated or damaged: {error}");
    let claimed = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
    if bytes.len() as u64 - 8 < u64::from(claimed) {
        return Err(format!("it is truncated: {} bytes, expected {}", bytes.len(), u64::from(claimed) + 8));
    }
    let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(damaged)?;
    let (width, height) = decoder.dimensions();
    let (height, width) = size(width, height)?;
    let alpha = decoder.has_alpha();
    let mut raw = vec![0; height * width * if alpha { 4 } else { 3 }];
    decoder.read_image(&mut raw).map_err(damaged)?;
    Ok(Picture { height, width, pixels: if alpha { first_three::<4>(&raw) } else { raw } })
}

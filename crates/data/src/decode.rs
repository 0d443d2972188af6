//! Picture files as RGB bytes, as Pillow's `Image.open(…).convert("RGB")` has them.
//!
//! The format is that of the content, whatever the file is called. Greyscale is repeated three times, a palette is
//! looked up, alpha is dropped and not blended, 16 bits become their high byte. Greyscale of 16 bits is the one
//! exception: Pillow clips it at 255, and so does this. EXIF's orientation is left alone, as torchvision does; that of
//! a TIFF is followed, as in Pillow. Of an animation this is the first frame.
//!
//! PNG, WebP without loss, BMP, PPM and TIFF give Pillow's bytes. JPEG differs in rounding, mostly of subsampled
//! colour: by 0.01 grey levels in the mean over photographs without subsampling and 0.2 with 4:2:0, by 8 at most.

mod bmp;
mod jpeg;
mod png;
mod ppm;
mod tiff;
mod webp;

use crate::Picture;

/// The endings of the files that [`decode`] understands, in lower case.
pub(crate) const ENDINGS: [&str; 9] = ["jpg", "jpeg", "png", "webp", "bmp", "ppm", "pgm", "tif", "tiff"];

/// Pixels of a picture at most, twice Pillow's `MAX_IMAGE_PIXELS`: what Pillow refuses as a decompression bomb.
const MOST_PIXELS: u64 = 178_956_970;

/// Decodes the content of a picture file.
///
/// Memory is at most eleven bytes for each pixel that the header claims, and is taken after the header was checked.
///
/// # Errors
/// The reason, for the end of a sentence that begins with the file's name: another format, truncated, damaged, no
/// pixels, or too many of them.
pub(crate) fn decode(bytes: &[u8]) -> Result<Picture, String> {
    match bytes {
        [] => Err("the file is empty".into()),
        [0xff, 0xd8, ..] => jpeg::decode(bytes),
        [0x89, b'P', b'N', b'G', ..] => png::decode(bytes),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => webp::decode(bytes),
        [b'B', b'M', ..] => bmp::decode(bytes),
        [b'P', b'5' | b'6', ..] => ppm::decode(bytes),
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => tiff::decode(bytes),
        _ => Err(format!("{}, expected JPEG, PNG, WebP, BMP, TIFF, or binary PPM or PGM", other_format(bytes))),
    }
}

/// What the content is, if it is no format that is decoded.
fn other_format(bytes: &[u8]) -> &'static str {
    match bytes {
        [b'G', b'I', b'F', b'8', ..] => "it is a GIF",
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => "it is a HEIF, an AVIF or a video",
        [b'P', b'1'..=b'4', ..] => "it is a PBM, or a PPM or PGM as text",
        [b'<', ..] => "it is HTML, SVG or XML",
        _ => "it is no picture",
    }
}

/// Height and width, if a picture may have them.
fn size(width: impl Into<u64>, height: impl Into<u64>) -> Result<(usize, usize), String> {
    let (width, height) = (width.into(), height.into());
    match width.checked_mul(height) {
        Some(0) => Err(format!("its header claims {width}·{height} pixels, expected at least 1·1")),
        Some(pixels) if pixels <= MOST_PIXELS => Ok((height as usize, width as usize)),
        _ => Err(format!("its header claims {width}·{height} pixels, expected at most {MOST_PIXELS}")),
    }
}

/// The colours of pixels of `N` bytes, whatever follows the first three dropped.
fn first_three<const N: usize>(raw: &[u8]) -> Vec<u8> {
    raw.as_chunks::<N>().0.iter().flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect()
}

/// The colours of grey pixels of `N` bytes, the first of which is the grey level.
fn repeated<const N: usize>(raw: &[u8]) -> Vec<u8> {
    raw.as_chunks::<N>().0.iter().flat_map(|pixel| [pixel[0]; 3]).collect()
}

#[cfg(test)]
mod tests;

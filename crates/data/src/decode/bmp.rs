//! BMP: uncompressed, with a palette of 1, 4 or 8 bits, or with 24 or 32 bits a pixel.

use super::size;
use crate::Picture;

/// Bytes of the file's own header, before that of the bitmap.
const FILE_HEADER: usize = 14;

pub(super) fn decode(bytes: &[u8]) -> Result<Picture, String> {
    const TRUNCATED: &str = "it is truncated";
    let u16_at = |at: usize| bytes.get(at..at + 2).map(|b| u16::from_le_bytes([b[0], b[1]])).ok_or(TRUNCATED);
    let u32_at =
        |at: usize| bytes.get(at..at + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).ok_or(TRUNCATED);
    let (start, header) = (u32_at(10)? as usize, u32_at(FILE_HEADER)? as usize);
    if !(40..=124).contains(&header) {
        return Err(format!("its header has {header} bytes, expected 40 to 124"));
    }
    let height = u32_at(22)?.cast_signed(); // negative where the first row is the top one
    let (rows, width) = size(u32_at(18)?, height.unsigned_abs())?;
    let (bits, compression) = (usize::from(u16_at(28)?), u32_at(30)?);
    let masks = [u32_at(54), u32_at(58), u32_at(62)];
    match (bits, compression) {
        (1 | 4 | 8 | 24 | 32, 0) => {}
        (32, 3) if masks == [Ok(0xff_0000), Ok(0xff00), Ok(0xff)] => {}
        _ => return Err(format!("it has {bits} bits a pixel in compression {compression}, expected no compression")),
    }
    let stride = (width * bits).div_ceil(32) * 4;
    let raw = bytes.get(start..).and_then(|rest| rest.get(..stride * rows)).ok_or(TRUNCATED)?;
    let palette = match bits {
        ..=8 => bytes.get(FILE_HEADER + header..start).ok_or("its palette is missing")?.as_chunks::<4>().0,
        _ => &[],
    };
    let colour = |&[blue, green, red, _]: &[u8; 4]| [red, green, blue];

    let mut pixels = Vec::with_capacity(rows * width * 3);
    for row in 0..rows {
        let from_top = if height < 0 { row } else { rows - 1 - row };
        let line = &raw[from_top * stride..][..stride];
        match bits {
            24 => pixels.extend(line.as_chunks().0.iter().take(width).flat_map(|&[b, g, r]| [r, g, b])),
            32 => pixels.extend(line.as_chunks().0.iter().take(width).flat_map(colour)),
            _ => {
                for x in 0..width {
                    let at = x * bits;
                    let index = line[at / 8] >> (8 - bits - at % 8) & ((1u16 << bits) - 1) as u8;
                    let entry = palette.get(usize::from(index));
                    pixels.extend(entry.map(colour).ok_or_else(|| format!("its palette has no colour {index}"))?);
                }
            }
        }
    }
    Ok(Picture { height: rows, width, pixels })
}

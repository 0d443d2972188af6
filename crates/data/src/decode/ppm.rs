//! Binary PPM (`P6`) and PGM (`P5`), of any largest value.

use super::size;
use crate::Picture;

pub(super) fn decode(bytes: &[u8]) -> Result<Picture, String> {
    let grey = bytes[1] == b'5';
    let (header, samples) = header(bytes.get(2..).unwrap_or_default()).ok_or("its header is truncated or damaged")?;
    let [width, height, most] = header;
    let (height, width) = size(width, height)?;
    if !(1..=65535).contains(&most) {
        return Err(format!("its largest value is {most}, expected 1 to 65535"));
    }
    let wide = most > 255;
    let count = height * width * if grey { 1 } else { 3 };
    let expected = count * if wide { 2 } else { 1 };
    let samples = samples
        .get(..expected)
        .ok_or_else(|| format!("it is truncated: {} bytes of pixels, expected {expected}", samples.len()))?;
    let level = level(most, grey && wide);
    let levels: Vec<u8> = match wide {
        false => samples.iter().map(|&v| level(v.into())).collect(),
        true => samples.as_chunks().0.iter().map(|&v| level(u16::from_be_bytes(v))).collect(),
    };
    let pixels = if grey { super::repeated::<1>(&levels) } else { levels };
    Ok(Picture { height, width, pixels })
}

/// Width, height and the largest value, and what follows them.
fn header(mut rest: &[u8]) -> Option<([u32; 3], &[u8])> {
    let mut numbers = [0; 3];
    for number in &mut numbers {
        let skipped = rest.len();
        loop {
            rest = rest.trim_ascii_start();
            match rest.strip_prefix(b"#") {
                Some(comment) => rest = &comment[comment.iter().position(|&b| b == b'\n')?..],
                None => break,
            }
        }
        let digits = rest.iter().position(|b| !b.is_ascii_digit())?;
        if skipped == rest.len() {
            return None; // no blank between two numbers
        }
        *number = std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
        rest = &rest[digits..];
    }
    rest.split_first().filter(|(blank, _)| blank.is_ascii_whitespace()).map(|(_, samples)| (numbers, samples))
}

/// A sample as 8 bits. Pillow scales what is not 8 or 16 bits wide; it scales wide grey levels to 16 bits, and clips
/// those at 255.
fn level(most: u32, wide_grey: bool) -> impl Fn(u16) -> u8 {
    let range = if wide_grey { 65535. } else { 255. };
    move |value| match most {
        255 => value as u8,
        most => (f64::from(value) / f64::from(most) * range).round_ties_even().min(255.) as u8,
    }
}

//! Brightness, contrast, saturation, sharpness and hue, as Pillow computes them.

use crate::Picture;

/// d + factor·(v − d), cut off to a byte: Pillow's `Image.blend(degenerate, image, factor)`.
fn blend(degenerate: u8, value: u8, factor: f32) -> u8 {
    (f32::from(degenerate) + factor * (f32::from(value) - f32::from(degenerate))) as u8
}

/// The grey of a pixel (ITU-R 601), in 16 bits of fixed point, as Pillow's `convert("L")`.
fn grey(pixel: &[u8]) -> u8 {
    let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(u32::from);
    ((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16) as u8
}

/// Blends with the byte `degenerate`.
fn blend_all(pixels: &mut [u8], degenerate: u8, factor: f32) {
    let table: [u8; 256] = std::array::from_fn(|value| blend(degenerate, value as u8, factor));
    pixels.iter_mut().for_each(|byte| *byte = table[*byte as usize]);
}

pub(super) fn brightness(pixels: &mut [u8], factor: f32) {
    blend_all(pixels, 0, factor);
}

pub(super) fn contrast(pixels: &mut [u8], factor: f32) {
    let sum: u64 = pixels.chunks_exact(3).map(|pixel| u64::from(grey(pixel))).sum();
    let mean = sum as f64 / (pixels.len() / 3) as f64;
    blend_all(pixels, (mean + 0.5) as u8, factor);
}

pub(super) fn saturation(pixels: &mut [u8], factor: f32) {
    for pixel in pixels.chunks_exact_mut(3) {
        let grey = grey(pixel);
        pixel.iter_mut().for_each(|byte| *byte = blend(grey, *byte, factor));
    }
}

/// Blends with the picture smoothed by [[1, 1, 1], [1, 5, 1], [1, 1, 1]]/13, whose border is not smoothed.
pub(super) fn sharpness(picture: &mut Picture, factor: f32) {
    let row = picture.width * 3;
    let original = picture.pixels.clone();
    let inner = picture.pixels.chunks_exact_mut(row).skip(1);
    for (out, rows) in inner.zip(original.windows(3 * row).step_by(row)) {
        let (above, rest) = rows.split_at(row);
        let (line, below) = rest.split_at(row);
        let sums = above.iter().zip(line).zip(below).map(|((a, b), c)| u16::from(*a) + u16::from(*b) + u16::from(*c));
        let sums: Vec<u16> = sums.collect(); // of three bytes above each other
        for ((out, value), sums) in out[3.min(row)..].iter_mut().zip(&line[3.min(row)..]).zip(sums.windows(7)) {
            let sum = u32::from(sums[0] + sums[3] + sums[6]) + 4 * u32::from(*value);
            let smooth = ((2 * sum + 13) / 26) as u8; // rounded; a sum by 13 is never halfway
            *out = blend(smooth, *value, factor);
        }
    }
}

/// Turns the hue by `turn` of the circle, in steps of 1/255.
pub(super) fn hue(pixels: &mut [u8], turn: f32) {
    let shift = (f64::from(turn) * 255.) as i32 as u8; // wraps, as numpy's bytes do
    for pixel in pixels.chunks_exact_mut(3) {
        let [hue, saturation, value] = hsv([pixel[0], pixel[1], pixel[2]]);
        pixel.copy_from_slice(&rgb([hue.wrapping_add(shift), saturation, value]));
    }
}

/// Pillow's `convert("HSV")`, with its mixture of single and double precision.
fn hsv([r, g, b]: [u8; 3]) -> [u8; 3] {
    let (most, least) = (r.max(g).max(b), r.min(g).min(b));
    if most == least {
        return [0, 0, most];
    }
    let range = f32::from(most - least);
    let [red, green, blue] = [r, g, b].map(|byte| f32::from(most - byte) / range);
    let sector = if r == most {
        blue - green
    } else if g == most {
        (2. + f64::from(red) - f64::from(blue)) as f32
    } else {
        (4. + f64::from(green) - f64::from(red)) as f32
    };
    let turn = f64::from(sector) / 6. + 1.;
    let hue = (if turn >= 1. { turn - 1. } else { turn }) as f32;
    let saturation = range / f32::from(most);
    [(f64::from(hue) * 255.) as u8, (f64::from(saturation) * 255.) as u8, most]
}

/// Pillow's `convert("RGB")` of an HSV picture.
fn rgb([hue, saturation, value]: [u8; 3]) -> [u8; 3] {
    if saturation == 0 {
        return [value; 3];
    }
    let turns = f64::from(hue) * 6. / 255.;
    let sector = turns as u8;
    let part = (turns - f64::from(sector)) as f32;
    let saturation = (f64::from(saturation) / 255.) as f32;
    let scaled = |share: f64| (f64::from(value) * share + 0.5) as u8; // rounded
    let low = scaled(1. - f64::from(saturation));
    let falling = scaled(1. - f64::from(saturation * part));
    let rising = scaled(1. - f64::from(saturation) * (1. - f64::from(part)));
    match sector % 6 {
        0 => [value, rising, low],
        1 => [falling, value, low],
        2 => [low, value, rising],
        3 => [low, falling, value],
        4 => [rising, low, value],
        _ => [value, low, falling],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_factor_of_1_changes_nothing_and_0_is_the_degenerate_picture() {
        let pixels: Vec<u8> = (0..=254).collect();
        for adjust in [brightness, contrast, saturation] {
            let mut same = pixels.clone();
            adjust(&mut same, 1.);
            assert_eq!(same, pixels);
        }
        let [mut black, mut flat, mut grey] = [pixels.clone(), pixels.clone(), pixels];
        brightness(&mut black, 0.);
        contrast(&mut flat, 0.);
        saturation(&mut grey, 0.);
        assert!(black.iter().all(|&byte| byte == 0) && flat.iter().all(|&byte| byte == flat[0]));
        assert!(grey.chunks_exact(3).all(|pixel| pixel == [pixel[0]; 3]));
    }

    #[test]
    fn greys_have_no_hue_and_primary_colours_keep_theirs() {
        for byte in [0, 1, 100, 255] {
            let mut pixels = [byte; 3];
            hue(&mut pixels, 0.3);
            assert_eq!(pixels, [byte; 3]);
        }
        assert_eq!([[255, 0, 0], [0, 255, 0], [0, 0, 255]].map(hsv), [[0, 255, 255], [85, 255, 255], [170, 255, 255]]);
        assert_eq!([[0, 255, 255], [85, 255, 255], [170, 255, 255]].map(rgb), [[255, 0, 0], [0, 255, 0], [0, 0, 255]]);
    }

    #[test]
    fn a_picture_without_an_interior_is_not_smoothed() {
        for (height, width) in [(1, 1), (2, 5), (5, 2), (1, 9)] {
            let picture = Picture { height, width, pixels: (0..height * width * 3).map(|i| i as u8).collect() };
            let mut sharp = picture.clone();
            sharpness(&mut sharp, 0.);
            assert_eq!(sharp, picture);
        }
    }
}

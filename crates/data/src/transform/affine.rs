//! Shear, translation and rotation, to the nearest pixel.

use crate::Picture;

/// The sources of the pixels: that of output (x, y) is at (a·x + b·y + c, d·x + e·y + f), both measured to the centres
/// of pixels.
type Matrix = [f64; 6];

/// Reads each pixel from the one nearest to its source, black from outside: Pillow's `Image.transform(…, AFFINE,
/// matrix, NEAREST)`, which computes in 16.16 fixed point.
fn sample(picture: &mut Picture, [a, b, c, d, e, f]: Matrix) {
    let fixed = |value: f64| (value * 65536. + 0.5).floor() as i64;
    let (height, width) = (picture.height as i64, picture.width as i64);
    let [right, below] = [[a, d], [b, e]].map(|step| step.map(fixed));
    let mut start = [c + a * 0.5 + b * 0.5, f + d * 0.5 + e * 0.5].map(fixed);
    let mut pixels = vec![0; picture.pixels.len()];
    for row in pixels.chunks_exact_mut(picture.width * 3) {
        let [mut x, mut y] = start;
        for pixel in row.chunks_exact_mut(3) {
            let (column, line) = (x >> 16, y >> 16);
            if (0..width).contains(&column) && (0..height).contains(&line) {
                let at = (line * width + column) as usize * 3;
                pixel.copy_from_slice(&picture.pixels[at..at + 3]);
            }
            (x, y) = (x + right[0], y + right[1]);
        }
        start = [start[0] + below[0], start[1] + below[1]];
    }
    picture.pixels = pixels;
}

pub(super) fn shear(picture: &mut Picture, x: f64, y: f64) {
    sample(picture, [1., x, 0., y, 1., 0.]);
}

pub(super) fn translate(picture: &mut Picture, x: f64, y: f64) {
    sample(picture, [1., 0., -x, 0., 1., -y]);
}

/// Sine and cosine are rounded to 15 digits, as Pillow does, so that they do not depend on the machine's library.
pub(super) fn rotate(picture: &mut Picture, degrees: f64) {
    let (sin, cos) = (-degrees.rem_euclid(360.).to_radians()).sin_cos();
    let [sin, cos] = [sin, cos].map(|value| (value * 1e15).round() / 1e15);
    let (x, y) = (picture.width as f64 / 2., picture.height as f64 / 2.);
    sample(picture, [cos, sin, x - (cos * x + sin * y), -sin, cos, y - (cos * y - sin * x)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square() -> Picture {
        Picture { height: 3, width: 3, pixels: (1..=9).flat_map(|i| [i; 3]).collect() }
    }

    fn after(change: impl Fn(&mut Picture)) -> Vec<u8> {
        let mut picture = square();
        change(&mut picture);
        picture.pixels.into_iter().step_by(3).collect()
    }

    #[test]
    fn nothing_moves_by_0_and_quarter_turns_are_exact() {
        assert_eq!(after(|picture| shear(picture, 0., 0.)), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(after(|picture| rotate(picture, 0.)), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(after(|picture| rotate(picture, 90.)), [3, 6, 9, 2, 5, 8, 1, 4, 7]);
        assert_eq!(after(|picture| rotate(picture, -180.)), [9, 8, 7, 6, 5, 4, 3, 2, 1]);
    }

    #[test]
    fn what_comes_in_is_black() {
        assert_eq!(after(|picture| translate(picture, 1., 0.)), [0, 1, 2, 0, 4, 5, 0, 7, 8]);
        assert_eq!(after(|picture| translate(picture, 0., -2.)), [7, 8, 9, 0, 0, 0, 0, 0, 0]);
        assert_eq!(after(|picture| shear(picture, 0.5, 0.)), [1, 2, 3, 5, 6, 0, 8, 9, 0]);
        assert_eq!(after(|picture| translate(picture, 1e9, 0.)), [0; 9]);
    }
}

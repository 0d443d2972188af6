//! Small and simple images of the synthetic set's classes, from which a network learns within seconds.

use crate::draw::Draw;
use crate::figure::{FIGURES, Figure};
use crate::synthetic::{Colour, SIDE, Stamp, painted};
use crate::{Dataset, Split};
use msharp_core::Key;

/// Pixels on a side of the canvas for one of the image.
const SHRINK: usize = 2;
/// Pixels on a side of an image.
const THUMBNAIL: usize = SIDE / SHRINK;

/// Draws `train` training and `test` test images, 16×16 RGB, of the ten classes of [`synthetic`](crate::synthetic);
/// image i is a figure of class i mod 10.
///
/// Each shows one figure, whole, near the centre and nearly upright, on a plain background; colours, contrast, shading
/// and noise vary and are no hint of the class. A few hundred images are enough to learn from, at a quarter of the cost
/// of an image of 32×32: for demonstrations and tests, not for comparisons with published numbers.
///
/// An image is a pure function of (`seed`, training or test, index), as in [`synthetic`](crate::synthetic).
pub fn thumbnails(train: usize, test: usize, seed: u64) -> Split {
    let key = Key::new(seed).fold_name("thumbnails");
    let part = |name: &str, n: usize| {
        let about = Dataset {
            name: format!("thumbnails {name}"),
            images: Vec::new(),
            labels: Vec::new(),
            classes: FIGURES.len(),
            size: (THUMBNAIL, THUMBNAIL),
            mean: [0.5; 3],
            std: [0.174; 3],
        };
        painted(about, n, key.fold_name(name), paint)
    };
    Split { train: part("train", train), test: part("test", test) }
}

/// Draws one image of `figure`, `[h, w, 3]`.
fn paint(figure: Figure, draw: &mut Draw, image: &mut [u8]) {
    let base: Colour = std::array::from_fn(|_| draw.between(0.4, 0.6));
    let mut canvas = vec![base; SIDE * SIDE];
    let centre = [0; 2].map(|_| SIDE as f64 / 2. + draw.between(-1.5, 1.5));
    let radius = draw.between(12., 14.);
    let tilt = draw.between(-0.1, 0.1); // tan of ±6°
    let cos = 1. / (1. + tilt * tilt).sqrt();
    let mut stamp = Stamp::new(figure, centre, radius, base, draw);
    (stamp.angle, stamp.opacity) = ([cos, cos * tilt], 1.);
    stamp.press(&mut canvas);

    let noise = draw.between(0.02, 0.06);
    for (i, byte) in image.iter_mut().enumerate() {
        let (pixel, channel) = (i / 3, i % 3);
        let (row, column) = (pixel / THUMBNAIL * SHRINK, pixel % THUMBNAIL * SHRINK);
        let below = (0..SHRINK * SHRINK).map(|k| canvas[(row + k / SHRINK) * SIDE + column + k % SHRINK][channel]);
        let mean = below.sum::<f64>() / (SHRINK * SHRINK) as f64;
        *byte = ((mean + noise * draw.bell()) * 255. + 0.5).clamp(0., 255.) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    #[test]
    fn the_first_images_never_change_and_a_smaller_set_begins_a_larger_one() {
        let Split { train, test } = thumbnails(100, 50, 0);
        assert_eq!((train.size, train.len(), test.len(), train.images.len()), ((16, 16), 100, 50, 100 * 768));
        let digest = |set: &Dataset| {
            Sha256::digest(&set.images).iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        assert_eq!((digest(&train).as_str(), digest(&test).as_str()), ("afd5be4422ed5b5d", "3c5329f4892960ca"));
        assert_eq!(thumbnails(20, 0, 0).train.images, train.images[..20 * 768]);
        assert!(thumbnails(20, 0, 1).train.images != train.images[..20 * 768]);
    }

    #[test]
    fn the_normalisation_is_that_of_the_images_and_colour_is_no_hint() {
        let set = thumbnails(5000, 0, 3).train;
        let channel = |of: &[u8], c: usize| -> Vec<f64> {
            of.iter().skip(c).step_by(3).map(|&byte| byte as f64 / 255.).collect()
        };
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        for c in 0..3 {
            let all = channel(&set.images, c);
            let centre = mean(&all);
            let std = mean(&all.iter().map(|v| (v - centre) * (v - centre)).collect::<Vec<_>>()).sqrt();
            assert!((centre - set.mean[c] as f64).abs() < 0.01 && (std - set.std[c] as f64).abs() < 0.01, "{std}");
            for class in 0..10 {
                let of_class = (class..5000).step_by(10).map(|i| mean(&channel(set.image(i), c)));
                let centre = mean(&of_class.collect::<Vec<_>>());
                assert!((centre - 0.5).abs() < 4. * 0.174 / 500f64.sqrt(), "class {class}, channel {c}: {centre}");
            }
        }
    }
}

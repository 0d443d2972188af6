//! The synthetic set: figures of ten classes over texture, clutter and noise.

use crate::draw::Draw;
use crate::figure::{FIGURES, Figure};
use crate::{Dataset, Split};
use msharp_core::Key;
use rayon::prelude::*;

/// Pixels on a side.
pub(crate) const SIDE: usize = 32;
/// Samples on a side of a pixel, for smooth edges.
const OVERSAMPLING: usize = 2;
/// Knots on a side of the background's texture.
const KNOTS: usize = 6;

/// Red, green, blue; 0 to 1 is what can be seen.
pub(crate) type Colour = [f64; 3];

/// Draws `train` training and `test` test images, 32×32 RGB, of ten classes; image i is a figure of class i mod 10.
///
/// The classes are disc, ring, square, triangle, cross, star, horizontal stripes, vertical stripes, checkerboard and
/// dots. Place, size, angle (except for the stripes), colours, contrast, shading and background have the same
/// distribution for every class, so only the shape is informative. The task is not trivial: a figure may be small, lie
/// partly outside of the image, have little contrast, be crossed by a line, be partly covered by a patch of background,
/// stand beside a smaller figure of *another* class, and is noisy. Some images cannot be classified at all.
///
/// An image is a pure function of (`seed`, training or test, index): the same bytes on every machine and for any number
/// of threads, and a smaller set is the beginning of a larger one. Both parts have the same distribution. Uses all
/// threads of rayon.
pub fn synthetic(train: usize, test: usize, seed: u64) -> Split {
    let key = Key::new(seed).fold_name("synthetic");
    Split { train: part("train", train, key), test: part("test", test, key) }
}

fn part(name: &str, n: usize, key: Key) -> Dataset {
    // the colours favour no channel and no side of grey
    let about = Dataset {
        name: format!("synthetic {name}"),
        images: Vec::new(),
        labels: Vec::new(),
        classes: FIGURES.len(),
        size: (SIDE, SIDE),
        mean: [0.5; 3],
        std: [0.18; 3],
    };
    painted(about, n, key.fold_name(name), paint)
}

/// `about` with `n` images, the i-th of class i mod 10, each painted from a key of its own.
pub(crate) fn painted(
    about: Dataset,
    n: usize,
    key: Key,
    paint: impl Fn(Figure, &mut Draw, &mut [u8]) + Sync,
) -> Dataset {
    let (classes, bytes) = (about.classes, about.size.0 * about.size.1 * 3);
    let mut images = vec![0; n * bytes];
    images.par_chunks_mut(bytes).enumerate().for_each(|(i, image)| {
        paint(FIGURES[i % classes], &mut Draw::new(key.fold(i as u64)), image);
    });
    Dataset { images, labels: (0..n).map(|i| (i % classes) as u32).collect(), ..about }
}

/// Draws one image of `figure`, `[h, w, 3]`.
fn paint(figure: Figure, draw: &mut Draw, image: &mut [u8]) {
    let base: Colour = std::array::from_fn(|_| draw.between(0.3, 0.7));
    let mut canvas = background(base, draw);

    let radius = draw.between(8., 14.);
    let centre = [0; 2].map(|_| draw.between(0.7 * radius, SIDE as f64 - 0.7 * radius));
    for _ in 0..draw.below(2) {
        let other = FIGURES[draw.below(FIGURES.len())];
        let place = [0; 2].map(|_| draw.between(0., SIDE as f64));
        let size = draw.between(0.25, 0.5) * radius;
        Stamp::new(other, place, size, base, draw).press(&mut canvas);
    }
    Stamp::new(figure, centre, radius, base, draw).press(&mut canvas);
    for _ in 0..draw.below(2) {
        line(base, draw).press(&mut canvas);
    }
    if draw.chance(0.3) {
        // a patch of the background over the figure's border
        let [x, y]: [f64; 2] = draw.direction();
        let place = [centre[0] + radius * x, centre[1] + radius * y];
        let size = draw.between(0.3, 0.8) * radius;
        Stamp { paint: [base; 2], ..Stamp::new(Figure::Square, place, size, base, draw) }.press(&mut canvas);
    }

    let noise = draw.between(0.02, 0.08);
    for (byte, value) in image.iter_mut().zip(canvas.as_flattened()) {
        *byte = ((value + noise * draw.bell()) * 255. + 0.5).clamp(0., 255.) as u8;
    }
}

/// Two colours around `base`, blended by smooth noise.
fn background(base: Colour, draw: &mut Draw) -> Vec<Colour> {
    let amplitude = draw.between(0., 0.2);
    let towards: Colour = draw.direction();
    let knots: [[f64; KNOTS + 1]; KNOTS + 1] = std::array::from_fn(|_| std::array::from_fn(|_| draw.between(-1., 1.)));
    let zoom = draw.between(0.3, 1.) * KNOTS as f64 / SIDE as f64;
    let smooth = |t: f64| t * t * (3. - 2. * t);
    let at = |i: usize| {
        let (y, x) = ((i / SIDE) as f64 * zoom, (i % SIDE) as f64 * zoom);
        let (row, column) = (y as usize, x as usize);
        let (v, u) = (smooth(y - row as f64), smooth(x - column as f64));
        let along = |row: usize| knots[row][column] * (1. - u) + knots[row][column + 1] * u;
        let value = amplitude * (along(row) * (1. - v) + along(row + 1) * v);
        std::array::from_fn(|c| base[c] + value * towards[c])
    };
    (0..SIDE * SIDE).map(at).collect()
}

/// A figure with a place, an angle and a paint.
pub(crate) struct Stamp {
    figure: Figure,
    round: bool,
    /// Column and row of the centre, in pixels.
    centre: [f64; 2],
    /// Pixels per unit of the figure along its two axes.
    scale: [f64; 2],
    /// (cos, sin) of the angle.
    pub(crate) angle: [f64; 2],
    /// The colours at its two ends.
    paint: [Colour; 2],
    pub(crate) opacity: f64,
}

impl Stamp {
    /// A stamp with everything drawn that is not given; its colours lie around `base` at some contrast.
    pub(crate) fn new(figure: Figure, centre: [f64; 2], radius: f64, base: Colour, draw: &mut Draw) -> Self {
        let mut angle: [f64; 2] = draw.direction();
        if figure.keeps_direction() {
            let tilt = draw.between(-0.35, 0.35); // tan of ±19°
            let cos = 1. / (1. + tilt * tilt).sqrt();
            angle = [cos, cos * tilt];
        }
        let contrast = draw.between(0.35, 0.9);
        let towards: Colour = draw.direction();
        let shading: Colour = draw.in_ball();
        let shade = |side: f64| std::array::from_fn(|c| base[c] + contrast * (towards[c] + side * 0.4 * shading[c]));
        Self {
            figure,
            round: draw.chance(0.5),
            centre,
            scale: [radius, radius * draw.between(0.75, 1.)],
            angle,
            paint: [shade(-1.), shade(1.)],
            opacity: draw.between(0.7, 1.),
        }
    }

    /// Paints the figure over what is there.
    pub(crate) fn press(&self, canvas: &mut [Colour]) {
        let [cos, sin] = self.angle;
        let reach = 1.3 * self.scale[0].max(self.scale[1]);
        let span = |centre: f64| (centre - reach).max(0.) as usize..((centre + reach).max(0.) as usize + 1).min(SIDE);
        let step = 1. / OVERSAMPLING as f64;
        for row in span(self.centre[1]) {
            for column in span(self.centre[0]) {
                let mut covered = 0;
                let mut along = 0.;
                for sample in 0..OVERSAMPLING * OVERSAMPLING {
                    let x = column as f64 + ((sample % OVERSAMPLING) as f64 + 0.5) * step - self.centre[0];
                    let y = row as f64 + ((sample / OVERSAMPLING) as f64 + 0.5) * step - self.centre[1];
                    let u = (cos * x + sin * y) / self.scale[0];
                    let v = (cos * y - sin * x) / self.scale[1];
                    covered += self.figure.contains(u, v, self.round) as usize;
                    along = u;
                }
                if covered > 0 {
                    let alpha = self.opacity * covered as f64 * step * step;
                    let blend = (0.5 + 0.5 * along).clamp(0., 1.);
                    let pixel = &mut canvas[row * SIDE + column];
                    for (c, value) in pixel.iter_mut().enumerate() {
                        let paint = self.paint[0][c] * (1. - blend) + self.paint[1][c] * blend;
                        *value += alpha * (paint - *value);
                    }
                }
            }
        }
    }
}

/// A thin line across the image.
fn line(base: Colour, draw: &mut Draw) -> Stamp {
    let centre = [0; 2].map(|_| draw.between(0., SIDE as f64));
    let long = Stamp::new(Figure::Square, centre, draw.between(6., 24.), base, draw);
    Stamp { scale: [long.scale[0], draw.between(0.5, 1.2)], ..long }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    #[test]
    fn the_first_images_never_change() {
        let split = synthetic(100, 100, 0);
        let digest = |set: &Dataset| {
            Sha256::digest(&set.images).iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        assert_eq!(
            (digest(&split.train).as_str(), digest(&split.test).as_str()),
            ("2277e311cf1c525e", "f7b477c748cddded")
        );
    }

    #[test]
    fn an_image_depends_on_seed_split_and_index_only() {
        let (few, many) = (synthetic(20, 10, 5), synthetic(50, 40, 5));
        assert_eq!(few.train.images, many.train.images[..few.train.images.len()]);
        assert_eq!(few.test.images, many.test.images[..few.test.images.len()]);
        let other = synthetic(20, 10, 6);
        let mut images: Vec<&[u8]> = (0..20).flat_map(|i| [few.train.image(i), other.train.image(i)]).collect();
        images.extend((0..10).map(|i| few.test.image(i)));
        images.sort_unstable();
        images.dedup();
        assert_eq!(images.len(), 50, "no image occurs twice");
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bytes() {
        let pool = |n| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
        assert_eq!(pool(1).install(|| synthetic(64, 8, 1)), pool(3).install(|| synthetic(64, 8, 1)));
    }

    #[test]
    fn the_normalisation_is_that_of_the_images() {
        let set = synthetic(2000, 0, 3).train;
        let n = (set.images.len() / 3) as f64;
        for c in 0..3 {
            let channel = || set.images.iter().skip(c).step_by(3).map(|&byte| byte as f64 / 255.);
            let mean = channel().sum::<f64>() / n;
            let std = (channel().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n).sqrt();
            assert!((mean - set.mean[c] as f64).abs() < 0.01 && (std - set.std[c] as f64).abs() < 0.01, "{mean} {std}");
        }
    }

    #[test]
    fn colour_tells_nothing_about_the_class() {
        // the mean colour of each class is that of all, within four standard errors of a class's mean
        let set = synthetic(5000, 0, 2).train;
        for class in 0..10 {
            for c in 0..3 {
                let means = (class..5000).step_by(10).map(|i| {
                    set.image(i).iter().skip(c).step_by(3).map(|&byte| byte as f64).sum::<f64>() / 1024. / 255.
                });
                let mean = means.sum::<f64>() / 500.;
                assert!((mean - 0.5).abs() < 4. * 0.18 / 500f64.sqrt(), "class {class}, channel {c}: {mean}");
            }
        }
    }
}

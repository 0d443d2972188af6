//! Random brightness, contrast, saturation and hue.

use super::PictureOp;
use crate::Error;
use crate::draw::Draw;

/// torchvision's `ColorJitter(brightness, contrast, saturation, hue)`: the four in random order.
///
/// A factor is uniform between max(0, 1 − amount) and 1 + amount, that of the hue between −amount and amount. An amount
/// of 0 is off.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ColorJitter {
    /// At least 0.
    pub brightness: f64,
    /// At least 0.
    pub contrast: f64,
    /// At least 0.
    pub saturation: f64,
    /// As a share of the circle of colours; 0 to ½.
    pub hue: f64,
}

impl ColorJitter {
    pub(super) fn check(&self) -> Result<(), Error> {
        let Self { brightness, contrast, saturation, hue } = *self;
        let amounts = [("brightness", brightness), ("contrast", contrast), ("saturation", saturation)];
        let wrong = match amounts.iter().find(|(_, amount)| !(*amount >= 0. && amount.is_finite())) {
            Some((name, amount)) => format!("{name} is {amount}, expected a finite number of at least 0"),
            None if !(0. ..=0.5).contains(&hue) => format!("hue is {hue}, expected 0 to 0.5"),
            None => return Ok(()),
        };
        Err(Error::InvalidArgument(wrong))
    }

    /// The operations for one picture, in their order.
    pub(super) fn draw(&self, draw: &mut Draw) -> impl Iterator<Item = PictureOp> {
        let mut factor = |amount: f64| draw.between((1. - amount).max(0.), 1. + amount) as f32;
        let factors = [factor(self.brightness), factor(self.contrast), factor(self.saturation)];
        let turn = draw.between(-self.hue, self.hue) as f32;
        let mut ops = [
            (self.brightness, PictureOp::Brightness(factors[0])),
            (self.contrast, PictureOp::Contrast(factors[1])),
            (self.saturation, PictureOp::Saturation(factors[2])),
            (self.hue, PictureOp::Hue(turn)),
        ];
        for last in (1..ops.len()).rev() {
            ops.swap(last, draw.below(last + 1));
        }
        ops.into_iter().filter(|(amount, _)| *amount > 0.).map(|(_, op)| op)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use msharp_core::Key;

    #[test]
    fn factors_are_uniform_in_their_ranges_and_every_order_is_equally_likely() {
        let jitter = ColorJitter { brightness: 0.4, contrast: 3., saturation: 0.2, hue: 0.1 };
        let (mut orders, mut sums) = (std::collections::BTreeMap::new(), [0f64; 4]);
        const N: usize = 4800;
        for i in 0..N {
            let ops: Vec<PictureOp> = jitter.draw(&mut Draw::new(Key::new(i as u64))).collect();
            let places = ops.iter().map(|op| match *op {
                PictureOp::Brightness(factor) if (0.6..=1.4).contains(&factor) => (0, factor),
                PictureOp::Contrast(factor) if (0. ..=4.).contains(&factor) => (1, factor),
                PictureOp::Saturation(factor) if (0.8..=1.2).contains(&factor) => (2, factor),
                PictureOp::Hue(turn) if (-0.1..=0.1).contains(&turn) => (3, turn),
                other => panic!("{other:?}"),
            });
            let places: Vec<(usize, f32)> = places.collect();
            places.iter().for_each(|(which, factor)| sums[*which] += f64::from(*factor) / N as f64);
            *orders.entry(places.iter().map(|(which, _)| *which).collect::<Vec<_>>()).or_insert(0) += 1;
        }
        assert!(orders.len() == 24 && orders.values().all(|n| (140..260).contains(n)), "{orders:?}"); // 200 each
        for (mean, expected) in sums.iter().zip([1., 2., 1., 0.]) {
            assert!((mean - expected).abs() < 0.06, "{sums:?}");
        }
    }

    #[test]
    fn an_amount_of_0_is_off() {
        let hue = ColorJitter { hue: 0.2, ..ColorJitter::default() };
        assert!(matches!(hue.draw(&mut Draw::new(Key::new(0))).collect::<Vec<_>>()[..], [PictureOp::Hue(_)]));
        assert_eq!(ColorJitter::default().draw(&mut Draw::new(Key::new(0))).count(), 0);
    }
}

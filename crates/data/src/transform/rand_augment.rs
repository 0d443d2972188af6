//! RandAugment: a few operations drawn from fourteen, all at one magnitude.

use super::PictureOp;
use crate::Error;
use crate::draw::Draw;

/// torchvision's `RandAugment(num_ops, magnitude, num_magnitude_bins)` (Cubuk et al. 2020,
/// <https://arxiv.org/abs/1909.13719>): operations drawn with replacement; where a magnitude has a sign, each is
/// equally likely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RandAugment {
    /// How many operations a picture gets; at most 100.
    pub num_ops: usize,
    /// Which of the magnitudes; below `num_magnitude_bins`.
    pub magnitude: usize,
    /// How many magnitudes there are; at least 2.
    pub num_magnitude_bins: usize,
}

impl Default for RandAugment {
    /// Two operations at magnitude 9 of 31.
    fn default() -> Self {
        Self { num_ops: 2, magnitude: 9, num_magnitude_bins: 31 }
    }
}

impl RandAugment {
    pub(super) fn check(&self) -> Result<(), Error> {
        let Self { num_ops, magnitude, num_magnitude_bins: bins } = *self;
        let wrong = if num_ops > 100 {
            format!("num_ops is {num_ops}, expected at most 100")
        } else if bins < 2 {
            format!("num_magnitude_bins is {bins}, expected at least 2")
        } else if magnitude >= bins {
            format!("magnitude is {magnitude}, expected below num_magnitude_bins, {bins}")
        } else {
            return Ok(());
        };
        Err(Error::InvalidArgument(wrong))
    }

    /// The fourteen operations on a picture of `height`·`width` pixels, in torchvision's order, with the sign `-` where
    /// they have one and `negative`.
    pub fn ops(&self, height: usize, width: usize, negative: bool) -> [PictureOp; 14] {
        use PictureOp::*;
        let sign = if negative { -1. } else { 1. };
        let signed = |most: f32| sign * self.level(0., most);
        let shift = |side: usize| signed((150. / 331. * side as f64) as f32) as i32;
        let bits = self.magnitude as f32 / ((self.num_magnitude_bins - 1) as f32 / 4.);
        [
            Identity,
            ShearX(signed(0.3)),
            ShearY(signed(0.3)),
            TranslateX(shift(width)),
            TranslateY(shift(height)),
            Rotate(signed(30.)),
            Brightness(1. + signed(0.9)),
            Saturation(1. + signed(0.9)),
            Contrast(1. + signed(0.9)),
            Sharpness(1. + signed(0.9)),
            Posterize(8 - bits.round_ties_even() as u32),
            Solarize(self.level(255., 0.)),
            AutoContrast,
            Equalize,
        ]
    }

    /// The magnitude between `first` and `last`: `torch.linspace(first, last, num_magnitude_bins)[magnitude]`, in f32.
    fn level(&self, first: f32, last: f32) -> f32 {
        let (at, end) = (self.magnitude, self.num_magnitude_bins - 1);
        let step = (last - first) / end as f32;
        match at < self.num_magnitude_bins / 2 {
            true => first + step * at as f32,
            false => last - step * (end - at) as f32,
        }
    }

    /// The operations for one picture of `size`·`size` pixels.
    pub(super) fn draw(&self, size: usize, draw: &mut Draw) -> impl Iterator<Item = PictureOp> {
        (0..self.num_ops).map(move |_| {
            let (which, negative) = (draw.below(14), draw.chance(0.5));
            self.ops(size, size, negative)[which]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use msharp_core::Key;

    #[test]
    fn each_operation_and_sign_is_equally_likely() {
        let augment = RandAugment { num_ops: 28_000, ..RandAugment::default() };
        let drawn: Vec<PictureOp> = augment.draw(224, &mut Draw::new(Key::new(2))).collect();
        let count = |op: PictureOp| drawn.iter().filter(|drawn| **drawn == op).count();
        let (plus, minus) = (augment.ops(224, 224, false), augment.ops(224, 224, true));
        for (plus, minus) in plus.into_iter().zip(minus) {
            let counts = [count(plus), count(minus)];
            let expected = if plus == minus { 2000 } else { 1000 }; // standard deviations 43 and 31
            assert!(counts.iter().all(|n| n.abs_diff(expected) < 170), "{plus:?} {counts:?}");
        }
    }

    #[test]
    fn the_usual_magnitude_has_the_levels_of_the_paper() {
        let ops = RandAugment::default().ops(331, 662, true);
        assert_eq!(ops[3..5], [PictureOp::TranslateX(-90), PictureOp::TranslateY(-45)]);
        assert_eq!(ops[10..12], [PictureOp::Posterize(7), PictureOp::Solarize(178.5)]);
        assert!(matches!(ops[5], PictureOp::Rotate(degrees) if (degrees + 9.).abs() < 1e-5));
    }
}

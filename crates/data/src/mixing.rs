//! Mixup and CutMix: samples of a batch mixed in pairs, with targets that are distributions.

use crate::Error;
use candle_core::{D, DType, Result, Tensor};
use msharp_core::{Batch, Batches, DataSource, Key};
use rand::RngExt;
use rand_distr::{Beta, Distribution};

/// How the samples of a batch are mixed, each with the one before it (the first with the last), as in torchvision's
/// `MixUp` and `CutMix`. With λ of Beta(α, α), one for each batch:
///
/// * Mixup (Zhang et al. 2018): λ xᵢ + (1 − λ) xᵢ₋₁.
/// * CutMix (Yun et al. 2019): xᵢ with a box of xᵢ₋₁, whose sides are √(1 − λ) of the image's and whose centre is
///   uniform; λ becomes the share outside of the box, which ends at the border.
///
/// The targets are λ on class yᵢ and 1 − λ on yᵢ₋₁. With both, each batch has one or the other with probability ½.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mixing {
    /// α of Mixup; 0: none.
    pub mixup: f64,
    /// α of CutMix; 0: none.
    pub cutmix: f64,
}

/// What one batch is mixed by.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mix {
    /// λ
    Mixup(f64),
    /// The box: top, left, bottom, right.
    CutMix([usize; 4]),
}

impl Mix {
    /// λ: what is left of a sample in images of this height and width.
    fn share(self, (h, w): (usize, usize)) -> f64 {
        match self {
            Mix::Mixup(share) => share,
            Mix::CutMix([top, left, bottom, right]) => 1. - ((bottom - top) * (right - left)) as f64 / (h * w) as f64,
        }
    }
}

/// A source whose batches are mixed: inputs `[b, h, w, c]` as they were, targets f32 `[b, k]` instead of classes u32
/// `[b]`. How a batch is mixed is a pure function of its key.
///
/// # Errors
/// A batch is [`Error::InvalidArgument`] if an α is negative or not finite.
#[derive(Clone, Debug)]
pub struct Mixed<S> {
    /// Batches with classes.
    pub source: S,
    /// How they are mixed.
    pub mixing: Mixing,
    /// k
    pub classes: usize,
}

impl<S: DataSource> DataSource for Mixed<S> {
    fn steps(&self) -> usize {
        self.source.steps()
    }

    fn samples(&self) -> usize {
        self.source.samples()
    }

    fn epoch_from(&self, epoch: usize, step: usize) -> Batches<'_> {
        let batches = self.source.epoch_from(epoch, step);
        Box::new(batches.map(|batch| self.mixing.mix(batch?, self.classes)))
    }
}

impl Mixing {
    /// Whether nothing is mixed.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    fn mix(&self, batch: Batch, classes: usize) -> Result<Batch> {
        let (_, h, w, _) = batch.inputs.dims4()?;
        let mix = self.draw(batch.key.fold_name("mixing"), (h, w))?;
        let (x, before) = (&batch.inputs, batch.inputs.roll(1, 0)?);
        let inputs = match mix {
            Mix::Mixup(share) => ((x * share)? + (before * (1. - share))?)?,
            Mix::CutMix(area) => inside(area, (h, w), x)?.where_cond(&before, x)?,
        };
        let share = mix.share((h, w));
        let y = one_hot(&batch.targets, classes)?;
        let targets = ((&y * share)? + (y.roll(1, 0)? * (1. - share))?)?;
        Ok(Batch { inputs, targets, ..batch })
    }

    fn draw(&self, key: Key, (h, w): (usize, usize)) -> Result<Mix> {
        let mut rng = key.rng();
        let takes_mixup = match (self.mixup > 0., self.cutmix > 0.) {
            (true, true) => rng.random_bool(0.5),
            (mixup, _) => mixup,
        };
        let (name, alpha) = if takes_mixup { ("mixup", self.mixup) } else { ("cutmix", self.cutmix) };
        let share = match Beta::new(alpha, alpha) {
            Ok(beta) if alpha.is_finite() => beta.sample(&mut rng),
            _ => {
                let text = format!("{name} is {alpha}, expected an α above 0, as 0.2 or 1");
                return Err(Error::InvalidArgument(text).into());
            }
        };
        if takes_mixup {
            return Ok(Mix::Mixup(share));
        }
        let (y, x) = (rng.random_range(0..h), rng.random_range(0..w));
        let half = 0.5 * (1f64 - share).sqrt();
        let (dy, dx) = ((half * h as f64) as usize, (half * w as f64) as usize);
        Ok(Mix::CutMix([y.saturating_sub(dy), x.saturating_sub(dx), h.min(y + dy), w.min(x + dx)]))
    }
}

/// 1 within the box and 0 outside, u8 in the shape of `x`.
fn inside([top, left, bottom, right]: [usize; 4], (h, w): (usize, usize), x: &Tensor) -> Result<Tensor> {
    let is_inside = |at: usize| u8::from((top..bottom).contains(&(at / w)) && (left..right).contains(&(at % w)));
    let mask: Vec<u8> = (0..h * w).map(is_inside).collect();
    Tensor::from_vec(mask, (1, h, w, 1), x.device())?.broadcast_as(x.shape())
}

/// f32 `[b, k]` of classes u32 `[b]`; a class of k or more has nothing but zeros.
fn one_hot(classes: &Tensor, k: usize) -> Result<Tensor> {
    Tensor::arange(0, k as u32, classes.device())?.broadcast_eq(&classes.unsqueeze(D::Minus1)?)?.to_dtype(DType::F32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Loader, synthetic};
    use candle_core::Device;
    use std::sync::Arc;

    const MIXUP: Mixing = Mixing { mixup: 0.4, cutmix: 0. };
    const CUTMIX: Mixing = Mixing { mixup: 0., cutmix: 1. };

    fn mixed(mixing: Mixing) -> Mixed<Loader> {
        Mixed { source: Loader::train(Arc::new(synthetic(60, 10, 0).train), 20, 3), mixing, classes: 10 }
    }

    fn values(x: &Tensor) -> Vec<f32> {
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn mixup_is_the_same_mean_of_inputs_and_of_targets() {
        let (plain, mixed) = (mixed(MIXUP).source, mixed(MIXUP));
        for (plain, mixed) in plain.epoch(0).zip(mixed.epoch(0)) {
            let (plain, mixed) = (plain.unwrap(), mixed.unwrap());
            let (x, y, of) = (plain.inputs, plain.targets.to_vec1::<u32>().unwrap(), values(&mixed.inputs));
            let (x, len) = (values(&x), of.len() / 20);
            let targets = mixed.targets.to_vec2::<f32>().unwrap();
            let pair = (1..20).find(|i| y[*i] != y[i - 1]).unwrap();
            let share = targets[pair][y[pair] as usize];
            for i in 0..20 {
                let before = (i + 19) % 20;
                let mut expected = [0.; 10];
                expected[y[i] as usize] += share;
                expected[y[before] as usize] += 1. - share;
                assert!(targets[i].iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{:?}", targets[i]);
                for at in 0..len {
                    let mean = share * x[i * len + at] + (1. - share) * x[before * len + at];
                    assert!((of[i * len + at] - mean).abs() < 1e-5);
                }
            }
        }
    }

    #[test]
    fn cutmix_takes_a_box_of_the_sample_before_and_counts_its_area() {
        for (plain, mixed) in mixed(CUTMIX).source.epoch(1).zip(mixed(CUTMIX).epoch(1)) {
            let (plain, mixed) = (plain.unwrap(), mixed.unwrap());
            let (x, of, y) = (values(&plain.inputs), values(&mixed.inputs), plain.targets.to_vec1::<u32>().unwrap());
            let (len, targets) = (32 * 32 * 3, mixed.targets.to_vec2::<f32>().unwrap());
            let i = (1..20).find(|i| y[*i] != y[i - 1]).unwrap();
            let taken = (0..len).filter(|at| of[i * len + at] == x[(i - 1) * len + at]).count();
            let kept = (0..len).filter(|at| of[i * len + at] == x[i * len + at]).count();
            let both = taken + kept - len; // pixels that are the same in the two
            let share = 1. - targets[i][y[i] as usize];
            assert!((share - taken as f32 / len as f32).abs() <= both as f32 / len as f32 + 1e-6);
        }
    }

    /// Torchvision's rule: the centre anywhere, sides of √(1 − λ), cut at the border.
    #[test]
    fn boxes_lie_within_the_image() {
        let mut areas = 0.;
        for k in 0..2000 {
            let Mix::CutMix([top, left, bottom, right]) = CUTMIX.draw(Key::new(k), (12, 20)).unwrap() else {
                panic!("expected a box")
            };
            assert!(top <= bottom && bottom <= 12 && left <= right && right <= 20);
            areas += ((bottom - top) * (right - left)) as f64 / 240.;
        }
        assert!((0.25..0.4).contains(&(areas / 2000.)), "{areas}"); // ½ without the borders
    }

    #[test]
    fn a_batch_is_mixed_the_same_way_every_time_and_by_one_of_the_two() {
        let both = mixed(Mixing { mixup: 0.4, cutmix: 1. });
        let [a, b] = [0, 1].map(|_| values(&both.epoch_from(2, 1).next().unwrap().unwrap().inputs));
        assert_eq!(a, b);
        let mixups = (0..400).filter(|k| matches!(both.mixing.draw(Key::new(*k), (8, 8)).unwrap(), Mix::Mixup(_)));
        assert!((160..240).contains(&mixups.count()));
    }

    #[test]
    fn a_wrong_alpha_is_named_and_a_wrong_class_has_no_target() {
        for alpha in [-1., f64::NAN, f64::INFINITY] {
            let error = mixed(Mixing { mixup: 0., cutmix: alpha }).epoch(0).next().unwrap().unwrap_err();
            assert!(error.to_string().contains("cutmix is"), "{error}");
        }
        let targets = one_hot(&Tensor::new(&[1u32, 3], &Device::Cpu).unwrap(), 3).unwrap();
        assert_eq!(targets.to_vec2::<f32>().unwrap(), [[0., 1., 0.], [0.; 3]]);
    }
}

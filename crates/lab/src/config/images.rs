//! How images become inputs where they are not taken as they are: size, crop, colours, normalisation.

use super::text::as_optional_text;
use super::{AugmentName, DeviceName, EstimatorName, RunConfig};
use anyhow::{Result, bail, ensure};
use clap::{Args, ValueEnum};
use msharp_core::Range;
use msharp_data::{ColorJitter, Crop, Interpolation, Mixing, RandAugment, RandomErasing, Transform};
use serde::{Deserialize, Serialize};
use std::fmt::{Display, Formatter};
use std::str::FromStr;

/// Height and width of pictures on disk, unless the network or the command line says another.
const USUAL_SIZE: usize = 224;

/// How images become inputs.
#[derive(Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[command(next_help_heading = "Images")]
pub struct ImageConfig {
    /// Bring images to this height and width [default: as they are; pictures on disk: the network's, or 224]
    #[arg(long, value_name = "PIXELS")]
    pub image_size: Option<usize>,
    /// How images are resized [default: bicubic for sets in memory, bilinear for pictures on disk, or what the
    /// config.json beside --init-weights says]
    #[arg(long, hide_short_help = true, value_name = "NAME")]
    pub interpolation: Option<InterpolationName>,
    /// Evaluate on the centre: the shorter side is resized to the size divided by this share [default: 1 for sets in
    /// memory, 0.875 for pictures on disk, or what config.json says]
    #[arg(long, hide_short_help = true, allow_hyphen_values = true, value_name = "SHARE")]
    pub crop_pct: Option<f64>,
    /// Train on random crops of this share of the area or more, resized [default: padded crops for sets in memory, 0.08
    /// for pictures on disk]
    #[arg(long, hide_short_help = true, allow_hyphen_values = true, value_name = "SHARE")]
    pub crop_scale: Option<f64>,
    /// Change brightness, contrast and saturation by random factors of 1 ± this
    #[arg(long, hide_short_help = true, default_value_t = 0., allow_hyphen_values = true, value_name = "NUMBER")]
    pub color_jitter: f64,
    /// Two random operations of this magnitude on each training image (RandAugment); 9 is usual
    #[arg(long, hide_short_help = true, value_name = "0..30")]
    pub rand_augment: Option<usize>,
    /// Erase a random rectangle of a training image with this probability
    #[arg(long, hide_short_help = true, default_value_t = 0., allow_hyphen_values = true, value_name = "SHARE")]
    pub random_erasing: f64,
    /// Mix the images of a batch in pairs, and their labels (Mixup): α of the shares, Beta(α, α); 0.2 is usual
    #[arg(long, hide_short_help = true, default_value_t = 0., allow_hyphen_values = true, value_name = "ALPHA")]
    pub mixup: f64,
    /// Put a box of one image of a batch into the next (CutMix): α, usually 1. With --mixup, one of the two by chance
    #[arg(long, hide_short_help = true, default_value_t = 0., allow_hyphen_values = true, value_name = "ALPHA")]
    pub cutmix: f64,
    /// Mean of red, green and blue in [0, 1] [default: the set's; ImageNet's for pictures on disk; config.json's]
    #[arg(long, hide_short_help = true, value_name = "R,G,B")]
    #[serde(with = "as_optional_text")]
    pub mean: Option<Channels>,
    /// And their standard deviation
    #[arg(long, hide_short_help = true, value_name = "R,G,B")]
    #[serde(with = "as_optional_text")]
    pub std: Option<Channels>,
    /// Leave out pictures that cannot be read, and say which; otherwise the first is an error
    #[arg(long, hide_short_help = true)]
    pub skip_broken: bool,
}

/// How images are resized, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InterpolationName {
    /// Linear, antialiased
    Bilinear,
    /// Cubic, antialiased
    Bicubic,
}

/// A number for each channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Channels(pub [f32; 3]);

impl Display for Channels {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let [r, g, b] = self.0;
        write!(f, "{r},{g},{b}")
    }
}

impl FromStr for Channels {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let all: Result<Vec<f32>, _> = text.split(',').map(|part| part.trim().parse()).collect();
        match all.ok().and_then(|all| <[f32; 3]>::try_from(all).ok()) {
            Some(all) if all.iter().all(|x| x.is_finite()) => Ok(Self(all)),
            _ => bail!("{text:?} is no number for each channel; expected R,G,B such as 0.485,0.456,0.406"),
        }
    }
}

impl RunConfig {
    /// Height and width of the inputs.
    pub fn side(&self) -> usize {
        self.images.image_size.unwrap_or(self.usual_side())
    }

    /// The same where --image-size is absent.
    pub(super) fn usual_side(&self) -> usize {
        self.data.set.side().or(self.model.architecture.image_size()).unwrap_or(USUAL_SIZE)
    }

    /// How images become inputs in training and in evaluation; none for a set in memory that is taken as it is.
    /// `normalisation` is the set's own mean and deviation, where it has one.
    pub fn transforms(&self, normalisation: Option<([f32; 3], [f32; 3])>) -> Option<Transforms> {
        if self.takes_images_as_they_are() {
            return None;
        }
        let (side, in_memory) = (self.side(), self.data.set.side().is_some());
        let evaluation = self.evaluation(side, in_memory, normalisation);
        let usual = if in_memory { Transform::cifar_train(side) } else { Transform::imagenet_train(side) };
        let cropped =
            self.images.crop_scale.map(|least| Crop::RandomResized { scale: (least, 1.), ratio: (3. / 4., 4. / 3.) });
        let training = match self.data.augment {
            AugmentName::None => evaluation.clone(),
            AugmentName::Standard => self.images.coloured(Transform {
                crop: cropped.unwrap_or(usual.crop),
                flip: usual.flip,
                ..evaluation.clone()
            }),
        };
        Some(Transforms { training, evaluation })
    }

    /// How images become inputs of `side` pixels in evaluation: small ones as a whole, pictures on disk by their
    /// centre, where the configuration says nothing else. `normalisation` is the set's own mean and deviation.
    pub fn evaluation(&self, side: usize, are_small: bool, normalisation: Option<([f32; 3], [f32; 3])>) -> Transform {
        let ImageConfig { interpolation, crop_pct, .. } = self.images;
        let usual = if are_small { Transform::cifar_eval(side) } else { Transform::imagenet_eval(side, 0.875) };
        let (mean, std) = self.images.normalisation(normalisation.unwrap_or((usual.mean, usual.std)));
        Transform {
            crop: crop_pct.map_or(usual.crop, |crop_pct| Crop::Center { crop_pct }),
            interpolation: interpolation.map_or(usual.interpolation, InterpolationName::interpolation),
            mean,
            std,
            ..usual
        }
    }

    /// Whether the images of a set in memory are inputs without being resized or coloured.
    fn takes_images_as_they_are(&self) -> bool {
        let ImageConfig { image_size, interpolation, mean, std, skip_broken, mixup, cutmix, .. } =
            ImageConfig::default();
        let changed =
            ImageConfig { image_size, interpolation, mean, std, skip_broken, mixup, cutmix, ..self.images.clone() };
        self.data.set.side() == Some(self.side()) && changed == ImageConfig::default()
    }

    /// Whether every setting of the images makes sense and has an effect; an error names the flag.
    pub fn check_images(&self) -> Result<()> {
        let ImageConfig { image_size, interpolation, crop_pct, crop_scale, color_jitter, .. } = self.images;
        let ImageConfig { rand_augment, random_erasing, mean, std, skip_broken, mixup, cutmix, .. } = self.images;
        let (set, as_they_are) = (&self.data.set, self.takes_images_as_they_are());
        let in_memory = set.side().is_some();
        ensure!(
            image_size.is_none_or(|size| (1..=Transform::MAX_SIZE).contains(&size)),
            "--image-size is {}; expected 1 to {} pixels",
            image_size.unwrap_or(0),
            Transform::MAX_SIZE
        );
        for (flag, share) in [("crop-pct", crop_pct), ("crop-scale", crop_scale)] {
            ensure!(
                share.is_none_or(|share| share > 0. && share <= 1.),
                "--{flag} is {}; expected a share above 0, at most 1",
                share.unwrap_or(0.)
            );
        }
        ensure!(
            color_jitter >= 0. && color_jitter.is_finite(),
            "--color-jitter is {color_jitter}; expected a finite number of at least 0"
        );
        for (flag, alpha) in [("mixup", mixup), ("cutmix", cutmix)] {
            ensure!(alpha >= 0. && alpha.is_finite(), "--{flag} is {alpha}; expected an α above 0, or 0 for none");
            ensure!(
                alpha == 0. || self.optimisation.batch_size > 1,
                "--{flag} mixes the images of a batch, and --batch-size is 1; expected at least 2"
            );
        }
        ensure!(
            (mixup == 0. && cutmix == 0.)
                || self.weighting.estimator != EstimatorName::LastLayer
                || self.machine.device == DeviceName::Cpu,
            "--estimator last-layer takes mixed labels on the CPU only; expected another, or no --mixup and --cutmix"
        );
        ensure!(Range::SHARE.holds(random_erasing), "--random-erasing is {random_erasing}; expected {}", Range::SHARE);
        ensure!(
            rand_augment.is_none_or(|magnitude| magnitude <= 30),
            "--rand-augment is {}; expected a magnitude from 0 to 30",
            rand_augment.unwrap_or(0)
        );
        check_normalisation(mean, std)?;
        ensure!(mean.is_some() == std.is_some(), "--mean and --std are given together; expected both, or none");
        for (flag, is_given) in [
            ("crop-scale", crop_scale.is_some()),
            ("color-jitter", color_jitter > 0.),
            ("rand-augment", rand_augment.is_some()),
            ("random-erasing", random_erasing > 0.),
            ("mixup", mixup > 0.),
            ("cutmix", cutmix > 0.),
        ] {
            ensure!(
                !is_given || self.data.augment != AugmentName::None,
                "--{flag} is an augmentation, and --augment is none; expected one of them"
            );
        }
        ensure!(
            interpolation.is_none() || !as_they_are,
            "--interpolation has no effect on images of {0}×{0} that are not resized; expected another --image-size, or \
             no --interpolation",
            self.side()
        );
        ensure!(
            !skip_broken || !in_memory,
            "--skip-broken is about pictures on disk, and --data is {set}; expected none"
        );
        ensure!(
            self.data.cutout.is_none() || as_they_are,
            "--cutout is for images that are taken as they are; expected --random-erasing for those that are resized"
        );
        ensure!(
            self.start.after_random_labels.is_none() || in_memory,
            "--after-random-labels is for a set in memory, and --data is {set}; expected synthetic, cifar10 or cifar100"
        );
        Ok(())
    }
}

/// # Errors
/// If no images of pixel values in [0, 1] can have this mean or deviation.
pub(crate) fn check_normalisation(mean: Option<Channels>, std: Option<Channels>) -> Result<()> {
    let all =
        |channels: Option<Channels>, can_be: fn(f32) -> bool| channels.is_none_or(|all| all.0.into_iter().all(can_be));
    let shown = |channels: Option<Channels>| channels.unwrap_or(Channels([0.; 3]));
    ensure!(
        all(mean, |mean| (0. ..=1.).contains(&mean)),
        "--mean is {}, and pixel values are from 0 to 1; expected means in that range: divide those of 0 to 255 by 255",
        shown(mean)
    );
    ensure!(
        all(std, |std| std > 0. && std <= 1.),
        "--std is {}, and pixel values are from 0 to 1; expected numbers above 0, at most 1: divide those of 0 to 255 by \
         255",
        shown(std)
    );
    Ok(())
}

/// How images become inputs.
pub struct Transforms {
    /// With augmentation.
    pub training: Transform,
    /// Without.
    pub evaluation: Transform,
}

impl InterpolationName {
    fn interpolation(self) -> Interpolation {
        match self {
            InterpolationName::Bilinear => Interpolation::Bilinear,
            InterpolationName::Bicubic => Interpolation::Bicubic,
        }
    }
}

impl ImageConfig {
    /// The mean and the deviation that are asked for, or `own`.
    pub fn normalisation(&self, own: ([f32; 3], [f32; 3])) -> ([f32; 3], [f32; 3]) {
        (self.mean.map_or(own.0, |mean| mean.0), self.std.map_or(own.1, |std| std.0))
    }

    /// How the images of a batch are mixed.
    pub fn mixing(&self) -> Mixing {
        Mixing { mixup: self.mixup, cutmix: self.cutmix }
    }

    fn coloured(&self, transform: Transform) -> Transform {
        let (jitter, p) = (self.color_jitter, self.random_erasing);
        Transform {
            color_jitter: (jitter > 0.).then_some(ColorJitter {
                brightness: jitter,
                contrast: jitter,
                saturation: jitter,
                hue: 0.,
            }),
            rand_augment: self.rand_augment.map(|magnitude| RandAugment { magnitude, ..RandAugment::default() }),
            random_erasing: (p > 0.).then(|| RandomErasing { p, ..RandomErasing::default() }),
            ..transform
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::parse;

    #[test]
    fn a_set_in_memory_is_taken_as_it_is_unless_something_else_is_asked_for() {
        let transforms = |flags: &str| parse(flags).transforms(Some(([0.4; 3], [0.2; 3])));
        assert!(transforms("--data cifar10").is_none() && transforms("--mean 0,0,0 --std 1,1,1").is_none());
        let large = transforms("--data cifar10 --image-size 98").unwrap();
        assert_eq!(large.evaluation, Transform { mean: [0.4; 3], std: [0.2; 3], ..Transform::cifar_eval(98) });
        assert_eq!(large.training.crop, Crop::Padded { pad: 12 });
        let own = transforms("--image-size 64 --mean 0,0.5,1 --std 1,2,3 --augment none").unwrap();
        assert_eq!((own.training.mean, own.training.std), ([0., 0.5, 1.], [1., 2., 3.]));
        assert_eq!(own.training, own.evaluation);
        assert!(transforms("--rand-augment 9").unwrap().training.rand_augment.is_some());
    }

    #[test]
    fn pictures_on_disk_are_cropped_as_torchvision_does() {
        let transforms = |flags: &str| parse(&format!("--data folder:x {flags}")).transforms(None).unwrap();
        let usual = transforms("");
        assert_eq!(usual.training, Transform::imagenet_train(224));
        assert_eq!(usual.evaluation, Transform::imagenet_eval(224, 0.875));
        let own =
            transforms("--image-size 96 --crop-pct 1 --crop-scale 0.5 --interpolation bicubic --color-jitter 0.4");
        assert_eq!(own.training.crop, Crop::RandomResized { scale: (0.5, 1.), ratio: (0.75, 4. / 3.) });
        assert_eq!((own.evaluation.crop, own.evaluation.size), (Crop::Center { crop_pct: 1. }, 96));
        assert_eq!(own.training.color_jitter.unwrap().saturation, 0.4);
        assert!(own.evaluation.color_jitter.is_none() && own.evaluation.interpolation == Interpolation::Bicubic);
    }

    #[test]
    fn what_makes_no_sense_or_has_no_effect_is_named() {
        for (flags, flag) in [
            ("--image-size 0", "--image-size"),
            ("--data folder:x --crop-pct 0", "--crop-pct"),
            ("--data folder:x --crop-scale 1.5", "--crop-scale"),
            ("--color-jitter -1", "--color-jitter"),
            ("--random-erasing 2", "--random-erasing"),
            ("--rand-augment 31", "--rand-augment"),
            ("--mixup -1", "--mixup"),
            ("--cutmix NaN", "--cutmix"),
            ("--mixup 0.2 --batch-size 1", "--mixup"),
            ("--cutmix 1 --augment none", "--cutmix"),
            ("--mixup 0.2 --device cuda --rule rw-sam --estimator last-layer", "last-layer"),
            ("--mean 0,0,0 --std 1,0,1", "--std"),
            ("--mean 124,116,103 --std 58,57,57", "--mean"),
            ("--mean 0.5,0.5,0.5 --std 58,57,57", "--std"),
            ("--mean=-1,0,0 --std 1,1,1", "--mean"),
            ("--mean 0,0,0", "--mean"),
            ("--rand-augment 9 --augment none", "--rand-augment"),
            ("--interpolation bicubic", "--interpolation"),
            ("--skip-broken", "--skip-broken"),
            ("--data folder:x --cutout 8", "--cutout"),
            ("--data folder:x --after-random-labels 3", "--after-random-labels"),
        ] {
            let message = parse(flags).validate().unwrap_err().to_string();
            assert!(message.contains(flag) && message.contains("expected"), "{flags}: {message}");
        }
        assert!("0.1,0.2".parse::<Channels>().is_err() && "a,b,c".parse::<Channels>().is_err());
    }
}

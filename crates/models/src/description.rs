//! The description of a file of weights: network, normalisation, classes, and how the images were normalised.

use crate::{Architecture, Error, Norm};
use candle_core::{DType, Result, Tensor};
use msharp_core::Params;
use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

/// The metadata entry that identifies a description, and its version.
const FORMAT: (&str, &str) = ("weights", "msharp-weights-1");

/// The prefix of every version: an entry `weights` without it comes from other software.
const OURS: &str = "msharp-weights-";

/// The network that weights belong to, and how its training images were normalised: the metadata of a safetensors file.
///
/// Tensors alone do not determine the number of groups of a group normalisation, nor the normalisation of the images;
/// a mistake in either loads without an error and predicts wrongly. [`load`](Description::load) refuses such a file.
///
/// ```
/// use candle_core::{DType, Device};
/// use msharp_core::Seeded;
/// use msharp_models::{Architecture, Description, Error, Norm};
///
/// let about = Description {
///     architecture: Architecture::ResNet8,
///     norm: Norm::Group(32),
///     classes: 10,
///     mean: [0.4914, 0.4822, 0.4465],
///     std: [0.2470, 0.2435, 0.2616],
/// };
/// let init = Seeded::new(7, DType::F32, &Device::Cpu);
/// about.architecture.build(about.norm, about.classes, init.var_builder())?;
/// let path = std::env::temp_dir().join("described.safetensors");
/// about.save(&init.params()?, &path, BTreeMap::new())?;
///
/// assert_eq!(Description::read(&path)?, Some(about.clone()));
/// about.load(&init.params()?, &path)?;
/// let other = Description { norm: Norm::Group(8), ..about }; // the same tensors, other logits
/// let error = other.load(&init.params()?, &path).unwrap_err();
/// assert!(matches!(Error::of(&error), Some(Error::WrongWeights { entry, .. }) if entry == "norm"));
/// # use std::collections::BTreeMap;
/// # std::fs::remove_file(path)?;
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// The network.
    pub architecture: Architecture,
    /// Its normalisation layers.
    pub norm: Norm,
    /// The number of classes.
    pub classes: usize,
    /// The mean that was subtracted from each channel of images with pixel values in [0, 1].
    pub mean: [f32; 3],
    /// The standard deviation by which each channel was then divided; above 0.
    pub std: [f32; 3],
}

fn invalid<T>(text: String) -> Result<T> {
    Err(Error::InvalidDescription(text).into())
}

impl Description {
    /// The description as entries of safetensors metadata.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        let numbers = |all: [f32; 3]| all.map(|x| x.to_string()).join(",");
        let entries = [
            (FORMAT.0, FORMAT.1.to_owned()),
            ("model", self.architecture.to_string()),
            ("norm", self.norm.to_string()),
            ("classes", self.classes.to_string()),
            ("mean", numbers(self.mean)),
            ("std", numbers(self.std)),
        ];
        entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The description in `metadata`; `None` if there is none, as in a file that PyTorch wrote.
    ///
    /// # Errors
    /// [`Error::InvalidDescription`] if the version is unknown, or an entry is missing or cannot be parsed.
    pub fn of(metadata: &BTreeMap<String, String>) -> Result<Option<Self>> {
        match metadata.get(FORMAT.0) {
            Some(format) if !format.starts_with(OURS) => return Ok(None),
            None => return Ok(None),
            Some(format) if format != FORMAT.1 => {
                return invalid(format!("the weights are described in the format {format:?}; expected {:?}", FORMAT.1));
            }
            Some(_) => {}
        }
        fn entry<T: FromStr>(metadata: &BTreeMap<String, String>, name: &str) -> Result<T> {
            match metadata.get(name).map(|text| text.parse()) {
                Some(Ok(value)) => Ok(value),
                _ => invalid(format!(
                    "the weights' description has no {name:?} that can be read: {:?}",
                    metadata.get(name)
                )),
            }
        }
        let numbers = |name: &str| -> Result<[f32; 3]> {
            let text: String = entry(metadata, name)?;
            let all: std::result::Result<Vec<f32>, _> = text.split(',').map(str::parse).collect();
            let finite = all.ok().filter(|all| all.iter().all(|x| x.is_finite())).and_then(|all| all.try_into().ok());
            let wrong = || format!("{name:?} of the weights is {text:?}; expected 3 finite numbers");
            finite.map_or_else(|| invalid(wrong()), Ok)
        };
        let std = numbers("std")?;
        if !std.iter().all(|std| *std > 0.) {
            return invalid(format!("\"std\" of the weights is {std:?}; expected 3 numbers above 0"));
        }
        Ok(Some(Self {
            architecture: entry(metadata, "model")?,
            norm: entry(metadata, "norm")?,
            classes: entry(metadata, "classes")?,
            mean: numbers("mean")?,
            std,
        }))
    }

    /// The description in the safetensors file `path`; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::InvalidDescription`] if it cannot be parsed; an error with the path if the file cannot be read.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        Self::of(&msharp_core::metadata(path)?)
            .map_err(|error| error.context(format!("cannot read the description of {}", path.display())))
    }

    /// # Errors
    /// [`Error::WrongWeights`] for the first entry of `found`, the description of the weights, that differs.
    fn check(&self, found: &Self) -> Result<()> {
        let (expected, found) = (self.metadata(), found.metadata());
        for (name, found) in found {
            if expected[&name] != found {
                let expected = expected[&name].clone();
                return Err(Error::WrongWeights { entry: name, found, expected }.into());
            }
        }
        Ok(())
    }

    /// Writes parameters and buffers to the safetensors file `path`, with this description and the entries `more` as
    /// its metadata.
    ///
    /// # Errors
    /// [`Error::InvalidDescription`] if the description could not be read back, or `more` has an entry of the same
    /// name; an error with the path if the file cannot be written.
    pub fn save(&self, params: &Params, path: &Path, more: BTreeMap<String, String>) -> Result<()> {
        let own = self.metadata();
        if Self::of(&own)?.as_ref() != Some(self) || self.classes == 0 {
            return invalid(format!("{self:?} cannot be a description of weights"));
        }
        if let Some(name) = more.keys().find(|name| own.contains_key(*name)) {
            return invalid(format!("{name:?} is an entry of the description itself; expected another name"));
        }
        params.save_with(path, &own.into_iter().chain(more).collect())
    }

    /// Reads the weights of the safetensors file `path` into `params`. A file without a description is accepted.
    ///
    /// # Errors
    /// [`Error::WrongWeights`] if the description in the file differs from this one; as
    /// [`Params::load`](msharp_core::Params::load), with the name of the tensor, if a tensor is missing or has another
    /// shape. Both name the file.
    pub fn load(&self, params: &Params, path: &Path) -> Result<()> {
        if let Some(found) = Self::read(path)? {
            self.check(&found).map_err(|error| error.context(format!("cannot load {}", path.display())))?;
        }
        params.load(path)
    }

    /// Checks that `images`, `[b, 3, h, w]` or `[b, h, w, 3]` with their channels in dimension `channels`, can have
    /// been normalised as in training.
    ///
    /// Pixels in [0, 1] are from (0 − mean)/std to (1 − mean)/std in their channel. The check allows the same range
    /// again on either side, for resizing and noise; it finds pixels in 0..=255, or normalised by another data set's
    /// much different values.
    ///
    /// # Errors
    /// [`Error::WrongImages`] with the channel, its range and the expected one, or with the shape.
    pub fn check_images(&self, images: &Tensor, channels: usize) -> Result<()> {
        if images.dims().get(channels) != Some(&3) || !images.dtype().is_float() {
            let text = format!(
                "images {:?} of {:?} with their channels in dimension {channels}; expected 3 channels of floats",
                images.dims(),
                images.dtype()
            );
            return Err(Error::WrongImages(text).into());
        }
        let images = images.to_dtype(DType::F32)?;
        for c in 0..3 {
            let (mean, std) = (self.mean[c], self.std[c]);
            let ends = [(0. - mean) / std, (1. - mean) / std];
            let channel = images.narrow(channels, c, 1)?.flatten_all()?;
            let found = [channel.min(0)?.to_scalar::<f32>()?, channel.max(0)?.to_scalar::<f32>()?];
            let slack = ends[1] - ends[0];
            if !(found[0] >= ends[0] - slack && found[1] <= ends[1] + slack) {
                let text = format!(
                    "channel {c} of the images is from {} to {}; pixels in [0, 1], less the mean {mean} and divided by \
                     the deviation {std} as in training, are from {:.3} to {:.3}",
                    found[0], found[1], ends[0], ends[1]
                );
                return Err(Error::WrongImages(text).into());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn about() -> Description {
        let architecture = Architecture::WideResNet { depth: 16, widen: 4 };
        Description { architecture, norm: Norm::Group(8), classes: 100, mean: [0.5, 0.4, 0.3], std: [0.25, 0.2, 0.1] }
    }

    #[test]
    fn a_description_is_its_entries() -> Result<()> {
        assert_eq!(Description::of(&about().metadata())?, Some(about()));
        assert_eq!(Description::of(&BTreeMap::from([("format".to_owned(), "pt".to_owned())]))?, None);
        assert_eq!(Description::of(&BTreeMap::from([("weights".to_owned(), "IMAGENET1K_V1".to_owned())]))?, None);
        for (name, value) in [
            ("weights", "msharp-weights-9"),
            ("norm", "layer"),
            ("mean", "1,2"),
            ("mean", "1,2,3,x"),
            ("mean", "0,NaN,0"),
            ("std", "0.2,0,0.2"),
            ("std", "0.2,-1,0.2"),
            ("classes", "x"),
        ] {
            let mut damaged = about().metadata();
            damaged.insert(name.to_owned(), value.to_owned());
            let error = Description::of(&damaged).unwrap_err();
            assert!(matches!(Error::of(&error), Some(Error::InvalidDescription(_))), "{error}");
            let error = error.to_string();
            assert!(error.contains(value) || error.contains("above 0"), "{error}");
        }
        Ok(())
    }

    #[test]
    fn what_contradicts_is_named_with_both_values() {
        for (other, parts) in [
            (Description { norm: Norm::Group(32), ..about() }, ["norm group-8", "norm group-32"]),
            (Description { classes: 10, ..about() }, ["classes 100", "classes 10"]),
            (Description { mean: [0.; 3], ..about() }, ["mean 0.5,0.4,0.3", "mean 0,0,0"]),
        ] {
            let error = other.check(&about()).unwrap_err();
            assert!(matches!(Error::of(&error), Some(Error::WrongWeights { .. })), "{error}");
            let error = error.to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
        about().check(&about()).unwrap();
    }

    #[test]
    fn pixels_that_were_not_normalised_are_refused() -> Result<()> {
        let pixels = |scale: f32, shift: f32| -> Result<Tensor> {
            Tensor::arange(0f32, 48., &Device::Cpu)?.affine(f64::from(scale), f64::from(shift))?.reshape((1, 3, 4, 4))
        };
        about().check_images(&pixels(4. / 47., -2.)?, 1)?; // the first channel is from −2 to 2, and the others lie within
        let error = about().check_images(&pixels(255. / 47., 0.)?, 1).unwrap_err();
        assert!(matches!(Error::of(&error), Some(Error::WrongImages(_))), "{error}");
        let error = error.to_string();
        assert!(error.contains("channel 0") && error.contains("-2.000 to 2.000"), "{error}");
        let undefined = Tensor::full(f32::NAN, (1, 2, 2, 3), &Device::Cpu)?.to_dtype(DType::F32)?;
        assert!(about().check_images(&undefined, 3).is_err());
        Ok(())
    }
}

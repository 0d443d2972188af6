//! What weights are of, written beside them: tensors alone do not say how many groups a norm has, nor what the images
//! were normalised by.

use crate::{Architecture, Norm};
use candle_core::{DType, Error, Result, Tensor, bail};
use msharp_core::Params;
use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

/// The entry by which a description is recognised, and its version.
const FORMAT: (&str, &str) = ("weights", "msharp-weights-1");

/// What begins every version of it: what others call `weights` is none of ours.
const OURS: &str = "msharp-weights-";

/// A network, and the images that it was trained on. It stands in the metadata of a safetensors file of weights.
///
/// ```
/// use candle_core::{DType, Device};
/// use msharp_core::Seeded;
/// use msharp_models::{Architecture, Description, Norm};
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
/// assert!(other.load(&init.params()?, &path).is_err());
/// # use std::collections::BTreeMap;
/// # std::fs::remove_file(path)?;
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// The network.
    pub architecture: Architecture,
    /// Its normalisation.
    pub norm: Norm,
    /// The number of classes.
    pub classes: usize,
    /// What was subtracted from each channel of an image in [0, 1].
    pub mean: [f32; 3],
    /// What each channel was then divided by.
    pub std: [f32; 3],
}

impl Description {
    /// The entries of the metadata.
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

    /// The description that `metadata` has; none if it has none, as a file that PyTorch wrote.
    ///
    /// # Errors
    /// Names an entry that is missing or cannot be read.
    pub fn of(metadata: &BTreeMap<String, String>) -> Result<Option<Self>> {
        match metadata.get(FORMAT.0) {
            Some(format) if !format.starts_with(OURS) => return Ok(None),
            None => return Ok(None),
            Some(format) if format != FORMAT.1 => {
                bail!("the weights are described in the format {format:?}; expected {:?}", FORMAT.1)
            }
            Some(_) => {}
        }
        fn entry<T: FromStr>(metadata: &BTreeMap<String, String>, name: &str) -> Result<T> {
            match metadata.get(name).map(|text| text.parse()) {
                Some(Ok(value)) => Ok(value),
                _ => bail!("the weights' description has no {name:?} that can be read: {:?}", metadata.get(name)),
            }
        }
        let numbers = |name: &str| -> Result<[f32; 3]> {
            let text: String = entry(metadata, name)?;
            let all: std::result::Result<Vec<f32>, _> = text.split(',').map(str::parse).collect();
            let finite = all.ok().filter(|all| all.iter().all(|x| x.is_finite())).and_then(|all| all.try_into().ok());
            finite.ok_or_else(|| Error::msg(format!("{name:?} of the weights is {text:?}; expected 3 finite numbers")))
        };
        let std = numbers("std")?;
        if !std.iter().all(|std| *std > 0.) {
            bail!("\"std\" of the weights is {std:?}; expected 3 numbers above 0")
        }
        Ok(Some(Self {
            architecture: entry(metadata, "model")?,
            norm: entry(metadata, "norm")?,
            classes: entry(metadata, "classes")?,
            mean: numbers("mean")?,
            std,
        }))
    }

    /// The description in a file of weights; none if there is none.
    ///
    /// # Errors
    /// Names the file.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        Self::of(&msharp_core::metadata(path)?)
            .map_err(|error| error.context(format!("cannot read what {} is of", path.display())))
    }

    /// # Errors
    /// Names what differs in `found`, which is that of the weights, and both values.
    pub fn check(&self, found: &Self) -> Result<()> {
        let (expected, found) = (self.metadata(), found.metadata());
        for (name, found) in found {
            if expected[&name] != found {
                bail!("the weights are those of {name} {found}; expected {name} {}", expected[&name])
            }
        }
        Ok(())
    }

    /// Writes parameters and buffers with this description, and with further entries `more`.
    ///
    /// # Errors
    /// If the description could not be read back, or `more` has an entry of its.
    pub fn save(&self, params: &Params, path: &Path, more: BTreeMap<String, String>) -> Result<()> {
        let own = self.metadata();
        if Self::of(&own)?.as_ref() != Some(self) || self.classes == 0 {
            bail!("{self:?} cannot be a description of weights")
        }
        if let Some(name) = more.keys().find(|name| own.contains_key(*name)) {
            bail!("{name:?} is an entry of the description itself; expected another name")
        }
        params.save_with(path, &own.into_iter().chain(more).collect())
    }

    /// Reads weights into `params`. A file without a description is taken as it is.
    ///
    /// # Errors
    /// Names the file, and what its description contradicts, or the tensor that does not fit.
    pub fn load(&self, params: &Params, path: &Path) -> Result<()> {
        if let Some(found) = Self::read(path)? {
            self.check(&found).map_err(|error| error.context(format!("cannot load {}", path.display())))?;
        }
        params.load(path)
    }

    /// Whether `images`, `[b, 3, h, w]` or `[b, h, w, 3]` with the channels in dimension `channels`, can be images that
    /// were normalised as those of the training.
    ///
    /// # Errors
    /// If a value is not within (0 − mean)/std and (1 − mean)/std of its channel, or as far again on either side: what
    /// resizing or noise adds is no sign of another normalisation.
    pub fn check_images(&self, images: &Tensor, channels: usize) -> Result<()> {
        if images.dims().get(channels) != Some(&3) || !images.dtype().is_float() {
            bail!(
                "images {:?} of {:?} with their channels in dimension {channels}; expected 3 channels of floats",
                images.dims(),
                images.dtype()
            )
        }
        let images = images.to_dtype(DType::F32)?;
        for c in 0..3 {
            let (mean, std) = (self.mean[c], self.std[c]);
            let ends = [(0. - mean) / std, (1. - mean) / std];
            let channel = images.narrow(channels, c, 1)?.flatten_all()?;
            let found = [channel.min(0)?.to_scalar::<f32>()?, channel.max(0)?.to_scalar::<f32>()?];
            let slack = ends[1] - ends[0];
            if !(found[0] >= ends[0] - slack && found[1] <= ends[1] + slack) {
                bail!(
                    "channel {c} of the images is from {} to {}; pixels in [0, 1], less the mean {mean} and divided by \
                     the deviation {std} as in training, are from {:.3} to {:.3}",
                    found[0],
                    found[1],
                    ends[0],
                    ends[1]
                )
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
            let error = Description::of(&damaged).unwrap_err().to_string();
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
            let error = other.check(&about()).unwrap_err().to_string();
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
        let error = about().check_images(&pixels(255. / 47., 0.)?, 1).unwrap_err().to_string();
        assert!(error.contains("channel 0") && error.contains("-2.000 to 2.000"), "{error}");
        let undefined = Tensor::full(f32::NAN, (1, 2, 2, 3), &Device::Cpu)?.to_dtype(DType::F32)?;
        assert!(about().check_images(&undefined, 3).is_err());
        Ok(())
    }
}

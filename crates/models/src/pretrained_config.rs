//! What timm says of published weights: how their images were prepared.

use crate::Error;
use candle_core::Result;
use serde_json::Value;
use std::path::Path;

/// The interpolations that timm names.
const INTERPOLATIONS: [&str; 7] = ["bilinear", "bicubic", "nearest", "box", "hamming", "lanczos", "random"];

/// timm's `pretrained_cfg`, as `config.json` beside published weights has it. An entry that is absent is `None`.
///
/// ```
/// use msharp_models::PretrainedConfig;
/// let text = r#"{"architecture": "vit_base_patch16_224", "num_classes": 1000, "pretrained_cfg": {
///     "input_size": [3, 224, 224], "interpolation": "bicubic", "crop_pct": 0.9,
///     "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "first_conv": "patch_embed.proj", "classifier": "head"}}"#;
/// let config = PretrainedConfig::parse(text)?.expect("a configuration of timm");
/// assert_eq!((config.input_size, config.crop_pct, config.mean), (Some(224), Some(0.9), Some([0.5; 3])));
/// assert_eq!(PretrainedConfig::parse(r#"{"model_type": "bert"}"#)?, None);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PretrainedConfig {
    /// timm's name of the network.
    pub architecture: Option<String>,
    /// The number of classes; 0 for weights without a classifier.
    pub num_classes: Option<usize>,
    /// Height and width of the images in pixels.
    pub input_size: Option<usize>,
    /// How images were resized: `bilinear`, `bicubic`, `nearest`, `box`, `hamming`, `lanczos` or `random`.
    pub interpolation: Option<String>,
    /// The share of height and width that the centre crop keeps; above 0 and at most 1.
    pub crop_pct: Option<f64>,
    /// What of the resized image is looked at: `center`, `squash`, `border`.
    pub crop_mode: Option<String>,
    /// The mean that was subtracted from each channel of images with pixel values in [0, 1].
    pub mean: Option<[f32; 3]>,
    /// The standard deviation by which each channel was then divided; above 0.
    pub std: Option<[f32; 3]>,
    /// The parameter name of the first convolution.
    pub first_conv: Option<String>,
    /// The parameter name of the classifier.
    pub classifier: Option<String>,
}

impl PretrainedConfig {
    /// The configuration in the text of a `config.json`: in `pretrained_cfg`, or beside it. `None` for another
    /// program's.
    ///
    /// # Errors
    /// [`Error::InvalidDescription`] if the text is no JSON object, or a value cannot be right: the text names the
    /// entry.
    pub fn parse(text: &str) -> Result<Option<Self>> {
        let json: Value = match serde_json::from_str(text) {
            Ok(json @ Value::Object(_)) => json,
            Ok(_) => return Err(invalid("expected a JSON object".into())),
            Err(error) => return Err(invalid(format!("no JSON: {error}"))),
        };
        if ["pretrained_cfg", "input_size", "mean", "std"].iter().all(|name| json.get(name).is_none()) {
            return Ok(None);
        }
        if let Some(inner) = json.get("pretrained_cfg").filter(|inner| !inner.is_object() && !inner.is_null()) {
            return Err(invalid(format!("\"pretrained_cfg\" is {inner}; expected an object")));
        }
        let entries = Entries(&json);
        let config = Self {
            architecture: entries.text("architecture")?,
            num_classes: entries.read("num_classes", "a whole number", |value| Some(value.as_u64()? as usize))?,
            input_size: entries.read("input_size", "[3, n, n] with n from 1 to 4096", square)?,
            interpolation: entries.read(
                "interpolation",
                &format!("one of {}", INTERPOLATIONS.join(", ")),
                |value| INTERPOLATIONS.into_iter().find(|name| value.as_str() == Some(name)).map(str::to_owned),
            )?,
            crop_pct: entries.read("crop_pct", "a number above 0, at most 1", |value| {
                value.as_f64().filter(|share| *share > 0. && *share <= 1.)
            })?,
            crop_mode: entries.text("crop_mode")?,
            mean: entries.read("mean", "3 numbers from 0 to 1, of pixel values in [0, 1]", |value| {
                channels(value).filter(|all| all.iter().all(|mean| (0. ..=1.).contains(mean)))
            })?,
            std: entries.read("std", "3 numbers above 0, at most 1, of pixel values in [0, 1]", |value| {
                channels(value).filter(|all| all.iter().all(|std| *std > 0. && *std <= 1.))
            })?,
            first_conv: entries.text("first_conv")?,
            classifier: entries.text("classifier")?,
        };
        let alone = match (config.mean, config.std) {
            (Some(_), None) => Some("\"mean\" and no \"std\""),
            (None, Some(_)) => Some("\"std\" and no \"mean\""),
            _ => None,
        };
        if let Some(alone) = alone {
            return Err(invalid(format!("there is {alone}; expected both, or none")));
        }
        Ok(Some(config))
    }

    /// The configuration in the file `config.json` in the folder of the file `weights`; `None` if there is none, or it
    /// is another program's.
    ///
    /// # Errors
    /// As [`parse`](PretrainedConfig::parse), with the path; an error with the path if the file cannot be read.
    pub fn beside(weights: &Path) -> Result<Option<Self>> {
        let path = weights.with_file_name("config.json");
        let named = |error: candle_core::Error| error.context(format!("cannot read {}", path.display()));
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text).map_err(named),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(named(error.into())),
        }
    }
}

/// An object of JSON that has entries in `pretrained_cfg`, which count first, or itself.
struct Entries<'a>(&'a Value);

impl Entries<'_> {
    fn read<T>(&self, name: &str, expected: &str, read: impl Fn(&Value) -> Option<T>) -> Result<Option<T>> {
        let inner = self.0.get("pretrained_cfg").and_then(|inner| inner.get(name));
        let Some(value) = inner.or(self.0.get(name)).filter(|value| !value.is_null()) else { return Ok(None) };
        match read(value) {
            Some(read) => Ok(Some(read)),
            None => Err(invalid(format!("{name:?} is {value}; expected {expected}"))),
        }
    }

    fn text(&self, name: &str) -> Result<Option<String>> {
        self.read(name, "a text", |value| value.as_str().map(str::to_owned))
    }
}

fn square(size: &Value) -> Option<usize> {
    match size.as_array()?.iter().map(Value::as_u64).collect::<Option<Vec<u64>>>()?[..] {
        [3, height, width] if height == width && (1..=4096).contains(&width) => Some(width as usize),
        _ => None,
    }
}

fn channels(numbers: &Value) -> Option<[f32; 3]> {
    let all: Vec<f32> = numbers.as_array()?.iter().map(|x| Some(x.as_f64()? as f32)).collect::<Option<_>>()?;
    all.try_into().ok().filter(|all: &[f32; 3]| all.iter().all(|x| x.is_finite()))
}

fn invalid(text: String) -> candle_core::Error {
    Error::InvalidDescription(text).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inner_entries_count_first_and_null_is_absent() -> Result<()> {
        let config = PretrainedConfig::parse(
            r#"{"architecture": "resnet50", "num_classes": 10, "mean": [0, 0, 0],
                "pretrained_cfg": {"num_classes": 1000, "mean": [0.485, 0.456, 0.406], "std": [1, 1, 1], "pool_size": [7, 7], "crop_pct": null}}"#,
        )?
        .expect("timm's");
        assert_eq!(config.num_classes, Some(1000));
        assert_eq!(config.mean, Some([0.485, 0.456, 0.406]));
        assert_eq!(
            (config.crop_pct, config.std, config.architecture.as_deref()),
            (None, Some([1.; 3]), Some("resnet50"))
        );
        Ok(())
    }

    #[test]
    fn a_value_that_cannot_be_right_is_named_with_what_was_expected() {
        for (entry, parts) in [
            (r#""mean": [0, 0]"#, ["\"mean\"", "3 numbers from 0 to 1"]),
            (r#""mean": "imagenet""#, ["\"mean\"", "3 numbers from 0 to 1"]),
            (r#""mean": [124, 116, 103], "std": [1, 1, 1]"#, ["\"mean\"", "pixel values in [0, 1]"]),
            (r#""std": [58, 57, 57], "mean": [0, 0, 0]"#, ["\"std\"", "at most 1"]),
            (r#""mean": [0, 0, 0]"#, ["\"mean\"", "no \"std\""]),
            (r#""std": [1, 1, 1]"#, ["\"std\"", "no \"mean\""]),
            (r#""pretrained_cfg": []"#, ["\"pretrained_cfg\"", "an object"]),
            (r#""std": [0.2, 0, 0.2]"#, ["\"std\"", "above 0"]),
            (r#""std": [1e300, 1, 1]"#, ["\"std\"", "above 0"]),
            (r#""mean": [0,0,0], "input_size": [3, 224, 192]"#, ["\"input_size\"", "[3, n, n]"]),
            (r#""input_size": [1, 28, 28]"#, ["\"input_size\"", "[1,28,28]"]),
            (r#""input_size": [3, 1000000, 1000000]"#, ["\"input_size\"", "4096"]),
            (r#""input_size": [3, -1, -1]"#, ["\"input_size\"", "4096"]),
            (r#""pretrained_cfg": {"crop_pct": 1.5}"#, ["\"crop_pct\"", "at most 1"]),
            (r#""pretrained_cfg": {"interpolation": "cubic"}"#, ["\"interpolation\"", "bicubic"]),
            (r#""pretrained_cfg": {"num_classes": -1}"#, ["\"num_classes\"", "whole number"]),
            (r#""pretrained_cfg": {"classifier": ["head", "head_dist"]}"#, ["\"classifier\"", "a text"]),
        ] {
            let error = PretrainedConfig::parse(&format!("{{{entry}}}")).unwrap_err();
            assert!(matches!(Error::of(&error), Some(Error::InvalidDescription(_))), "{error}");
            let error = error.to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
        for text in ["", "{", "[]", "3"] {
            assert!(PretrainedConfig::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_file_beside_the_weights_is_read_and_a_broken_one_is_named() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let weights = folder.path().join("model.safetensors");
        assert_eq!(PretrainedConfig::beside(&weights)?, None);
        std::fs::write(folder.path().join("config.json"), r#"{"mean": [0, 0, 0], "std": [1, 1, 1]}"#)?;
        assert_eq!(PretrainedConfig::beside(&weights)?.and_then(|config| config.std), Some([1.; 3]));
        std::fs::write(folder.path().join("config.json"), "{")?;
        assert!(PretrainedConfig::beside(&weights).unwrap_err().to_string().contains("config.json"));
        Ok(())
    }
}

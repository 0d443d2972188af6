//! Weights that a run starts from: where they lie, what they say of images, and how a network takes them.

use crate::config::{Channels, InterpolationName, RunConfig, WeightsName};
use crate::hex::hex;
use crate::run::notes::class_names;
use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use msharp_core::Params;
use msharp_models::{Description, Loaded, Pretrained, PretrainedConfig};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The file of `name`: itself, or that of the hub, which is downloaded unless it is in the cache.
///
/// # Errors
/// If it is not there and cannot be had.
pub fn file(name: &WeightsName) -> Result<PathBuf> {
    match name {
        WeightsName::File(path) => {
            ensure!(path.is_file(), "--init-weights {} is no file; expected one, or hub:REPO[/FILE]", path.display());
            Ok(path.clone())
        }
        WeightsName::Hub(file) => file.path(),
    }
}

/// The same with what the weights say: their digest, and how images are normalised and resized, as far as it is not
/// given.
///
/// # Errors
/// If they cannot be read, or have another digest than --init-sha256.
pub fn resolved(config: RunConfig) -> Result<RunConfig> {
    let Some(name) = &config.model.init_weights else {
        ensure!(
            config.model.init_sha256.is_none(),
            "--init-sha256 is about --init-weights, of which there are none; expected them, or no digest"
        );
        return Ok(config);
    };
    let path = file(name)?;
    let digest = sha256(&path)?;
    if let Some(expected) = &config.model.init_sha256 {
        ensure!(
            expected.eq_ignore_ascii_case(&digest),
            "{} has the SHA-256 {digest}; --init-sha256 is {expected}",
            path.display()
        );
    }
    let described = Description::read(&path)?.map(|about| (Channels(about.mean), Channels(about.std)));
    let config = config.with(|c| {
        c.model.init_sha256 = Some(digest);
        if let (Some((mean, std)), None, None) = (described, c.images.mean, c.images.std) {
            (c.images.mean, c.images.std) = (Some(mean), Some(std));
        }
    });
    prepared(config, &path)
}

/// The same with what timm's `config.json` beside `weights` says of how images are prepared, as far as it is not given
/// and has an effect on these images.
///
/// # Errors
/// If the file is broken, or says what is not built.
pub fn prepared(config: RunConfig, weights: &Path) -> Result<RunConfig> {
    let Some(published) = PretrainedConfig::beside(weights)? else { return Ok(config) };
    let shown = weights.with_file_name("config.json");
    let config = config.with(|c| {
        if let (Some(mean), Some(std), None, None) = (published.mean, published.std, c.images.mean, c.images.std) {
            (c.images.mean, c.images.std) = (Some(Channels(mean)), Some(Channels(std)));
        }
    });
    let mut images = config.images.clone();
    if config.transforms(None).is_some()
        && images.interpolation.is_none()
        && let Some(name) = &published.interpolation
    {
        images.interpolation = InterpolationName::from_str(name, true).ok();
        ensure!(
            images.interpolation.is_some(),
            "{} says that images were resized by {name}; expected --interpolation bicubic or bilinear, which are built",
            shown.display()
        );
    }
    if config.data.set.side().is_none() && images.crop_pct.is_none() {
        let crop_mode = published.crop_mode.as_deref().unwrap_or("center");
        ensure!(
            crop_mode == "center",
            "{} says that images were brought to their size by {crop_mode:?}; expected --crop-pct, for the centre, which \
             is built",
            shown.display()
        );
        images.crop_pct = published.crop_pct;
    }
    Ok(RunConfig { images, ..config })
}

/// Gives `params`, those of the network of `config`, the weights that the run starts from; `None` where it starts from
/// its seed.
///
/// # Errors
/// Lists all tensors that do not fit. Nothing is written then.
pub fn load(config: &RunConfig, params: &Params) -> Result<Option<Loaded>> {
    let Some(name) = &config.model.init_weights else { return Ok(None) };
    let path = file(name)?;
    let loaded = Pretrained::read(&path)?.load_into(params, config.model.architecture, config.model.norm);
    loaded.map(Some).with_context(|| format!("{} does not fit {}", path.display(), config.model.architecture))
}

/// What to say where a classifier was kept whose classes had other names than those of `data`.
///
/// # Errors
/// If the names in the file cannot be read.
pub fn renamed_classes(config: &RunConfig, loaded: &Loaded, data: &[String]) -> Result<Option<String>> {
    let Some(name) = &config.model.init_weights else { return Ok(None) };
    let head = format!("{}.weight", config.model.architecture.classifier());
    if data.is_empty() || !loaded.fit.loaded.contains(&head) {
        return Ok(None);
    }
    let named = class_names(&file(name)?)?;
    let other = named.iter().zip(data).position(|(of_weights, of_data)| of_weights != of_data);
    Ok(other.map(|class| {
        format!(
            "the classifier is kept, though its class {class} was {:?} and is {:?} now: as many classes, of other names",
            named[class], data[class]
        )
    }))
}

/// The SHA-256 of a file, in hexadecimal.
fn sha256(path: &Path) -> Result<String> {
    let failed = || format!("cannot read {}", path.display());
    let (mut digest, mut part) = (Sha256::new(), vec![0; 1 << 20]);
    let mut file = File::open(path).with_context(failed)?;
    loop {
        match file.read(&mut part).with_context(failed)? {
            0 => break,
            n => digest.update(&part[..n]),
        }
    }
    Ok(hex(&digest.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::parse;
    use crate::data::Datasets;
    use crate::{build, run::run};

    const FLAGS: &str = "--model vit-mini --image-size 16 --data thumbnails --subset 64 --test-subset 20 --batch-size 32 \
                         --epochs 1 --lr 1e-30 --momentum 0 --weight-decay 0 --rule sgd";

    fn weights(path: &Path) -> Params {
        let config = parse("--model vit-mini --seed 7");
        let (_, params) = build::model(&config, 100).unwrap();
        params.save(path).unwrap();
        params
    }

    /// A learning rate that moves no weight makes the end of a run its start.
    #[test]
    fn a_run_starts_from_published_weights_with_a_new_classifier_and_resampled_positions() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("published.safetensors");
        let published = weights(&file);
        let config = resolved(parse(&format!("{FLAGS} --init-weights {}", file.display()))).unwrap();
        let json = config.json();
        assert!(json.contains("\"init_weights\":\"published.safetensors\"") && json.contains("init_sha256"), "{json}");
        let mut data = Datasets::new(Path::new("none"));
        let out = folder.path().join("run");
        let site = crate::run::Site { folder: &out, starts: folder.path(), lease: None };
        run("a test", &config, &site, &mut data, &crate::ranks::Ranks::alone()).unwrap().unwrap();
        let ended = candle_core::safetensors::load(out.join("weights.safetensors"), &candle_core::Device::Cpu).unwrap();
        let values = |tensor: &candle_core::Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let start = published.named_tensors();
        assert_eq!(values(&ended["blocks.0.attn.qkv.weight"]), values(&start["blocks.0.attn.qkv.weight"]));
        assert_eq!(ended["head.weight"].dims(), [10, 128]);
        assert_eq!(ended["pos_embed"].dims(), [1, 17, 128]);
        assert!(values(&ended["head.weight"]).iter().all(|weight| weight.abs() < 1e-20));
    }

    #[test]
    fn what_is_not_there_or_is_something_else_is_refused_before_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("published.safetensors");
        weights(&file);
        let of = |flags: &str| resolved(parse(&format!("{FLAGS} {flags}")));
        let said = |flags: &str| format!("{:#}", of(flags).unwrap_err());
        assert!(said("--init-weights nowhere.safetensors").contains("nowhere.safetensors is no file"));
        let with = format!("--init-weights {}", file.display());
        assert!(said(&format!("{with} --init-sha256 00")).contains("--init-sha256 is 00"));
        assert!(said("--init-sha256 00").contains("--init-weights"));
        let other = parse(&format!("--model resnet8 {with}"));
        let (_, params) = build::model(&other, 10).unwrap();
        let error = format!("{:#}", load(&other, &params).unwrap_err());
        assert!(error.contains("does not fit resnet8") && error.contains("missing"), "{error}");
    }
}

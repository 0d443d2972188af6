//! A network with the weights of a file, trained here or elsewhere, for measuring and for predictions.

use crate::config::{Channels, DataName, InterpolationName, RunConfig, check_normalisation};
use crate::run::notes::{class_names, description, weights_in};
use crate::screen;
use crate::weights::prepared;
use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};
use clap::Args;
use msharp_core::Seeded;
use msharp_models::{Architecture, Description, Model, Norm};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a command line says of weights that do not say it themselves.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Weights that do not say it themselves")]
pub struct Said {
    /// The network: resnet8, resnet18, resnet20, resnet34, resnet50, resnet50-imagenet and the like, resnetDEPTHa such
    /// as resnet20a, wrn-DEPTH-WIDEN such as wrn-28-10, vit-mini, vit_base_patch16_224 and the like [default: what the
    /// weights say]
    #[arg(long)]
    pub model: Option<Architecture>,
    /// Its normalisation; no tensor tells the number of groups [default: what the weights say, or batch]
    #[arg(long)]
    pub norm: Option<Norm>,
    /// Mean of red, green and blue by which training images were normalised [default: what the weights say]
    #[arg(long, value_name = "R,G,B")]
    pub mean: Option<Channels>,
    /// And their standard deviation
    #[arg(long, value_name = "R,G,B")]
    pub std: Option<Channels>,
    /// Bring images to this height and width [default: as in the run, or the network's usual]
    #[arg(long, value_name = "PIXELS", help_heading = "Images")]
    pub image_size: Option<usize>,
    /// How they are resized [default: as in the run, or what the config.json beside the weights says]
    #[arg(long, help_heading = "Images")]
    pub interpolation: Option<InterpolationName>,
    /// The share of the shorter side that is looked at, in the centre [default: as in the run, or what config.json
    /// says]
    #[arg(long, value_name = "SHARE", help_heading = "Images")]
    pub crop_pct: Option<f64>,
}

/// A network with its weights.
pub struct Trained {
    /// In evaluation it does what it did where it was trained.
    pub network: Model,
    /// Which network.
    pub architecture: Architecture,
    /// Its normalisation layers.
    pub norm: Norm,
    /// The number of classes.
    pub classes: usize,
    /// What they are called; empty where the file does not say.
    pub class_names: Vec<String>,
    /// What the file says of itself, if it does.
    pub about: Option<Description>,
    /// How images became inputs, mean and deviation included, as far as file and command line say; the rest is at its
    /// default.
    pub config: RunConfig,
    /// Whether a run has made them, whose configuration this is.
    pub is_of_a_run: bool,
    /// The file.
    path: PathBuf,
}

impl Trained {
    /// Reads `weights`, or the weights of a checkpoint.
    ///
    /// # Errors
    /// If the file cannot be read, does not say its network and nor does `said`, says another one, or has tensors that
    /// do not fit it.
    pub fn load(weights: &Path, said: &Said) -> Result<Self> {
        let shown = weights.display();
        let (tensors, about) = (weights_in(weights)?, description(weights)?);
        let model = match (&about, said.model) {
            (Some(about), Some(model)) => {
                ensure!(
                    about.architecture == model,
                    "{shown} holds the weights of {}; --model is {model}",
                    about.architecture
                );
                model
            }
            (Some(about), None) => about.architecture,
            (None, model) => model.with_context(|| {
                format!("{shown} does not say what its weights are of; expected --model, or a file of `msharp train`")
            })?,
        };
        let norm = norm(weights, model, said.norm, about.as_ref(), &tensors)?;
        let matrix = format!("{}.weight", model.classifier());
        let classes = classes(&tensors, &matrix)
            .with_context(|| format!("{shown} has no matrix {matrix:?}, [classes, features], as {model} has"))?;
        if let Some(about) = &about {
            ensure!(
                about.classes == classes,
                "{shown} says that it has {} classes, and {matrix:?} has {classes} rows",
                about.classes
            );
        }
        let init = Seeded::new(0, DType::F32, &Device::Cpu);
        let network = model.build(norm, classes, init.var_builder())?;
        let params = init.params()?;
        let tensors = match params.prefix_of(&tensors) {
            Some(prefix) => {
                screen::say(format!("every tensor of {shown} has {prefix:?} in front of its name, which is taken off"));
                let of_model = |(name, tensor): (String, Tensor)| (name[prefix.len()..].to_owned(), tensor);
                tensors.into_iter().map(of_model).collect()
            }
            None => tensors,
        };
        // every tensor must have its place: a deeper network's weights have all names of a shallower one's
        let fits = params.assign(&tensors);
        let of_choice = if model.has_choice_of_norm() { format!(" --norm {norm}") } else { String::new() };
        fits.with_context(|| format!("{shown} does not fit --model {model}{of_choice}"))?;
        let (config, is_of_a_run) = config(weights, model, norm, said, about.as_ref())?;
        let class_names = class_names(weights)?;
        let path = weights.to_owned();
        Ok(Self { network, architecture: model, norm, classes, class_names, about, config, is_of_a_run, path })
    }

    /// How images of `set` become inputs. For weights from elsewhere a `config.json` beside them says what is not
    /// given.
    ///
    /// # Errors
    /// If that file is broken, or says what is not built.
    pub fn config_on(&self, set: DataName) -> Result<RunConfig> {
        let config = self.config.clone().with(|c| c.data.set = set);
        if self.is_of_a_run { Ok(config) } else { prepared(config, &self.path) }
    }
}

/// The normalisation layers, which the description, the command line or the tensors tell.
fn norm(
    weights: &Path,
    model: Architecture,
    said: Option<Norm>,
    about: Option<&Description>,
    tensors: &BTreeMap<String, Tensor>,
) -> Result<Norm> {
    let shown = weights.display();
    if let (Some(about), Some(norm)) = (about, said) {
        ensure!(
            !model.has_choice_of_norm() || norm == about.norm,
            "{shown} was trained with --norm {}; --norm is {norm}",
            about.norm
        );
    }
    ensure!(
        said.is_none() || model.has_choice_of_norm(),
        "--norm is {}, but {model} has layer normalisation; expected no --norm",
        said.unwrap_or_default()
    );
    let has_statistics = tensors.keys().any(|name| name.ends_with("running_mean"));
    ensure!(
        said.is_some() || about.is_some() || has_statistics || !model.has_choice_of_norm(),
        "{shown} has no running statistics; expected --norm group, or group-N for another number of groups than 32"
    );
    Ok(said.or(about.map(|about| about.norm)).unwrap_or_default())
}

/// The rows of the classifier's matrix, whatever stands in front of its name.
fn classes(tensors: &BTreeMap<String, Tensor>, matrix: &str) -> Option<usize> {
    let is_it = |name: &str| name.strip_suffix(matrix).is_some_and(|front| front.is_empty() || front.ends_with('.'));
    let (_, tensor) = tensors.iter().find(|(name, _)| is_it(name))?;
    (tensor.dims().len() == 2).then(|| tensor.dims()[0])
}

/// The configuration of the run that made the weights, and true; or one of the network alone, with the normalisation of
/// images that is known.
fn config(
    weights: &Path,
    model: Architecture,
    norm: Norm,
    said: &Said,
    about: Option<&Description>,
) -> Result<(RunConfig, bool)> {
    check_normalisation(said.mean, said.std)?;
    ensure!(
        said.image_size.is_none() || model.image_size().is_none() || said.image_size == model.image_size(),
        "--image-size is {}, and {model} takes images of {} pixels; expected none, or a run of another size from these \
         weights, by train --init-weights",
        said.image_size.unwrap_or(0),
        model.image_size().unwrap_or(0)
    );
    let known = about.map(|about| (Channels(about.mean), Channels(about.std)));
    for (flag, said, known) in [("mean", said.mean, known.map(|k| k.0)), ("std", said.std, known.map(|k| k.1))] {
        ensure!(
            said.is_none() || known.is_none() || said == known,
            "--{flag} is {}, and {} says {}; expected no --{flag}",
            said.unwrap_or(Channels([0.; 3])),
            weights.display(),
            known.unwrap_or(Channels([0.; 3]))
        );
    }
    let made_by = msharp_core::metadata(weights)?.get("config").and_then(|text| serde_json::from_str(text).ok());
    let is_of_a_run = made_by.is_some();
    let config = made_by.unwrap_or_else(RunConfig::defaults).with(|c: &mut RunConfig| {
        (c.model.architecture, c.model.norm) = (model, norm);
        c.images.mean = said.mean.or(known.map(|known| known.0));
        c.images.std = said.std.or(known.map(|known| known.1));
        c.images.image_size = said.image_size.or(c.images.image_size).or(model.image_size());
        c.images.interpolation = said.interpolation.or(c.images.interpolation);
        c.images.crop_pct = said.crop_pct.or(c.images.crop_pct);
    });
    Ok((config, is_of_a_run))
}

//! `predict`: logits of images, with weights trained here or in PyTorch.

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};
use candle_nn::ModuleT;
use clap::Args;
use msharp_core::{Seeded, write_aside};
use msharp_lab::resources::computing;
use msharp_lab::run::notes::{description, tensors_in, weights_in};
use msharp_models::{Architecture, Description, Norm};
use msharp_train::finite_rows;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

/// What to show before the flags.
const EXAMPLES: &str = "Examples:
  msharp predict --model resnet8 --weights runs/NAME/weights.safetensors --input images.safetensors --output logits.safetensors";

/// Images through a trained network.
#[derive(Args)]
#[command(before_help = EXAMPLES)]
pub struct PredictArgs {
    /// The network: resnet8, resnet18, resnet20, resnet34, resnet50, resnetDEPTHa such as resnet20a, wrn-DEPTH-WIDEN
    /// such as wrn-28-10, vit-mini (for 32×32 images), or vit-tiny, vit-small, vit-base (for 224×224)
    #[arg(long)]
    model: Architecture,
    /// Its normalisation; needed for group normalisation in weights that do not say it, since no tensor tells the
    /// number of groups [default: what the weights say, or batch]
    #[arg(long)]
    norm: Option<Norm>,
    /// Weights as safetensors, under torchvision's or timm's names: trained here, exported from PyTorch, or a
    /// checkpoint
    #[arg(long)]
    weights: PathBuf,
    /// A safetensors file with the tensor `input`, [b, 3, h, w], floats normalised as in training; where the weights
    /// say mean and deviation, values that these cannot give are refused
    #[arg(long)]
    input: PathBuf,
    /// Where to write the tensor `logits`, [b, classes]
    #[arg(long)]
    output: PathBuf,
    /// Images at a time
    #[arg(long, default_value_t = 100)]
    batch_size: usize,
}

/// Evaluation mode, no graph.
pub fn predict(args: PredictArgs) -> Result<()> {
    computing(None, || write_logits(args))
}

fn write_logits(args: PredictArgs) -> Result<()> {
    let PredictArgs { model, norm, weights, input, output, batch_size } = args;
    ensure!(batch_size > 0, "--batch-size is 0; expected at least 1");
    for (flag, other) in [("weights", &weights), ("input", &input)] {
        let same = output.canonicalize().is_ok_and(|output| other.canonicalize().is_ok_and(|other| other == output));
        ensure!(!same, "--output {} is --{flag}, which it would replace; expected another file", output.display());
    }
    let tensors = weights_in(&weights)?;
    let about = description(&weights)?;
    if let Some(about) = &about {
        ensure!(
            about.architecture == model,
            "{} holds the weights of {}; --model is {model}",
            weights.display(),
            about.architecture
        );
        ensure!(
            !model.has_choice_of_norm() || norm.is_none_or(|norm| norm == about.norm),
            "{} was trained with --norm {}; --norm is {}",
            weights.display(),
            about.norm,
            norm.unwrap_or_default()
        );
    }
    ensure!(
        norm.is_none() || model.has_choice_of_norm(),
        "--norm is {}, but {model} has layer normalisation; expected no --norm",
        norm.unwrap_or_default()
    );
    let matrix = format!("{}.weight", model.classifier());
    let of_prefix = |name: &&String| name.ends_with(&format!(".{matrix}"));
    let prefixed = tensors.keys().find(of_prefix).map(|name| name[..name.len() - matrix.len()].to_owned());
    let classes = classes(&tensors, &matrix, prefixed.as_deref().unwrap_or("")).with_context(|| {
        format!("{} has no matrix {matrix:?}, [classes, features], as {model} has", weights.display())
    })?;
    if let Some(about) = &about {
        ensure!(
            about.classes == classes,
            "{} says that it has {} classes, and {matrix:?} has {classes} rows",
            weights.display(),
            about.classes
        );
    }
    let has_statistics = tensors.keys().any(|name| name.ends_with("running_mean"));
    ensure!(
        norm.is_some() || about.is_some() || has_statistics || !model.has_choice_of_norm(),
        "{} has no running statistics; expected --norm group, or group-N for another number of groups than 32",
        weights.display()
    );
    let norm = norm.or(about.as_ref().map(|about| about.norm)).unwrap_or(Norm::Batch);
    let init = Seeded::new(0, DType::F32, &Device::Cpu);
    let network = model.build(norm, classes, init.var_builder())?;
    let params = init.params()?;
    let tensors = match params.prefix_of(&tensors) {
        Some(prefix) => {
            eprintln!("every tensor of {} has {prefix:?} in front of its name, which is taken off", weights.display());
            let of_model = |(name, tensor): (String, Tensor)| (name[prefix.len()..].to_owned(), tensor);
            tensors.into_iter().map(of_model).collect()
        }
        None => tensors,
    };
    // every tensor must have its place: a deeper network's weights have all names of a shallower one's
    let fits = params.assign(&tensors);
    fits.with_context(|| format!("{} does not fit --model {model}{}", weights.display(), of_choice(model, norm)))?;

    msharp_core::check_writable(&output)?;
    let images = images_of(&input, about.as_ref())?; // [b, h, w, 3]
    let b = images.dims()[0];
    let logits = (0..b).step_by(batch_size).map(|start| {
        let part = images.narrow(0, start, batch_size.min(b - start))?;
        msharp_ops::no_grad(|| network.forward_t(&part, false))
    });
    let logits = Tensor::cat(&logits.collect::<candle_core::Result<Vec<_>>>()?, 0)?.detach(); // [b, classes]
    let undefined: Vec<usize> = (0..b).zip(finite_rows(&logits)?).filter(|row| !row.1).map(|row| row.0).collect();
    ensure!(
        undefined.is_empty(),
        "the logits of {} of {b} images are not finite, those of image {} first; nothing is written",
        undefined.len(),
        undefined.first().unwrap_or(&0)
    );

    let bytes = safetensors::serialize([("logits", &logits)], None)?;
    write_aside(&output, |file| Ok(file.write_all(&bytes)?))?;
    match &about {
        Some(Description { mean, std, .. }) => {
            println!(
                "the input is taken as normalised as in training: mean {mean:?}, deviation {std:?} of each channel"
            );
        }
        None => println!("{} does not say what its images were normalised by", weights.display()),
    }
    println!("wrote logits {:?} to {}", logits.dims(), output.display());
    Ok(())
}

/// The tensor `input` as `[b, h, w, 3]`.
///
/// # Errors
/// If it cannot be images that were normalised as in training.
fn images_of(input: &Path, about: Option<&Description>) -> Result<Tensor> {
    let mut file = tensors_in(input)?;
    let images = file.remove("input").with_context(|| format!("{} has no tensor \"input\"", input.display()))?;
    let (dims, named) = (images.dims().to_vec(), || format!("tensor \"input\" in {}", input.display()));
    ensure!(
        dims.len() == 4 && dims[1] == 3 && dims.iter().all(|dim| *dim > 0),
        "{} has the shape {dims:?}; expected [b, 3, h, w] with b of at least 1",
        named()
    );
    ensure!(
        images.dtype().is_float(),
        "{} has elements of {:?}; expected f32, normalised as in training: bytes of pixels are not",
        named(),
        images.dtype()
    );
    let images = images.to_dtype(DType::F32)?;
    let (mut whole, mut largest, mut longest) = (true, 0f32, 0f32);
    for x in images.flatten_all()?.to_vec1::<f32>()? {
        ensure!(x.is_finite(), "{} has an element that is not finite ({x}); expected numbers", named());
        (whole, largest) = (whole && x.fract() == 0. && (0. ..=255.).contains(&x), largest.max(x));
        longest = longest.max(x.abs());
    }
    ensure!(
        !(whole && largest > 16.),
        "{} has whole numbers from 0 to {largest}, which are bytes of pixels; expected them normalised as in training",
        named()
    );
    ensure!(
        longest <= 100.,
        "{} has an element of size {longest}, which no normalisation of pixels gives; expected them normalised as in \
         training",
        named()
    );
    if let Some(about) = about {
        about.check_images(&images, 1).with_context(named)?;
    }
    Ok(images.permute((0, 2, 3, 1))?.contiguous()?)
}

fn classes(tensors: &BTreeMap<String, Tensor>, matrix: &str, prefix: &str) -> Option<usize> {
    tensors.get(&format!("{prefix}{matrix}")).filter(|matrix| matrix.rank() == 2).map(|matrix| matrix.dims()[0])
}

/// The flag that says the normalisation, where there is a choice.
fn of_choice(model: Architecture, norm: Norm) -> String {
    if model.has_choice_of_norm() { format!(" --norm {norm}") } else { String::new() }
}

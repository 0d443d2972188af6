//! `predict`: logits of images, with weights trained here or in PyTorch.

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};
use candle_nn::ModuleT;
use clap::Args;
use msharp_core::{Seeded, write_aside};
use msharp_models::{Architecture, Norm};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Images through a trained network.
#[derive(Args)]
pub struct PredictArgs {
    /// The network: resnet8, resnet18, resnet20, resnet34, resnet50, wrn-DEPTH-WIDEN such as wrn-28-10, vit-mini (for
    /// 32×32 images), or vit-tiny, vit-small, vit-base (for 224×224)
    #[arg(long)]
    model: Architecture,
    /// Its normalisation; needed for group normalisation, whose number of groups no tensor tells [default: batch]
    #[arg(long)]
    norm: Option<Norm>,
    /// Weights as safetensors, under torchvision's or timm's names: trained here, exported from PyTorch, or a
    /// checkpoint
    #[arg(long)]
    weights: PathBuf,
    /// A safetensors file with the tensor `input`, [b, 3, h, w], normalised as in training
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
    let PredictArgs { model, norm, weights, input, output, batch_size } = args;
    ensure!(batch_size > 0, "--batch-size is 0; expected at least 1");
    let tensors = weights_of(&weights)?;
    let matrix = format!("{}.weight", model.classifier());
    let classes = classes(&tensors, &matrix).with_context(|| {
        format!("{} has no matrix {matrix:?}, [classes, features], as {model} has", weights.display())
    })?;
    let has_statistics = tensors.keys().any(|name| name.ends_with("running_mean"));
    ensure!(
        norm.is_some() || has_statistics || !model.has_choice_of_norm(),
        "{} has no running statistics; expected --norm group, or group-N for another number of groups than 32",
        weights.display()
    );
    let norm = norm.unwrap_or(Norm::Batch);
    let init = Seeded::new(0, DType::F32, &Device::Cpu);
    let network = model.build(norm, classes, init.var_builder())?;
    // every tensor must have its place: a deeper network's weights have all names of a shallower one's
    let fits = init.params()?.assign(&tensors);
    fits.with_context(|| format!("{} does not fit --model {model}{}", weights.display(), of_choice(model, norm)))?;

    let mut file = load(&input)?;
    let images = file.remove("input").with_context(|| format!("{} has no tensor \"input\"", input.display()))?;
    let dims = images.dims().to_vec();
    ensure!(
        dims.len() == 4 && dims[1] == 3 && dims[0] > 0,
        "tensor \"input\" in {} has the shape {dims:?}; expected [b, 3, h, w] with b of at least 1",
        input.display()
    );
    let images = images.to_dtype(DType::F32)?.permute((0, 2, 3, 1))?.contiguous()?; // [b, h, w, 3]
    let logits = (0..dims[0]).step_by(batch_size).map(|start| {
        let part = images.narrow(0, start, batch_size.min(dims[0] - start))?;
        msharp_ops::no_grad(|| network.forward_t(&part, false))
    });
    let logits = Tensor::cat(&logits.collect::<candle_core::Result<Vec<_>>>()?, 0)?.detach(); // [b, classes]

    let bytes = safetensors::serialize([("logits", &logits)], None)?;
    write_aside(&output, |file| Ok(file.write_all(&bytes)?))?;
    println!("wrote logits {:?} to {}", logits.dims(), output.display());
    Ok(())
}

/// The tensors of a state dict, or those of the model in a checkpoint.
fn weights_of(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let tensors = load(path)?;
    if !tensors.keys().any(|name| name.starts_with("model/")) {
        return Ok(tensors);
    }
    let of_model = |(name, tensor): (String, Tensor)| Some((name.strip_prefix("model/")?.to_owned(), tensor));
    Ok(tensors.into_iter().filter_map(of_model).collect())
}

fn classes(tensors: &BTreeMap<String, Tensor>, matrix: &str) -> Option<usize> {
    tensors.get(matrix).filter(|matrix| matrix.rank() == 2).map(|matrix| matrix.dims()[0])
}

/// The flag that says the normalisation, where there is a choice.
fn of_choice(model: Architecture, norm: Norm) -> String {
    if model.has_choice_of_norm() { format!(" --norm {norm}") } else { String::new() }
}

fn load(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let tensors = candle_core::safetensors::load(path, &Device::Cpu).with_context(|| {
        format!("cannot read {} as safetensors: it is missing, truncated or something else", path.display())
    })?;
    Ok(tensors.into_iter().collect())
}

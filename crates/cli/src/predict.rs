//! `predict`: what a trained network makes of pictures, or of images as tensors.

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};
use candle_nn::ModuleT;
use clap::Args;
use msharp_core::{Key, write_aside};
use msharp_data::{Picture, Transform};
use msharp_lab::config::DataName;
use msharp_lab::resources::computing;
use msharp_lab::run::notes::tensors_in;
use msharp_lab::trained::{Said, Trained};
use msharp_models::Description;
use msharp_train::finite_rows;
use std::io::Write;
use std::path::{Path, PathBuf};

/// What to show before the flags.
const EXAMPLES: &str = "Examples:
  msharp predict --weights runs/NAME/weights.safetensors photo.jpg                     the five likeliest classes
  msharp predict --weights W.safetensors --input images.safetensors --output logits.safetensors";

/// How many classes are printed of each picture.
const LIKELIEST: usize = 5;

/// Height and width of what networks for small images are published for.
const SMALL: usize = 32;

/// Images as tensors at a time.
const BATCH: usize = 100;

/// Pictures, or images as tensors, through a trained network.
#[derive(Args)]
#[command(before_help = EXAMPLES)]
pub struct PredictArgs {
    /// Picture files: the five likeliest classes of each are printed
    #[arg(value_name = "PICTURE", required_unless_present = "input", conflicts_with = "input")]
    pictures: Vec<PathBuf>,
    /// Weights as safetensors, under torchvision's or timm's names: trained here, exported from PyTorch, or a
    /// checkpoint
    #[arg(long)]
    weights: PathBuf,
    /// A safetensors file with the tensor `input`, [b, 3, h, w], floats normalised as in training; where the weights
    /// say mean and deviation, values that these cannot give are refused
    #[arg(long, requires = "output")]
    input: Option<PathBuf>,
    /// Where to write the tensor `logits`, [b, classes], of --input
    #[arg(long, requires = "input")]
    output: Option<PathBuf>,
    /// Images of --input at a time [default: 100]
    #[arg(long)]
    batch_size: Option<usize>,
    #[command(flatten)]
    said: Said,
}

/// Evaluation mode, no graph.
pub fn predict(args: PredictArgs) -> Result<()> {
    let PredictArgs { pictures, said, .. } = &args;
    let of_pictures = said.image_size.is_some() || said.interpolation.is_some() || said.crop_pct.is_some();
    for (flag, is_given, is_used, of) in [
        ("output", args.output.is_some(), pictures.is_empty(), "--input"),
        ("batch-size", args.batch_size.is_some(), pictures.is_empty(), "--input"),
        ("image-size, --interpolation and --crop-pct", of_pictures, !pictures.is_empty(), "pictures"),
    ] {
        ensure!(!is_given || is_used, "--{flag} has no effect here: it is about {of}; expected none");
    }
    computing(None, || match (&args.input, &args.output) {
        (Some(input), Some(output)) => write_logits(&args, input, output),
        _ => print_classes(&args),
    })
}

/// The likeliest classes of each picture.
fn print_classes(args: &PredictArgs) -> Result<()> {
    let trained = Trained::load(&args.weights, &args.said)?;
    let transform = transform(&trained)?.with_context(|| {
        let shown = args.weights.display();
        format!("{shown} does not say by which mean and deviation images were normalised; expected --mean and --std")
    })?;
    for path in &args.pictures {
        let pixels = transform.apply(&Picture::read(path)?, Key::new(0))?;
        let input = Tensor::from_vec(pixels, (1, transform.size, transform.size, 3), &Device::Cpu)?;
        let logits = msharp_ops::no_grad(|| trained.network.forward_t(&input, false))?;
        ensure!(finite_rows(&logits)?[0], "the logits of {} are not finite", path.display());
        println!("{}", path.display());
        for (class, probability) in likeliest(&logits)? {
            let name = trained.class_names.get(class).cloned().unwrap_or_else(|| format!("class {class}"));
            println!("  {:6.2} %  {name}", 100. * probability);
        }
    }
    Ok(())
}

/// How a picture becomes an input: as in the evaluation of the run that made the weights, or as suits a network from
/// elsewhere. `None` where mean and deviation are not known.
fn transform(trained: &Trained) -> Result<Option<Transform>> {
    let Trained { architecture, config, is_of_a_run, .. } = trained;
    let on_disk = DataName::Folder(PathBuf::new());
    let config = trained.config_on(if *is_of_a_run { config.data.set.clone() } else { on_disk })?;
    if config.images.mean.is_none() || config.images.std.is_none() {
        return Ok(None);
    }
    let is_for_small = architecture.image_size().map_or(!architecture.has_imagenet_stem(), |size| size <= 64);
    Ok(Some(match is_of_a_run {
        true => config.evaluation(config.side(), config.data.set.side().is_some(), None),
        false if is_for_small => config.evaluation(config.images.image_size.unwrap_or(SMALL), true, None),
        false => config.evaluation(config.side(), false, None),
    }))
}

/// The classes of the largest logits `[1, k]`, and their probabilities, in falling order.
fn likeliest(logits: &Tensor) -> Result<Vec<(usize, f64)>> {
    let logits = logits.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|x| (x - largest).exp()).sum();
    let mut all: Vec<(usize, f64)> = logits.iter().map(|x| (x - largest).exp() / sum).enumerate().collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    all.truncate(LIKELIEST);
    Ok(all)
}

fn write_logits(args: &PredictArgs, input: &Path, output: &Path) -> Result<()> {
    let PredictArgs { weights, said, .. } = args;
    let batch_size = args.batch_size.unwrap_or(BATCH);
    ensure!(batch_size > 0, "--batch-size is 0; expected at least 1");
    for (flag, other) in [("weights", weights.as_path()), ("input", input)] {
        let same = output.canonicalize().is_ok_and(|output| other.canonicalize().is_ok_and(|other| other == output));
        ensure!(!same, "--output {} is --{flag}, which it would replace; expected another file", output.display());
    }
    let Trained { network, about, .. } = Trained::load(weights, said)?;
    msharp_core::check_writable(output)?;
    let images = images_of(input, about.as_ref())?; // [b, h, w, 3]
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
    write_aside(output, |file| Ok(file.write_all(&bytes)?))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_classes_come_first_with_their_softmax() -> Result<()> {
        let logits = Tensor::new(&[[0f32, 2., 1., -1., 3., 0.5]], &Device::Cpu)?;
        let found = likeliest(&logits)?;
        assert_eq!(found.iter().map(|class| class.0).collect::<Vec<_>>(), [4, 1, 2, 5, 0]);
        let sum: f64 = [0f64, 2., 1., -1., 3., 0.5].iter().map(|x| x.exp()).sum();
        assert!((found[0].1 - 3f64.exp() / sum).abs() < 1e-12);
        Ok(())
    }
}

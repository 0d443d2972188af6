//! `evaluate`: trained weights on the test images of a data set.

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device};
use clap::Args;
use msharp_core::{DataSource, Seeded};
use msharp_lab::config::{DataName, RunConfig};
use msharp_lab::data::Datasets;
use msharp_lab::resources::Resources;
use msharp_lab::run::notes::{description, weights_in};
use msharp_train::Classifier;
use std::path::{Path, PathBuf};

/// What to show before the flags.
const EXAMPLES: &str = "Examples:
  msharp evaluate --weights runs/NAME/weights.safetensors                     on drawn images
  msharp evaluate --weights runs/NAME/checkpoint.safetensors --data cifar10   on CIFAR-10";

/// Which weights, on which images.
#[derive(Args)]
#[command(before_help = EXAMPLES)]
pub struct EvaluateArgs {
    /// Weights that `msharp train` has written, or a checkpoint: they say their network and normalisation
    #[arg(long)]
    weights: PathBuf,
    /// The data set
    #[arg(long, default_value = "synthetic")]
    data: DataName,
    /// Evaluate on this many test images only
    #[arg(long)]
    test_subset: Option<usize>,
    #[command(flatten)]
    resources: Resources,
}

/// Prints accuracy and loss.
pub fn evaluate(args: EvaluateArgs) -> Result<()> {
    let EvaluateArgs { weights, data, test_subset, resources } = args;
    resources.check_data(data)?;
    resources.computing(|data_dir| measure(&weights, data, test_subset, &data_dir))
}

fn measure(weights: &Path, data: DataName, test_subset: Option<usize>, data_dir: &Path) -> Result<()> {
    let shown = weights.display();
    let about = description(weights)?
        .with_context(|| format!("{shown} does not say what its weights are of; expected a file of `msharp train`"))?;
    ensure!(
        about.classes == data.classes(),
        "{shown} holds weights for {} classes, and the data set has {}; expected another --data",
        about.classes,
        data.classes()
    );
    let config = RunConfig::defaults().with(|c| {
        (c.data.set, c.data.test_subset) = (data, test_subset);
    });
    let streams = Datasets::new(data_dir).streams(&config)?;
    let init = Seeded::new(0, DType::F32, &Device::Cpu);
    let network = about.architecture.build(about.norm, about.classes, init.var_builder())?;
    init.params()?
        .assign(&weights_in(weights)?)
        .with_context(|| format!("{shown} does not fit {}", about.architecture))?;
    let set = &streams.train.dataset;
    ensure!(
        (set.mean, set.std) == (about.mean, about.std),
        "the weights in {shown} are for images normalised by {:?} and {:?}, and this set's are by {:?} and {:?}; \
         expected the --data that they were trained on",
        about.mean,
        about.std,
        set.mean,
        set.std
    );
    let found = msharp_train::evaluate(&Classifier::new(network), &streams.test)?;
    println!("test accuracy   {:.2} % of {} images", 100. * found.accuracy, streams.test.samples());
    println!("cross-entropy   {:.4}", found.loss);
    if found.not_finite > 0 {
        println!("{} images have logits that are not finite, and count as wrong", found.not_finite);
    }
    Ok(())
}

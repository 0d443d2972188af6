//! `evaluate`: trained weights on the test images of a data set.

use anyhow::{Context, Result, ensure};
use clap::Args;
use msharp_core::DataSource;
use msharp_lab::config::{Channels, DataName};
use msharp_lab::data::{Datasets, Streams};
use msharp_lab::resources::Resources;
use msharp_lab::screen;
use msharp_lab::trained::{Said, Trained};
use msharp_train::{ClassTally, Classifier, Evaluation};
use std::path::{Path, PathBuf};

/// What to show before the flags.
const EXAMPLES: &str = "Examples:
  msharp evaluate --weights runs/NAME/weights.safetensors                     on the images of the run
  msharp evaluate --weights runs/NAME/checkpoint.safetensors --data cifar10   on CIFAR-10
  msharp evaluate --weights W.safetensors --model resnet50-imagenet --data folder:PATH --mean 0.485,0.456,0.406 \
    --std 0.229,0.224,0.225                                                   weights from elsewhere";

/// Which weights, on which images.
#[derive(Args)]
#[command(before_help = EXAMPLES)]
pub struct EvaluateArgs {
    /// Weights that `msharp train` has written, or a checkpoint, or weights from elsewhere
    #[arg(long)]
    weights: PathBuf,
    /// The data set: synthetic, cifar10, folder:PATH and the like [default: that of the run]
    #[arg(long)]
    data: Option<DataName>,
    /// Evaluate on this many test images only
    #[arg(long)]
    test_subset: Option<usize>,
    /// Also print the accuracy on each class
    #[arg(long)]
    per_class: bool,
    /// Leave out pictures that cannot be read, and say which; otherwise the first is an error
    #[arg(long, help_heading = "Images")]
    skip_broken: bool,
    #[command(flatten)]
    said: Said,
    #[command(flatten)]
    resources: Resources,
}

/// Prints accuracy and loss.
pub fn evaluate(args: EvaluateArgs) -> Result<()> {
    args.data.iter().try_for_each(|data| args.resources.check_data(data))?;
    let trained = Trained::load(&args.weights, &args.said)?;
    let of_run = trained.is_of_a_run.then(|| trained.config.data.set.clone());
    let data = args.data.clone().or(of_run).with_context(|| {
        format!("{} does not say on which images to evaluate it; expected --data", args.weights.display())
    })?;
    args.resources.check_data(&data)?;
    let EvaluateArgs { weights, test_subset, per_class, skip_broken, .. } = args;
    args.resources.computing(|data_dir| {
        let config = trained.config_on(data)?.with(|c| {
            (c.data.test_subset, c.data.subset, c.data.validation, c.data.label_noise) = (test_subset, None, None, 0.);
            c.images.skip_broken = skip_broken;
        });
        let Trained { network, classes, class_names, .. } = trained;
        config.check_images()?;
        let streams = Datasets::new(&data_dir).streams(&config)?;
        if config.images.mean.is_none() {
            let (mean, std) = streams.normalisation;
            screen::say(format!(
                "{} does not say by which mean and deviation images were normalised; taken: those of {}, --mean {} --std {}",
                weights.display(),
                config.data.set,
                Channels(mean),
                Channels(std)
            ));
        }
        ensure!(
            classes == streams.classes,
            "{} holds weights for {classes} classes, and the data set has {}; expected another --data",
            weights.display(),
            streams.classes
        );
        check_names(&weights, &class_names, &streams)?;
        let found = msharp_train::evaluate(&Classifier::new(network), &*streams.test)?;
        print(&found, &streams, per_class);
        Ok(())
    })
}

/// # Errors
/// If the classes of the weights and those of the data have other names, or the same in another order.
fn check_names(weights: &Path, of_weights: &[String], streams: &Streams) -> Result<()> {
    let both = of_weights.iter().zip(&streams.class_names);
    if let Some((class, (weights_say, data_say))) = both.enumerate().find(|(_, (a, b))| a != b) {
        anyhow::bail!(
            "class {class} of {} is {weights_say:?}, and class {class} of the data is {data_say:?}; expected the same \
             classes in the same order",
            weights.display()
        );
    }
    Ok(())
}

fn print(found: &Evaluation, streams: &Streams, per_class: bool) {
    println!("top-1           {:.2} % of {} images", 100. * found.accuracy, found.samples);
    if found.classes.len() > 5 {
        println!("top-5           {:.2} %", 100. * found.top5);
    }
    println!("cross-entropy   {:.4}", found.loss);
    if found.not_finite > 0 {
        println!("{} images have logits that are not finite, and count as wrong", found.not_finite);
    }
    let left_out = streams.test.samples() - found.samples;
    for (_, why) in streams.broken.iter().flat_map(|broken| broken.list()) {
        println!("left out: {why}");
    }
    if left_out > 0 {
        println!("{left_out} of {} pictures could not be read, and are in no number above", streams.test.samples());
    }
    if per_class {
        println!("\n  correct   of      %  class");
        for (class, ClassTally { samples, correct }) in found.classes.iter().enumerate() {
            let name = streams.class_names.get(class).cloned().unwrap_or_else(|| class.to_string());
            let share = 100. * *correct as f64 / *samples as f64;
            let share = if *samples == 0 { "     –".to_owned() } else { format!("{share:6.2}") };
            println!("{correct:9} {samples:4} {share}  {name}");
        }
    }
}

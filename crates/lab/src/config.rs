//! A run's configuration, in groups: the same structs are the command line, the record in a row, and the identity of a
//! run.

mod canonical;
pub mod changes;
pub mod choices;
mod data_name;
pub mod device;
mod effect;
pub(crate) mod facts;
mod images;
mod label;
pub mod record;
pub mod start;
mod text;
mod valid;
mod weights_name;

pub use canonical::named;
pub use changes::Changes;
pub use choices::{AugmentName, EstimatorName, MicroPathName, OptimizerName, typed};
pub use data_name::DataName;
pub use device::{DeviceName, PrecisionName};
pub(crate) use images::check_normalisation;
pub use images::{Channels, ImageConfig, InterpolationName, Transforms};
pub use record::FORMAT;
pub use start::Start;
pub use text::{GroupText, RhoText, ScheduleText};
pub use weights_name::WeightsName;

use clap::Args;
use msharp_models::{Architecture, Norm};
use msharp_perturb::Rule;
use serde::{Deserialize, Serialize};
use text::{as_text, as_texts};
use weights_name::as_optional_name;

/// Everything that decides what a run of one version of the program computes: equal ones end with the same bits on
/// machines of one type.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct RunConfig {
    /// On which images.
    #[command(flatten)]
    pub data: DataConfig,
    /// How they become inputs.
    #[command(flatten)]
    pub images: ImageConfig,
    /// Which network.
    #[command(flatten)]
    pub model: ModelConfig,
    /// With which rule.
    #[command(flatten)]
    pub perturbation: RuleConfig,
    /// How the samples of a batch are weighted, for the rules that do so.
    #[command(flatten)]
    pub weighting: WeightingConfig,
    /// From which weights.
    #[command(flatten)]
    pub start: Start,
    /// In which steps.
    #[command(flatten)]
    pub optimisation: OptimisationConfig,
    /// What is measured on the way.
    #[command(flatten)]
    pub measuring: MeasuringConfig,
    /// On which machine.
    #[command(flatten)]
    pub machine: MachineConfig,
}

/// The images.
#[derive(Args, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[command(next_help_heading = "Data")]
pub struct DataConfig {
    /// The data set: synthetic, thumbnails (drawn, no download), cifar10, cifar100; or your own as folder:PATH
    /// (PATH/{train,val}/CLASS/), tar:PATH (webdataset shards) or parquet:PATH[#IMAGE,LABEL]
    #[arg(id = "data", long = "data", default_value = "synthetic", value_name = "NAME")]
    #[serde(with = "as_text")]
    pub set: DataName,
    /// Train on this many images only, the same share of each class
    #[arg(long, value_name = "N")]
    pub subset: Option<usize>,
    /// Evaluate on this many test images only
    #[arg(long, value_name = "N")]
    pub test_subset: Option<usize>,
    /// Hold this many training images out, the same for every seed, and evaluate on them instead of on the test images:
    /// for choosing settings
    #[arg(long, hide_short_help = true, value_name = "N")]
    pub validation: Option<usize>,
    /// Give this share of the training images a wrong label, drawn from the other classes
    #[arg(long, default_value_t = 0., allow_hyphen_values = true, value_name = "SHARE")]
    pub label_noise: f64,
    /// Augmentation: standard is a flip and a random crop (pad 4; pictures on disk: resized)
    #[arg(long, default_value = "standard", value_name = "NAME")]
    pub augment: AugmentName,
    /// Cut a square of this side out of each training image
    #[arg(long, hide_short_help = true, value_name = "N")]
    pub cutout: Option<usize>,
}

/// The network.
#[derive(Args, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[command(next_help_heading = "Model")]
pub struct ModelConfig {
    /// The network: resnet{8,18,20,34,50}, resnetDEPTHa such as resnet20a, wrn-DEPTH-WIDEN such as wrn-28-10,
    /// resnet{18,34,50}-imagenet, vit-mini, vit_{tiny,small,base}_patch16_224, vit_{small,base}_patch14_dinov2, or a
    /// vit at another size, as vit-mini@64
    #[arg(id = "model", long = "model", default_value = "resnet8", value_name = "MODEL")]
    #[serde(with = "as_text")]
    pub architecture: Architecture,
    /// Its normalisation: batch, group (32 groups), or group-8 and the like; a vit has its own
    #[arg(long, default_value = "batch", value_name = "NORM")]
    #[serde(with = "as_text")]
    pub norm: Norm,
    /// Start from these weights (fine-tuning): a safetensors file under torchvision's or timm's names, or
    /// hub:REPO[/FILE] of the Hugging Face hub. The classifier is new where the classes are others, and position
    /// embeddings are resampled to --image-size; everything else must fit
    #[arg(long, value_name = "WEIGHTS")]
    #[serde(with = "as_optional_name")]
    pub init_weights: Option<WeightsName>,
    /// Refuse weights with another SHA-256 than this; a record states it [default: that of the file]
    #[arg(long, hide_short_help = true, value_name = "HEX")]
    pub init_sha256: Option<String>,
}

/// The rule.
#[derive(Args, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[command(next_help_heading = "Rule")]
pub struct RuleConfig {
    /// The rule, with its parameters: sam, rw-sam:lambda=16, esam:beta=0.6,gamma=0.5; `msharp rules` lists all
    #[arg(long, default_value = "sam", value_name = "NAME:PARAMETERS")]
    #[serde(with = "as_text")]
    pub rule: Rule,
    /// ρ, the perturbation radius: short for the parameter rho of --rule [default: the rule's]
    #[arg(long, allow_hyphen_values = true, value_name = "ρ")]
    #[serde(skip)]
    pub rho: Option<f64>,
    /// m: apply the rule on micro-batches of this many samples and average (m-SAM); under batch normalisation each
    /// micro-batch is its own normalisation batch
    #[arg(long, value_name = "N")]
    pub micro_batch: Option<usize>,
    /// How micro-batches are computed; the results agree up to rounding
    #[arg(long, hide_short_help = true, default_value = "auto", value_name = "PATH")]
    pub micro_path: MicroPathName,
    /// What of the rule is changed.
    #[command(flatten)]
    #[serde(flatten)]
    pub changes: Changes,
}

/// The weights of a batch's samples.
#[derive(Args, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[command(next_help_heading = "RW-SAM and δ-SAM")]
pub struct WeightingConfig {
    /// The estimator of the samples' gradient norms
    #[arg(long, default_value = "finite-difference", value_name = "NAME")]
    pub estimator: EstimatorName,
    /// K, the number of finite-difference probes
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub probes: usize,
    /// δ, the finite-difference step [default: such that ‖δz‖ = 1e-4·‖x‖]
    #[arg(long, allow_hyphen_values = true, value_name = "NUMBER")]
    pub delta: Option<f64>,
    /// Move δ to where its measured noise is least; costs a sixteenth of a forward pass more in each step
    #[arg(long, hide_short_help = true, conflicts_with = "delta")]
    pub adapt_delta: bool,
    /// Permute the weights across the samples: a control with the same weights and m_eff
    #[arg(long, hide_short_help = true)]
    pub shuffle_weights: bool,
}

/// The steps.
#[derive(Args, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[command(next_help_heading = "Optimisation")]
pub struct OptimisationConfig {
    /// Passes over the training set
    #[arg(long, default_value_t = 20, value_name = "N")]
    pub epochs: usize,
    /// Samples in a batch
    #[arg(long, default_value_t = 128, value_name = "N")]
    pub batch_size: usize,
    /// The base learning rate
    #[arg(long, default_value_t = 0.1, allow_hyphen_values = true, value_name = "NUMBER")]
    pub lr: f64,
    /// Learning-rate schedule: cosine, constant, step (÷10 at ½ and ¾), or step:0.3,0.6,0.8:0.2
    #[arg(long, default_value = "cosine", value_name = "SCHEDULE")]
    #[serde(with = "as_text")]
    pub schedule: ScheduleText,
    /// The share of the run over which the learning rate first rises
    #[arg(long, default_value_t = 0., allow_hyphen_values = true, value_name = "SHARE")]
    pub warm_up: f64,
    /// Factors on the learning rate for groups of parameters, the first that fits: head.*=50 for the new classifier of
    /// a pretrained vit
    #[arg(long, hide_short_help = true, value_delimiter = ',', value_name = "PARAMETERS=FACTOR")]
    #[serde(with = "as_texts")]
    pub lr_groups: Vec<GroupText>,
    /// The optimizer
    #[arg(long, default_value = "sgd", value_name = "NAME")]
    pub optimizer: OptimizerName,
    /// Momentum of SGD
    #[arg(long, default_value_t = 0.9, allow_hyphen_values = true, value_name = "NUMBER")]
    pub momentum: f64,
    /// Nesterov momentum
    #[arg(long)]
    pub nesterov: bool,
    /// Weight decay (L2), outside of the ascent gradient
    #[arg(long, default_value_t = 5e-4, allow_hyphen_values = true, value_name = "NUMBER")]
    pub weight_decay: f64,
    /// Leave norm layers and biases out of the weight decay
    #[arg(long, hide_short_help = true)]
    pub decay_weights_only: bool,
    /// Label smoothing ε
    #[arg(long, default_value_t = 0., allow_hyphen_values = true, value_name = "NUMBER")]
    pub label_smoothing: f64,
    /// Take the passes over a batch in pieces of at most this many samples, to save memory; m is not affected. Under
    /// batch normalisation each piece is its own normalisation batch
    #[arg(long, value_name = "N")]
    pub accumulate: Option<usize>,
    /// The seed of initialisation, order, augmentation, label noise and probes
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub seed: u64,
}

/// What is measured.
#[derive(Args, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[command(next_help_heading = "Measuring")]
pub struct MeasuringConfig {
    /// Evaluate on the test images after every so many epochs, and after the last
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub evaluate_every: usize,
    /// After the last epoch evaluate on the training images too, as they are without augmentation
    #[arg(long, hide_short_help = true)]
    pub train_accuracy: bool,
    /// Every so many steps measure the noise of the gradient on the batch of the step, before it: tr V, the noise scale
    /// and the quantiles of the samples' norms, as noise_… in log and row; 0: never. No bit of the run depends on it
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub noise_every: usize,
    /// On the first so many samples of the batch only [default: all]; under batch normalisation they are a
    /// normalisation batch of their own
    #[arg(long, hide_short_help = true, value_name = "N")]
    pub noise_samples: Option<usize>,
    /// Its estimator of the samples' gradient norms; with finite-difference, from --probes probes
    #[arg(long, hide_short_help = true, default_value = "exact", value_name = "NAME")]
    pub noise_estimator: EstimatorName,
}

/// The machine, as far as a result depends on it.
#[derive(Args, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[command(next_help_heading = "Machine")]
pub struct MachineConfig {
    /// The device
    #[arg(long, default_value = "cpu", value_name = "NAME")]
    pub device: DeviceName,
    /// The precision of a GPU's products; finite differences are in f32 in each [default: f32, and bf16 on cuda]
    #[arg(
        long,
        default_value = "f32",
        default_value_if("device", "cuda", "bf16"),
        hide_default_value = true,
        value_name = "NAME"
    )]
    pub precision: PrecisionName,
}

#[cfg(test)]
pub(crate) mod tests;

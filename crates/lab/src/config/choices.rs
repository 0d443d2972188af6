//! What a configuration chooses from besides rules, by the names of the command line.

use clap::ValueEnum;
use msharp_perturb::Path;
use serde::{Deserialize, Serialize};

/// The name as it is typed.
pub fn typed(value: impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

/// Augmentations by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AugmentName {
    /// The images as they are
    None,
    /// Random crop (pad 4) and horizontal flip
    Standard,
}

/// The optimizers by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptimizerName {
    /// SGD with momentum and L2 weight decay
    #[default]
    Sgd,
    /// Adam with decoupled weight decay, β = (0.9, 0.999); a good --lr is 0.001
    Adamw,
}

/// The paths of micro-batches by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MicroPathName {
    /// All at once where the rule and the network allow it, else one after another
    #[default]
    Auto,
    /// All at once, or an error that says why they cannot be
    Parallel,
    /// One after another
    Sequential,
}

impl MicroPathName {
    /// For the rule.
    pub fn path(self) -> Path {
        match self {
            MicroPathName::Auto => Path::Auto,
            MicroPathName::Parallel => Path::Parallel,
            MicroPathName::Sequential => Path::Sequential,
        }
    }
}

/// The gradient-norm estimators by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EstimatorName {
    /// Rademacher probes, one extra forward pass each
    FiniteDifference,
    /// One backward pass for each sample (very slow)
    Exact,
    /// One backward pass in which the layers measure every sample; under batch norm, shares of the whole gradient
    Ghost,
    /// The closed form of the last layer's part: no further pass
    LastLayer,
    /// The parts of normalisation layers alone, by one backward pass
    NormLayers,
    /// No estimate but random numbers: a control
    Random,
}

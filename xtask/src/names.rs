//! What a configuration chooses from, by the names of the command line.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// The rules by name; --micro-batch makes each its m-variant, --ball and --combine exchange a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuleName {
    /// No perturbation
    Sgd,
    /// SAM
    Sam,
    /// SAM without the normalisation of the gradient
    Usam,
    /// SAM with the perturbation of the full training set (very slow)
    NSam,
    /// USAM with the perturbation of the full training set (very slow)
    NUsam,
    /// Reweighted SAM
    RwSam,
    /// Reweighted USAM
    RwUsam,
    /// Adaptive SAM, every parameter scaled by its size; a good ρ is 0.5 to 2
    Asam,
    /// Adaptive SAM as its authors have it: biases are not scaled
    AsamWeights,
    /// Adaptive SAM with one scale for each tensor
    LayerSam,
    /// SAM in the L∞ ball; a good ρ is small
    LinfSam,
    /// Between USAM and SAM, by --share
    UnifiedSam,
    /// Surrogate gap, by --alpha; with --rho-schedule by-lr as published
    Gsam,
    /// Friendly SAM, by --sigma and --keep
    FriendlySam,
    /// Perturbed along a moving average of gradients, by --theta
    Vasso,
    /// SAM every --k steps, its sharp part reused between, by --alpha
    LookSam,
    /// A share --mask of the parameters perturbed, a share --select of the samples descended
    Esam,
    /// Weighted sharpness, by --gamma
    Wsam,
    /// The sharp direction at the length of the clean gradient
    StableSam,
    /// Perturbed along the rule's own momentum, by --mu: one pass
    Msam,
    /// SAM where the gradient is long for its time
    AeSam,
    /// Bent towards the leading eigenvector of the Hessian, by --bend
    EigenSam,
    /// Random weight perturbation, filter-wise, with σ = --rho: one pass
    Rwp,
    /// SAM at randomly moved weights, by --noise
    RSam,
    /// The penalty on the gradient norm, by --alpha
    Pgn,
    /// SAM on norm layers only
    SamOn,
}

/// How an ascent gradient becomes an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BallName {
    /// ρ g/‖g‖
    L2,
    /// ρ g
    Raw,
    /// ρ sign(g)
    Linf,
    /// Between raw and L2, by --share
    Unified,
    /// L2, scaled by |w|
    Adaptive,
    /// L2, scaled by |w| + 0.01, biases as they are
    AdaptiveWeights,
    /// L2, scaled by the norm of each filter
    AdaptiveFilter,
    /// L2, scaled by the norm of each tensor
    AdaptiveTensor,
    /// L2 of the gradient less its moving average, by --sigma and --keep
    Friendly,
    /// L2 of the moving average, by --theta
    Averaged,
    /// L2, a random share --mask of the parameters
    Sparse,
    /// L2, bent towards the leading eigenvector, by --bend
    Eigen,
}

/// How the gradients at x and x + ε combine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CombineName {
    /// The second alone
    Descend,
    /// The second less the part of the first across it, by --alpha
    Gsam,
    /// The mean of both, by --alpha
    Blend,
    /// The first, and γ/(1 − γ) of the difference, by --gamma
    Wsam,
    /// The second at the length of the first
    Stable,
    /// The second every --k steps, its part across the first kept, by --alpha
    Look,
    /// The second where the first is long
    Steep,
    /// The second of the share --select of samples whose loss rises most
    Selected,
}

/// Where the ascent gradient comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AscentName {
    Mean,
    FullBatch,
    Gibbs,
    Momentum,
    Random,
    Smoothed,
}

impl RuleName {
    /// The sentence of the rule; none for SGD.
    pub fn sentence(self) -> Option<(AscentName, BallName, CombineName)> {
        use AscentName::*;
        use BallName::*;
        let descend = |ascent, ball| (ascent, ball, CombineName::Descend);
        Some(match self {
            RuleName::Sgd => return None,
            RuleName::Sam | RuleName::SamOn => descend(Mean, L2),
            RuleName::Usam => descend(Mean, Raw),
            RuleName::NSam => descend(FullBatch, L2),
            RuleName::NUsam => descend(FullBatch, Raw),
            RuleName::RwSam => descend(Gibbs, L2),
            RuleName::RwUsam => descend(Gibbs, Raw),
            RuleName::Asam => descend(Mean, Adaptive),
            RuleName::AsamWeights => descend(Mean, AdaptiveWeights),
            RuleName::LayerSam => descend(Mean, AdaptiveTensor),
            RuleName::LinfSam => descend(Mean, Linf),
            RuleName::UnifiedSam => descend(Mean, Unified),
            RuleName::FriendlySam => descend(Mean, Friendly),
            RuleName::Vasso => descend(Mean, Averaged),
            RuleName::EigenSam => descend(Mean, Eigen),
            RuleName::Msam => descend(Momentum, L2),
            RuleName::Rwp => descend(Random, Raw),
            RuleName::RSam => descend(Smoothed, L2),
            RuleName::Gsam => (Mean, L2, CombineName::Gsam),
            RuleName::LookSam => (Mean, L2, CombineName::Look),
            RuleName::Esam => (Mean, Sparse, CombineName::Selected),
            RuleName::Wsam => (Mean, L2, CombineName::Wsam),
            RuleName::StableSam => (Mean, L2, CombineName::Stable),
            RuleName::AeSam => (Mean, L2, CombineName::Steep),
            RuleName::Pgn => (Mean, L2, CombineName::Blend),
        })
    }

    /// The rule that has this sentence of its own, if there is one; that of SAM is SAM's.
    pub fn of(sentence: (AscentName, BallName, CombineName)) -> Option<Self> {
        Self::value_variants().iter().copied().find(|rule| rule.sentence() == Some(sentence))
    }

    /// As tables call it.
    pub fn label(self) -> &'static str {
        match self {
            RuleName::Sgd => "SGD",
            RuleName::Sam => "SAM",
            RuleName::Usam => "USAM",
            RuleName::NSam => "n-SAM",
            RuleName::NUsam => "n-USAM",
            RuleName::RwSam => "RW-SAM",
            RuleName::RwUsam => "RW-USAM",
            RuleName::Asam => "ASAM",
            RuleName::AsamWeights => "ASAM (weights)",
            RuleName::LayerSam => "layer-wise SAM",
            RuleName::LinfSam => "L∞ SAM",
            RuleName::UnifiedSam => "Unified SAM",
            RuleName::Gsam => "GSAM",
            RuleName::FriendlySam => "F-SAM",
            RuleName::Vasso => "VaSSO",
            RuleName::LookSam => "LookSAM",
            RuleName::Esam => "ESAM",
            RuleName::Wsam => "WSAM",
            RuleName::StableSam => "Stable SAM",
            RuleName::Msam => "MSAM",
            RuleName::AeSam => "AE-SAM",
            RuleName::EigenSam => "Eigen-SAM",
            RuleName::Rwp => "RWP",
            RuleName::RSam => "R-SAM",
            RuleName::Pgn => "PGN",
            RuleName::SamOn => "SAM-ON",
        }
    }
}

/// The data sets by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataName {
    /// Ten drawn classes, no download
    Synthetic,
    /// CIFAR-10
    Cifar10,
    /// CIFAR-100
    Cifar100,
}

impl DataName {
    /// The number of classes.
    pub fn classes(self) -> usize {
        if self == DataName::Cifar100 { 100 } else { 10 }
    }
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

/// The temperatures of RW-SAM by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TemperatureName {
    /// λ multiplies the norms
    Raw,
    /// λ multiplies the norms divided by their mean over the batch
    Relative,
    /// λ is the effective size of a batch under the weights
    EffectiveSize,
}

/// The gradient-norm estimators by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EstimatorName {
    /// Rademacher probes, one extra forward pass each
    FiniteDifference,
    /// One backward pass for each sample (very slow)
    Exact,
    /// One backward pass in which the layers measure every sample (CPU); under batch norm, shares of the whole gradient
    Ghost,
    /// The closed form of the last layer's part: no further pass
    LastLayer,
    /// No estimate but random numbers: a control
    Random,
}

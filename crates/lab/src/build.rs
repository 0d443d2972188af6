//! From a configuration to what it stands for: the network, the objective, the optimizer, the rule; and what is known
//! of them before the first step.

pub mod rule;

pub use rule::{cost, estimator, rule};

use crate::config::facts::Facts;
use crate::config::{GroupText, ModelConfig, OptimizerName, RunConfig};
use crate::data::{Datasets, Streams};
use crate::weights;
use anyhow::Result;
use candle_core::DType;
use msharp_core::{Optimizer, Params, Seeded, Select};
use msharp_models::{Description, Model};
use msharp_train::{AdamW, Classifier, ParamGroups, Sgd};

/// The model of a configuration with its initial weights, and the parameters that it trains.
pub fn model(config: &RunConfig, classes: usize) -> Result<(Model, Params)> {
    let init = Seeded::new(config.optimisation.seed, DType::F32, &config.machine.device.open()?);
    let model = config.model.architecture.build(config.model.norm, classes, init.var_builder())?;
    Ok((model, init.params()?))
}

/// The objective as configured.
pub fn classifier(model: Model, config: &RunConfig) -> Classifier<Model> {
    Classifier {
        model,
        label_smoothing: config.optimisation.label_smoothing,
        precision: config.machine.precision.precision(),
    }
}

/// The optimizer as configured.
pub fn optimizer(config: &RunConfig) -> Box<dyn Optimizer> {
    let groups = &config.optimisation.lr_groups;
    if groups.is_empty() {
        return optimizer_of_all(config);
    }
    let rest = GroupText(Select::All, 1.);
    let add = |all: ParamGroups, GroupText(select, factor): &GroupText| {
        all.add(select.clone(), *factor, optimizer_of_all(config))
    };
    Box::new(groups.iter().chain([&rest]).fold(ParamGroups::new(), add))
}

/// The same without groups.
fn optimizer_of_all(config: &RunConfig) -> Box<dyn Optimizer> {
    let (weight_decay, decay_norms_and_biases) =
        (config.optimisation.weight_decay, !config.optimisation.decay_weights_only);
    match config.optimisation.optimizer {
        OptimizerName::Sgd => Box::new(Sgd {
            momentum: config.optimisation.momentum,
            nesterov: config.optimisation.nesterov,
            weight_decay,
            decay_norms_and_biases,
            velocity: None,
        }),
        OptimizerName::Adamw => Box::new(AdamW { weight_decay, decay_norms_and_biases, ..AdamW::default() }),
    }
}

/// What the weights of a run are of.
pub fn description(config: &RunConfig, streams: &Streams) -> Description {
    let ModelConfig { architecture, norm, .. } = config.model;
    let (mean, std) = streams.normalisation;
    Description { architecture, norm, classes: streams.classes, mean, std }
}

/// # Errors
/// What can be known of a run before its first step, and before the runs that it starts from: flags without effect on
/// the data and the network that there are, selections that select nothing.
pub fn check(config: &RunConfig, data: &mut Datasets) -> Result<()> {
    let streams = data.streams(config)?;
    let (_, params) = model(config, streams.classes)?;
    weights::load(config, &params)?;
    check_against(config, &streams, &params)
}

/// As [`check`], with the data and the network at hand.
///
/// # Errors
/// As those.
pub fn check_against(config: &RunConfig, streams: &Streams, params: &Params) -> Result<()> {
    let Streams { train, whole, .. } = streams;
    let (samples, steps) = (train.samples(), train.steps() * config.optimisation.epochs);
    let facts = Facts { samples, steps, params, side: config.side() };
    config.check_against(&facts, &*rule(config, whole.clone())?)
}

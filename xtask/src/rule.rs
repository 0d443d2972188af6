//! From the names of a configuration to the rule that they stand for.

use crate::config::{EstimatorName, RuleName, RunConfig, TemperatureName};
use msharp_core::{GradNormEstimator, Perturbation, Temperature};
use msharp_data::Loader;
use msharp_gradnorm::{Delta, Exact, FiniteDifference, Ghost, LastLayer};
use msharp_perturb::{Micro, Plain, n_sam, n_usam, rw_sam, rw_usam, sam, usam};

/// The rule of `config`; `whole` is the training set, for the rules that ascend on all of it.
pub fn rule(config: &RunConfig, whole: Loader) -> Box<dyn Perturbation> {
    let rho = config.rho;
    let inner: Box<dyn Perturbation> = match config.rule {
        RuleName::Sgd => Box::new(Plain),
        RuleName::Sam => Box::new(sam(rho)),
        RuleName::Usam => Box::new(usam(rho)),
        RuleName::NSam => Box::new(n_sam(whole, rho)),
        RuleName::NUsam => Box::new(n_usam(whole, rho)),
        RuleName::RwSam => Box::new(rw_sam(estimator(config), temperature(config), rho)),
        RuleName::RwUsam => Box::new(rw_usam(estimator(config), temperature(config), rho)),
    };
    match config.micro_batch {
        Some(size) => Box::new(Micro { inner, size }),
        None => inner,
    }
}

fn temperature(config: &RunConfig) -> Temperature {
    match config.temperature {
        TemperatureName::Raw => Temperature::Raw(config.lambda),
        TemperatureName::Relative => Temperature::Relative(config.lambda),
        TemperatureName::EffectiveSize => Temperature::EffectiveSize(config.lambda),
    }
}

/// Where the rule of `config` takes the norms of the samples' gradients from.
pub fn estimator(config: &RunConfig) -> Box<dyn GradNormEstimator> {
    let standard = FiniteDifference::default();
    match config.estimator {
        EstimatorName::Exact => Box::new(Exact),
        EstimatorName::Ghost => Box::new(Ghost),
        EstimatorName::LastLayer => Box::new(LastLayer),
        EstimatorName::FiniteDifference => Box::new(FiniteDifference {
            probes: config.probes,
            delta: config.delta.map_or(standard.delta, Delta::Absolute),
            ..standard
        }),
    }
}

/// Forward and backward passes over the batch in one step, as the rules document them: for estimates of time.
pub fn passes(config: &RunConfig, batches_in_set: usize) -> (f64, f64) {
    let whole = batches_in_set as f64;
    match config.rule {
        RuleName::Sgd => (1., 1.),
        RuleName::Sam | RuleName::Usam => (2., 2.),
        RuleName::NSam | RuleName::NUsam => (1. + whole, 1. + whole),
        RuleName::RwSam | RuleName::RwUsam => match config.estimator {
            EstimatorName::FiniteDifference => (2. + config.probes as f64, 2.),
            EstimatorName::LastLayer => (2., 2.),
            EstimatorName::Ghost => (2., 3.),
            EstimatorName::Exact => (2., 2. + config.micro_batch.unwrap_or(config.batch_size) as f64),
        },
    }
}

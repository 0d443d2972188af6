//! What experiments with networks have in common: the set-up that they vary, and rules that are paired by seed.

use super::Family;
use crate::config::{AugmentName, DataName, RunConfig, named};
use msharp_models::{Architecture, Norm};

/// What all experiments start from: plain SGD with a cosine, crops and flips, one finite-difference probe where one is
/// needed.
pub fn standard(architecture: Architecture, norm: Norm, images: DataName) -> RunConfig {
    RunConfig::defaults().with(|c| {
        (c.model.architecture, c.model.norm, c.data.set) = (architecture, norm, images);
        c.perturbation.rule = named("sgd");
    })
}

/// The network, the images, the steps: what all experiments with networks say first.
pub fn set_up(config: &RunConfig) -> String {
    let images = match config.data.subset {
        Some(n) => format!("{n} images"),
        None => "all images".to_owned(),
    };
    let data = match &config.data.set {
        DataName::Synthetic => "the synthetic set".to_owned(),
        DataName::Thumbnails => "the drawn thumbnails (16×16)".to_owned(),
        DataName::Cifar10 => "CIFAR-10".to_owned(),
        DataName::Cifar100 => "CIFAR-100".to_owned(),
        stored => stored.to_string(),
    };
    let tested = match (config.data.validation, config.data.test_subset) {
        (Some(n), _) => format!("{n} images held out"),
        (None, Some(n)) => format!("{n} test images"),
        (None, None) => "all test images".to_owned(),
    };
    let network = config.network_label();
    let subset = if config.data.subset.is_some() { ", another subset for each seed" } else { "" };
    let wrong = match config.data.label_noise {
        0. => String::new(),
        share => format!(", {:.0} % of them with a wrong label", 100. * share),
    };
    let augmentation = if config.data.augment == AugmentName::None { ", no augmentation" } else { "" };
    let steps = &config.optimisation;
    let radius = config.perturbation.rule.radius().map_or(String::new(), |rho| format!("; ρ = {rho}"));
    format!(
        "{network}, {images} of {data}{subset}{wrong}, {tested}{augmentation}; {} epochs in batches of {}, learning rate {} \
         ({}), momentum {}, weight decay {}{radius}.",
        steps.epochs, steps.batch_size, steps.lr, steps.schedule, steps.momentum, steps.weight_decay
    )
}

/// The same of runs whose rules and radii differ.
pub fn set_up_of_all(config: &RunConfig) -> String {
    set_up(&Family::Sgd.at(config, 0.))
}

/// The first of some configurations that has a perturbation, whose radius the others share; else the first.
pub fn perturbed<'a>(configs: impl IntoIterator<Item = &'a RunConfig, IntoIter: Clone>) -> &'a RunConfig {
    let configs = configs.into_iter();
    let has_radius = |config: &&RunConfig| config.perturbation.rule.radius().is_some();
    configs.clone().find(has_radius).or_else(|| configs.clone().next()).expect("at least one run")
}

/// `base` under each of some rules at a ρ, on each of `seeds`: paired by seed.
pub fn paired_runs(base: &RunConfig, rules: &[(Family, f64)], seeds: impl IntoIterator<Item = u64>) -> Vec<RunConfig> {
    let on = |seed: u64| {
        let base = base.clone().with(|c| c.optimisation.seed = seed);
        rules.iter().map(move |(family, rho)| family.at(&base, *rho))
    };
    seeds.into_iter().flat_map(on).collect()
}

/// `base` under SGD, SAM, m-SAM with this m and RW-SAM with it as m_eff, at one radius.
pub fn four_rules(base: &RunConfig, rho: f64, m: usize, seeds: impl IntoIterator<Item = u64>) -> Vec<RunConfig> {
    let rules = [Family::Sgd, Family::Sam(base.optimisation.batch_size), Family::Sam(m), Family::probe(m)];
    paired_runs(base, &rules.map(|family| (family, rho)), seeds)
}

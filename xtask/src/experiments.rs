//! The experiments: one file a table. An experiment is a list of configurations for each preset.

mod cifar10;
mod escape;
mod m_sharpness;
mod toy;

use crate::canonical::named;
use crate::config::{AugmentName, Changes, DataName, EstimatorName, OptimizerName, RunConfig, ScheduleText, Start};
use crate::device::{DeviceName, PrecisionName};
use clap::ValueEnum;
use msharp_models::{Architecture, Norm};
use msharp_perturb::Rule;
use msharp_train::Decay;

/// An experiment by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Experiment {
    /// SGD, SAM, m-SAM and RW-SAM on the synthetic set: minutes, no download
    Toy,
    /// The paper's CIFAR-10 table
    Cifar10,
    /// Which rule leaves a poor minimum, and how fast: the paper's Figure 1
    Escape,
    /// tr V in the same runs, which are not made twice: the paper's Figure 2 and Table 6
    NoiseTrace,
    /// Accuracy against m for m-SAM and m_eff for RW-SAM, with controls that test why; shares runs with escape
    MSharpness,
    /// The orders of the equations, and algorithm × equation: no network
    WeakError,
    /// What m does to drift and diffusion: no network
    Drift,
    /// Out of a noisy well, algorithm and equation side by side: no network
    ExitTime,
}

/// How much of an experiment to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// Under two minutes: does everything work?
    Smoke,
    /// Under an hour on two cores: do the rules differ?
    Laptop,
    /// The published size, days on a CPU; of some experiments the largest that is offered, which they say
    Paper,
}

/// A value that the paper reports, for the table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Published {
    /// The network.
    pub model: Architecture,
    /// The rule.
    pub rule: &'static str,
    /// Test accuracy in percent, mean and deviation.
    pub accuracy: (f64, f64),
}

impl Experiment {
    /// Its runs. An experiment that takes either has the images of `data`.
    pub fn configs(self, preset: Preset, data: DataName) -> Vec<RunConfig> {
        match self {
            Experiment::Toy => toy::configs(preset),
            Experiment::Cifar10 => cifar10::configs(preset),
            Experiment::Escape | Experiment::NoiseTrace => escape::configs(preset, data),
            Experiment::MSharpness => m_sharpness::configs(preset, data),
            Experiment::WeakError | Experiment::Drift | Experiment::ExitTime => Vec::new(),
        }
    }

    /// The experiment in whose folder its runs are: itself, unless it shares some of them.
    pub fn folder(self) -> Experiment {
        if self == Experiment::MSharpness { Experiment::Escape } else { self.rows() }
    }

    /// The experiment whose rows it shows: itself, unless it is another view of them.
    pub fn rows(self) -> Experiment {
        if self == Experiment::NoiseTrace { Experiment::Escape } else { self }
    }

    /// Whether its results are a page of their own, with a few lines in the README.
    pub fn has_page(self) -> bool {
        !matches!(self, Experiment::Toy | Experiment::Cifar10)
    }

    /// What the paper reports, where it reports something.
    pub fn published(self) -> &'static [Published] {
        match self {
            Experiment::Cifar10 => cifar10::PUBLISHED,
            _ => &[],
        }
    }

    /// What a reader must know of the set-up, above the table. `runs` are what it is of.
    pub fn about(self, preset: Preset, runs: &[RunConfig]) -> String {
        let perturbed = runs.iter().find(|config| config.rule.name() != "sgd");
        let Some(first) = perturbed.or(runs.first()) else { return String::new() };
        match self {
            Experiment::Toy => toy::about(preset).to_owned(),
            Experiment::Cifar10 => cifar10::about(preset).to_owned(),
            Experiment::Escape => escape::about(first),
            Experiment::NoiseTrace => escape::about_noise(first),
            Experiment::MSharpness => m_sharpness::about(first),
            Experiment::WeakError | Experiment::Drift | Experiment::ExitTime => String::new(),
        }
    }
}

/// The name as it is typed.
pub fn typed(value: impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

/// What all experiments start from: plain SGD with a cosine, crops and flips, one finite-difference probe where one is
/// needed.
pub fn standard(model: Architecture, norm: Norm, data: DataName) -> RunConfig {
    RunConfig {
        model,
        norm,
        data,
        subset: None,
        test_subset: None,
        label_noise: 0.,
        augment: AugmentName::Standard,
        cutout: None,
        rule: named("sgd"),
        rho: None,
        micro_batch: None,
        estimator: EstimatorName::FiniteDifference,
        probes: 1,
        delta: None,
        changes: Changes::default(),
        start: Start::default(),
        accumulate: None,
        adapt_delta: false,
        noise_every: 0,
        noise_samples: None,
        noise_estimator: EstimatorName::Exact,
        epochs: 20,
        evaluate_every: 1,
        batch_size: 128,
        lr: 0.1,
        schedule: ScheduleText(Decay::Cosine),
        warm_up: 0.,
        optimizer: OptimizerName::Sgd,
        momentum: 0.9,
        nesterov: false,
        weight_decay: 5e-4,
        decay_weights_only: false,
        label_smoothing: 0.,
        seed: 0,
        device: DeviceName::Cpu,
        precision: PrecisionName::F32,
    }
}

/// The network, the images, the steps: what all these experiments say first.
fn set_up(config: &RunConfig) -> String {
    let images = match config.subset {
        Some(n) => format!("{n} images"),
        None => "all images".to_owned(),
    };
    let data = match config.data {
        DataName::Synthetic => "the synthetic set (no CIFAR-10 was present)",
        DataName::Cifar10 => "CIFAR-10",
        DataName::Cifar100 => "CIFAR-100",
    };
    let tested = config.test_subset.map_or("all test images".to_owned(), |n| format!("{n} test images"));
    let RunConfig { epochs, batch_size, lr, schedule, momentum, weight_decay, label_noise, .. } = config;
    let rho = config.rule.radius().unwrap_or(0.);
    let network = config.network_label();
    let subset = if config.subset.is_some() { ", another subset for each seed" } else { "" };
    let wrong = match label_noise {
        0. => String::new(),
        share => format!(", {:.0} % of them with a wrong label", 100. * share),
    };
    format!(
        "{network}, {images} of {data}{subset}{wrong}, {tested}; {epochs} epochs in batches of {batch_size}, learning \
         rate {lr} ({schedule}), momentum {momentum}, weight decay {weight_decay}; ρ = {rho}."
    )
}

/// A rule of the catalogue at a radius that it can have.
fn of_radius(name: &str, rho: f64) -> Rule {
    named(name).with("rho", rho).expect("a radius")
}

/// RW-SAM at a radius and an effective size.
fn rw_sam(rho: f64, size: usize) -> Rule {
    of_radius("rw-sam", rho).with("lambda", size).expect("an effective size")
}

/// SGD, SAM, m-SAM and RW-SAM at one radius, the last two with the same dial m: paired by seed.
fn four_rules(base: &RunConfig, rho: f64, m: usize, seeds: u64) -> Vec<RunConfig> {
    let rule = |rule, micro_batch| RunConfig { rule, micro_batch, ..base.clone() };
    let rules = [
        rule(named("sgd"), None),
        rule(of_radius("sam", rho), None),
        rule(of_radius("sam", rho), Some(m)),
        rule(rw_sam(rho, m), None),
    ];
    (0..seeds).flat_map(|seed| rules.clone().map(|config| RunConfig { seed, ..config })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is run twice would be paid for twice.
    #[test]
    fn experiments_that_share_a_folder_share_runs() {
        for preset in Preset::value_variants() {
            let of = |experiment: Experiment| experiment.configs(*preset, DataName::Synthetic);
            assert_eq!(of(Experiment::Escape), of(Experiment::NoiseTrace));
            let (escape, sharpness) = (of(Experiment::Escape), of(Experiment::MSharpness));
            let own = escape.iter().filter(|config| !sharpness.contains(config));
            assert!(own.clone().all(|config| config.rule.name() == "n-sam"), "{preset:?}");
            assert!(own.count() < escape.len() / 2);
        }
    }

    #[test]
    fn every_run_of_every_preset_is_valid_and_has_a_folder_of_its_own() {
        for experiment in Experiment::value_variants() {
            for preset in Preset::value_variants() {
                let configs = experiment.configs(*preset, DataName::Cifar10);
                let mut ids: Vec<String> = configs.iter().map(RunConfig::id).collect();
                configs.iter().for_each(|config| config.validate().unwrap());
                assert!(configs.iter().all(|config| *config == config.clone().canonical()));
                assert_eq!(experiment.about(*preset, &configs).is_empty(), configs.is_empty());
                ids.sort();
                ids.dedup();
                assert_eq!(ids.len(), configs.len(), "{experiment:?} {preset:?}");
            }
        }
    }
}

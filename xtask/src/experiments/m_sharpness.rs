//! `reproduce m-sharpness`: test accuracy against m for m-SAM and against m_eff for RW-SAM, with controls.

use super::{Preset, set_up, standard};
use crate::config::{AugmentName, DataName, EstimatorName, RuleName, RunConfig, Words};
use msharp_models::{Architecture, Norm};

/// Group normalisation, so that a micro-batch changes the perturbation and nothing else; images as they are and as many epochs
/// as it takes to fit them, so that what differs is what is learnt and not how fast.
pub fn configs(preset: Preset, data: DataName) -> Vec<RunConfig> {
    let base = RunConfig {
        augment: AugmentName::None,
        batch_size: 64,
        ..standard(Architecture::ResNet8, Norm::Group(32), data)
    };
    match preset {
        Preset::Smoke => {
            let base = RunConfig { subset: Some(128), test_subset: Some(200), epochs: 2, ..base };
            rules(&base, 0.05, &[16], 16, 1)
        }
        Preset::Laptop => {
            let base = RunConfig { subset: Some(640), test_subset: Some(1000), epochs: 40, ..base };
            rules(&base, 0.1, &[32, 16, 8, 4], 8, 5)
        }
        Preset::Paper => {
            let base = RunConfig { epochs: 200, batch_size: 128, ..base };
            let base = RunConfig { model: Architecture::ResNet18, augment: AugmentName::Standard, ..base };
            rules(&base, 0.05, &[64, 32, 16, 8], 16, 3)
        }
    }
}

/// SGD, SAM, m-SAM and RW-SAM for each size, and at `control` the controls: exact norms, and weights that know less.
fn rules(base: &RunConfig, rho: f64, sizes: &[usize], control: usize, seeds: u64) -> Vec<RunConfig> {
    let sam = |micro_batch| RunConfig { rule: RuleName::Sam, rho, micro_batch, ..base.clone() };
    let rw = |m: usize, estimator, shuffle_weights| RunConfig {
        rule: RuleName::RwSam,
        rho,
        lambda: m as f64,
        estimator,
        words: Words { shuffle_weights, ..Words::default() },
        ..base.clone()
    };
    let mut rules = vec![base.clone(), sam(None)];
    rules.extend(sizes.iter().map(|m| sam(Some(*m))));
    rules.extend(sizes.iter().map(|m| rw(*m, EstimatorName::FiniteDifference, false)));
    rules.extend([
        rw(control, EstimatorName::FiniteDifference, true),
        rw(control, EstimatorName::Ghost, false),
        rw(control, EstimatorName::Ghost, true),
        rw(control, EstimatorName::Random, false),
    ]);
    (0..seeds).flat_map(|seed| rules.clone().into_iter().map(move |config| RunConfig { seed, ..config })).collect()
}

/// Above the table.
pub fn about(config: &RunConfig) -> String {
    let augment = match config.augment {
        AugmentName::None => "No augmentation",
        AugmentName::Standard => "Crops and flips",
    };
    format!(
        "{} {augment}. RW-SAM takes its weights from one probe at the λ of its m_eff, but for the controls, at one m_eff: *exact norms*, \
         the same weights given to other samples of the batch (*shuffle-weights*), and *random weights*, which are those of half-normal \
         numbers.",
        set_up(config)
    )
}

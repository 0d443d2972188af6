//! `reproduce escape` and `reproduce noise-trace`: two views of the same runs, the paper's Figures 1 and 2 and its
//! Table 6.

use super::{Preset, set_up, standard};
use super::{of_radius, rw_sam};
use crate::config::{AugmentName, DataName, EstimatorName, RunConfig, ScheduleText, Start};
use msharp_models::{Architecture, Norm};
use msharp_train::Decay;

/// The protocol, as far as we found it, starts "at the bad global minimiser", with all training labels fitted, at a
/// constant learning rate at which SGD stays. So here: random labels, then the true ones until all are fitted, then
/// each rule from there, on the same images without augmentation, momentum or weight decay, which would be other ways
/// out.
///
/// ρ was chosen on a seed that is not in the table, from a minimum made in fewer epochs: the mean accuracy over the run
/// was 27.0 % under SGD, and 26.7, 27.0, 28.3 and 25.2 % under SAM with ρ = 0.05, 0.1, 0.2 and 0.5.
pub fn configs(preset: Preset, data: DataName) -> Vec<RunConfig> {
    let Minimum { sgd, rho, seeds, .. } = minimum(preset, data);
    let sizes: &[usize] = match preset {
        Preset::Smoke => &[16],
        Preset::Laptop => &[16, 4],
        Preset::Paper => &[64, 16, 4],
    };
    rules(&sgd, rho, sizes, seeds)
}

/// The poor minimum, and how long and with which ρ the rules have to leave it.
pub struct Minimum {
    /// SGD from there, on seed 0.
    pub sgd: RunConfig,
    pub rho: f64,
    pub seeds: u64,
}

/// The one of a preset. The fourth and the fifth seed of `laptop` were added when three had been seen: five had been
/// meant, and there was time.
pub fn minimum(preset: Preset, data: DataName) -> Minimum {
    let base = RunConfig {
        augment: AugmentName::None,
        batch_size: 64,
        lr: 0.03,
        schedule: ScheduleText(Decay::Constant),
        momentum: 0.,
        weight_decay: 0.,
        noise_every: 2,
        noise_estimator: EstimatorName::Ghost,
        ..standard(Architecture::ResNet8, Norm::Group(32), data)
    };
    let start = |random, truth| Start {
        after_random_labels: Some(random),
        after_true_labels: Some(truth),
        start_lr: Some(0.1),
    };
    match preset {
        Preset::Smoke => {
            let base = RunConfig { subset: Some(128), test_subset: Some(200), ..base };
            Minimum { sgd: RunConfig { start: start(2, 2), epochs: 2, ..base }, rho: 0.2, seeds: 1 }
        }
        Preset::Laptop => {
            let base = RunConfig { subset: Some(640), test_subset: Some(1000), ..base };
            Minimum { sgd: RunConfig { start: start(80, 120), epochs: 30, ..base }, rho: 0.2, seeds: 5 }
        }
        Preset::Paper => {
            let base =
                RunConfig { model: Architecture::ResNet18, subset: Some(5120), batch_size: 128, lr: 0.01, ..base };
            Minimum { sgd: RunConfig { start: start(100, 200), epochs: 100, ..base }, rho: 0.2, seeds: 3 }
        }
    }
}

/// SGD, n-SAM, SAM, and m-SAM and RW-SAM for each size: paired by seed.
fn rules(base: &RunConfig, rho: f64, sizes: &[usize], seeds: u64) -> Vec<RunConfig> {
    let rule = |rule, micro_batch| RunConfig { rule, micro_batch, ..base.clone() };
    let mut rules = vec![base.clone(), rule(of_radius("n-sam", rho), None), rule(of_radius("sam", rho), None)];
    rules.extend(sizes.iter().map(|m| rule(of_radius("sam", rho), Some(*m))));
    rules.extend(sizes.iter().map(|m| rule(rw_sam(rho, *m), None)));
    (0..seeds).flat_map(|seed| rules.clone().into_iter().map(move |config| RunConfig { seed, ..config })).collect()
}

/// Above the table of `escape`.
pub fn about(config: &RunConfig) -> String {
    format!(
        "{} We take the protocol of the paper to be this one at the size of ResNet-18 and all of CIFAR-10, from one \
         such minimum; its constants we did not find.",
        about_start(config)
    )
}

/// The set-up, and how the start was made.
pub fn about_start(config: &RunConfig) -> String {
    let Start { after_random_labels, after_true_labels, start_lr } = &config.start;
    let (random, truth) = (after_random_labels.unwrap_or(0), after_true_labels.unwrap_or(0));
    let (lr, set_up) = (start_lr.unwrap_or(config.lr), set_up(config));
    format!(
        "{set_up} No augmentation. Each run starts at a poor minimum, the same for all rules of a seed: the network \
         has fitted uniformly random labels of its images for {random} epochs (SGD with momentum 0.9, a cosine from \
         {lr}), and then the true labels for {truth} epochs of SGD at the learning rate of the run."
    )
}

/// Above the table of `noise-trace`.
pub fn about_noise(config: &RunConfig) -> String {
    let every = config.noise_every;
    format!(
        "The runs of `escape`. tr V is measured before every {}step on its batch, from exact norms of the samples' \
         gradients (`Ghost`, group normalisation): n/(n − 1) · (mean ‖gᵢ‖² − ‖mean gᵢ‖²). A point of the curve is the \
         mean over an epoch's measurements. Where a network has fitted its labels all gradients vanish, and tr V with \
         them: SGD, which stays there, is no measure for the rules that leave, and these are compared with each other. \
         (The paper's Table 6, with SGD above SAM, is of whole trainings.) {}",
        match every {
            1 => String::new(),
            2 => "second ".to_owned(),
            k => format!("{k}th "),
        },
        set_up(config)
    )
}

//! `reproduce cifar10` and `cifar100`: the paper's Table 1, and smaller versions of it.

use crate::config::{DataName, EstimatorName, RunConfig};
use crate::experiments::{Family, Preset, four_rules, paired_runs, set_up_of_all, standard};
use crate::page::table::Published;
use msharp_models::{Architecture, Norm};

/// What the two experiments differ in.
pub struct Setting {
    /// As it is typed.
    pub name: &'static str,
    /// The images.
    pub set: DataName,
    /// How many of them the laptop preset trains on, and how often: until the loss is flat and nearly all training
    /// images are classified rightly.
    pub images: usize,
    /// Passes over them.
    pub epochs: usize,
    /// The paper's table.
    pub published: &'static [Published],
    /// The networks of the laptop preset's table, and on how many seeds. ρ is chosen with the first.
    pub networks: &'static [(Architecture, u64)],
    /// The ρ of each rule of the laptop preset's table: the best of its grid.
    pub best: [(Family, f64); 4],
}

/// WRN-28-10.
pub const WRN: Architecture = Architecture::WideResNet { depth: 28, widen: 10 };

/// m, and the m_eff of RW-SAM, of the small presets.
pub const M: usize = 16;
pub const SMALL_M: usize = 4;
/// Samples of a batch in the small presets.
const BATCH: usize = 64;
/// The radii from which the laptop preset chooses, and on which seed: RW-SAM is tried at larger ones, and m-SAM at
/// smaller ones, as they were best in `radius`.
const GRID: [(Family, &[f64]); 4] = [
    (Family::Sam(BATCH), &[0.025, 0.05, 0.1, 0.2]),
    (Family::Sam(M), &[0.025, 0.05, 0.1, 0.2]),
    (Family::Sam(SMALL_M), &[0.00625, 0.0125, 0.025, 0.05, 0.1]),
    (Family::probe(M), &[0.05, 0.1, 0.2, 0.4]),
];
const GRID_SEED: u64 = 100;
/// Training images that are held out for the choice.
const HELD_OUT: usize = 5000;

impl Setting {
    /// In `paper` the hyper-parameters are the field's where the paper's are not published: batch 128, learning rate
    /// 0.1 with a cosine, momentum 0.9, weight decay 5e-4, 200 epochs, crops and flips; ρ = 0.05; RW-SAM's λ by
    /// effective size, with the m = 64 that the paper compares RW-SAM with.
    ///
    /// In `laptop` first a grid of ρ for each rule, on images that are held out and on a seed of its own; then every
    /// rule at the best, with each network.
    pub fn configs(&self, preset: Preset) -> Vec<RunConfig> {
        let on = |model| standard(model, Norm::Batch, self.set.clone());
        // Micro-batches of SGD: what m-SAM does under BatchNorm without any perturbation.
        let at_0 = [Family::Sgd, Family::MicroSgd(M), Family::MicroSgd(SMALL_M)].map(|family| (family, 0.));
        match preset {
            Preset::Smoke => {
                let base = standard(Architecture::ResNet8, Norm::Group(32), self.set.clone()).with(|c| {
                    (c.data.subset, c.data.test_subset) = (Some(2000), Some(1000));
                    (c.optimisation.epochs, c.optimisation.batch_size) = (4, BATCH);
                });
                four_rules(&base, 0.02, M, 0..1)
            }
            Preset::Laptop => {
                let base = |network| {
                    on(network).with(|c| {
                        c.data.subset = Some(self.images);
                        (c.optimisation.epochs, c.optimisation.batch_size) = (self.epochs, BATCH);
                    })
                };
                let grid = base(self.networks[0].0).with(|c| {
                    (c.data.validation, c.measuring.evaluate_every) = (Some(HELD_OUT), self.epochs);
                    c.optimisation.seed = GRID_SEED;
                });
                let chosen_from =
                    GRID.iter().flat_map(|(family, radii)| radii.iter().map(|rho| family.at(&grid, *rho)));
                let table = |network| {
                    base(network).with(|c| {
                        (c.data.test_subset, c.measuring.evaluate_every) = (Some(5000), self.epochs / 20);
                        c.measuring.train_accuracy = true;
                        watch_noise(c, self.images);
                    })
                };
                let rules = [&at_0, &self.best[..]].concat();
                let compared =
                    self.networks.iter().flat_map(|(network, seeds)| paired_runs(&table(*network), &rules, 0..*seeds));
                [Family::Sgd.at(&grid, 0.)].into_iter().chain(chosen_from).chain(compared).collect()
            }
            Preset::Paper => {
                let base = |model| {
                    on(model).with(|c| {
                        (c.optimisation.epochs, c.measuring.train_accuracy) = (200, true);
                        watch_noise(c, 50_000);
                    })
                };
                let models = [Architecture::ResNet18, Architecture::ResNet50, WRN];
                // With SGD in the micro-batches of m-SAM, as in `laptop`.
                let runs = |model| {
                    let base = base(model);
                    let m_sgd = paired_runs(&base, &[(Family::MicroSgd(64), 0.)], 0..3);
                    [four_rules(&base, 0.05, 64, 0..3), m_sgd].concat()
                };
                models.into_iter().flat_map(runs).collect()
            }
        }
    }
}

/// tr V of 16 images once an epoch, which are a normalisation batch of their own.
fn watch_noise(config: &mut RunConfig, images: usize) {
    let measuring = &mut config.measuring;
    (measuring.noise_every, measuring.noise_samples) = (images.div_ceil(config.optimisation.batch_size), Some(16));
    measuring.noise_estimator = EstimatorName::Exact;
}

/// Whether a run is one of those on which rules are compared, and not one by which a ρ is chosen.
pub fn is_compared(config: &RunConfig) -> bool {
    config.data.validation.is_none()
}

/// The set-up of the runs on which rules are compared, with the name of each network.
pub fn set_up_of_networks(configs: &[RunConfig]) -> String {
    let compared: Vec<&RunConfig> = configs.iter().filter(|config| is_compared(config)).collect();
    let first = compared.first().copied().unwrap_or(&configs[0]);
    let mut networks = Vec::new();
    for network in compared.iter().map(|config| config.network_label()) {
        if !networks.contains(&network) {
            networks.push(network);
        }
    }
    match networks.get(1..) {
        None | Some([]) => set_up_of_all(first),
        Some(others) => format!("{} The same with {}.", set_up_of_all(first), others.join(" and with ")),
    }
}

/// Above the table, of the runs.
pub fn about(preset: Preset, configs: &[RunConfig]) -> String {
    let how = match preset {
        Preset::Smoke => {
            "ρ = 0.02. A check that everything runs on real images, far from the paper's 200 epochs of 50 000."
        }
        Preset::Laptop => {
            "Smaller than the paper's set-up in model, data and time, so compare the rules with each other and not \
             with the paper. Each rule has the ρ of a small grid with which it was best on training images that were \
             held out, with a ResNet-8 on a seed that is not in the table. Under BatchNorm the micro-batches of m-SAM \
             are normalisation batches too. m-SGD is SGD in such micro-batches, without displacement: compare m-SAM \
             with it. Both update the running statistics, with which networks are tested, once for each micro-batch, \
             so that these average about the last 19 micro-batches."
        }
        Preset::Paper => {
            "ρ = 0.05. The paper's ρ, λ and δ are not published; λ is set by effective size here. Under BatchNorm the \
             micro-batches of m-SAM are normalisation batches too. m-SGD is SGD in such micro-batches, without \
             displacement: compare m-SAM with it."
        }
    };
    format!("{} {how}", set_up_of_networks(configs))
}

/// One value of the paper's Table 1.
pub const fn published(model: Architecture, rule: &'static str, mean: f64, std: f64) -> Published {
    Published { model, data: None, rule, accuracy: (mean, Some(std)) }
}

/// Table 1 (a) of the paper.
pub const PUBLISHED: &[Published] = &[
    published(Architecture::ResNet18, "sgd", 95.62, 0.03),
    published(Architecture::ResNet18, "sam", 95.99, 0.07),
    published(Architecture::ResNet18, "rw-sam", 96.24, 0.05),
    published(Architecture::ResNet50, "sgd", 95.64, 0.37),
    published(Architecture::ResNet50, "sam", 96.06, 0.04),
    published(Architecture::ResNet50, "rw-sam", 96.34, 0.04),
    published(WRN, "sgd", 96.47, 0.03),
    published(WRN, "sam", 96.91, 0.02),
    published(WRN, "rw-sam", 97.11, 0.05),
];

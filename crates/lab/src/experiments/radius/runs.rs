//! The runs: a grid of radii for each m and for RW-SAM, on wrong labels and on true ones.

use crate::config::{AugmentName, DataName, RunConfig};
use crate::experiments::family::Family::{Sam, Sgd, Usam};
use crate::experiments::family::Norms::Exact;
use crate::experiments::{Family, Preset, set_up, standard};
use msharp_models::{Architecture, Norm};

/// Samples of a batch: the m of SAM.
const BATCH: usize = 64;
/// ρ of SAM and of RW-SAM; the other families have what is expected to regularise alike.
pub const RADII: [f64; 6] = [0.07, 0.1, 0.14, 0.2, 0.28, 0.4];
/// ρ of USAM: at .1 and .4 it had 33.0 and 33.5 % on seed 100, which is in no table.
const RAW_RADII: [f64; 6] = [0.08, 0.112, 0.16, 0.224, 0.32, 0.448];
/// ρ with the highest mean over the seeds of the laptop preset at 40 % of wrong labels, which other experiments take.
pub const BEST: [(Family, f64); 6] = [
    (Sam(64), 0.14),
    (Sam(16), 0.1),
    (Sam(4), 0.05),
    (Sam(1), 0.025),
    (Family::probe(16), 0.28),
    (Family::reweighted(16, Exact), 0.28),
];
/// How much of the images has a wrong label.
const NOISE: f64 = 0.4;

/// The network, the images and the steps of a preset, with SGD. Group normalisation, so that a micro-batch changes the
/// perturbation and nothing else, and m may be 1.
pub fn base(preset: Preset) -> RunConfig {
    let (data, subset, test_subset, epochs) = match preset {
        Preset::Smoke => (DataName::Thumbnails, Some(128), 100, 1),
        Preset::Laptop => (DataName::Cifar10, Some(1000), 2000, 80),
        Preset::Paper => (DataName::Cifar10, None, 10_000, 100),
    };
    standard(Architecture::ResNet8, Norm::Group(32), data).with(|c| {
        (c.data.subset, c.data.test_subset, c.data.augment) = (subset, Some(test_subset), AugmentName::None);
        (c.optimisation.batch_size, c.optimisation.epochs) = (BATCH, epochs);
        (c.measuring.evaluate_every, c.data.label_noise) = (epochs, NOISE);
    })
}

/// `base` on a seed under every family at every radius.
pub fn grid(base: &RunConfig, seed: u64, families: &[Family], radii: &[f64]) -> Vec<RunConfig> {
    let on = base.clone().with(|c| c.optimisation.seed = seed);
    let of = |family: &Family| {
        let radii = if *family == Sgd { &[0.] } else { radii };
        radii.iter().map(|radius| family.like(&on, *radius)).collect::<Vec<_>>()
    };
    families.iter().flat_map(of).collect()
}

/// For each seed a grid on wrong labels and one on true ones, and after these what USAM does on wrong ones.
pub fn configs(preset: Preset) -> Vec<RunConfig> {
    let (base, exact) = (base(preset), |size| Family::reweighted(size, Exact));
    let clean = base.clone().with(|c| c.data.label_noise = 0.);
    let of = |wrong: &[Family], right: &[Family], raw: &[Family], seeds: [u64; 2]| -> Vec<RunConfig> {
        let both = |seed| [grid(&base, seed, wrong, &RADII), grid(&clean, seed, right, &RADII)].concat();
        let raw = |seed| grid(&base, seed, raw, &RAW_RADII);
        (0..seeds[0]).flat_map(both).chain((0..seeds[1]).flat_map(raw)).collect()
    };
    match preset {
        Preset::Smoke => (0..2).flat_map(|seed| grid(&base, seed, &[Sgd, Sam(64), Sam(16)], &[0.1, 0.2])).collect(),
        Preset::Laptop => of(
            &[Sgd, Sam(64), Sam(16), Sam(4), Sam(1), Family::probe(16), exact(16)],
            &[Sgd, Sam(64), Sam(4)],
            &[Usam(64), Usam(16), Usam(4)],
            [5, 3],
        ),
        Preset::Paper => {
            let some = [Sgd, Sam(64), Sam(16), Sam(4), Sam(1), Family::probe(16), exact(16)];
            let more = [Sam(32), Sam(8), Sam(2), Family::probe(4), exact(4)];
            of(&[&some[..], &more].concat(), &some, &[Usam(64), Usam(16), Usam(4), Usam(1)], [5, 5])
        }
    }
}

/// Above the table.
pub fn about(config: &RunConfig) -> String {
    format!(
        "{} Grids of ρ: SAM, which is m-SAM with the m of the batch, and RW-SAM have the same; m-SAM has √(m/b) times \
         these, so that ρ√(b/m) is the same. For where the noise of the gradient is larger than its mean, the gradient of a \
         micro-batch is √(b/m) times as long as that of the batch, and the paper's regulariser ρ E‖∇f_γ‖ is that of \
         SAM at ρ√(b/m): if m-SAM is nothing else, its curve is SAM's, moved. *At its best ρ* means the ρ with the highest \
         mean over the *other* seeds, so that no run takes part in the choice of its own radius.",
        set_up(&config.clone().with(|c| c.data.label_noise = 0.))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_have_one_grid_each_and_equal_effective_radii() {
        for preset in Preset::ALL {
            let configs = configs(preset);
            for config in &configs {
                let family = Family::of(config);
                let grid = if matches!(family, Usam(_)) { RAW_RADII } else { RADII };
                if let (Sam(_) | Usam(_), Some(rho)) = (family, config.perturbation.rule.radius()) {
                    let radius = rho * family.factor(config.optimisation.batch_size);
                    assert!(grid.iter().any(|known| (known - radius).abs() < 1e-4 * radius), "{family:?}: {radius}");
                }
            }
            assert!(configs.iter().any(|config| Family::of(config) == Sam(16)));
        }
    }
}

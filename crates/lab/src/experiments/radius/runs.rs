//! The runs: a grid of radii for each m and for RW-SAM, on wrong labels and on true ones.

use crate::config::{AugmentName, DataName, EstimatorName, RunConfig};
use crate::experiments::family::Family::{Ascent, Delta, Sam, Sgd, Usam};
use crate::experiments::family::Norms::{Exact, Random};
use crate::experiments::{Family, Preset, set_up_of_all, standard};
use msharp_models::{Architecture, Norm};
use std::ops::Range;

/// Samples of a batch: the m of SAM.
const BATCH: usize = 64;
/// ρ of SAM; m-SAM has what is expected to regularise alike. After seed 0 the grid was refined where accuracies are
/// highest, and its ends, .07 and .4, were left out: no family was best there.
const RADII: [f64; 7] = [0.1, 0.12, 0.14, 0.17, 0.2, 0.24, 0.28];
/// And of m = 1, which was best at the end.
const MORE_RADII: [f64; 8] = [0.1, 0.12, 0.14, 0.17, 0.2, 0.24, 0.28, 0.34];
/// The same of RW-SAM: its ρ are twice these with an m_eff of a quarter of the batch.
const REWEIGHTED_RADII: [f64; 8] = [0.05, 0.06, 0.07, 0.085, 0.1, 0.12, 0.14, 0.17];
/// The same where all labels are right, and less happens.
const SOME_RADII: [f64; 4] = [0.1, 0.14, 0.2, 0.28];
/// ρ of USAM: at .1 and .4 it had 33.0 and 33.5 % on seed 100, which is in no table. m-USAM was best at larger ones
/// than are expected to be alike, so that its grids go further; the smallest radii, which on seed 0 were far from the
/// best, are left out.
const RAW_RADII: [f64; 5] = [0.112, 0.16, 0.224, 0.32, 0.448];
const RAW_RADII_OF_16: [f64; 5] = [0.16, 0.224, 0.32, 0.448, 0.64];
const RAW_RADII_OF_4: [f64; 6] = [0.224, 0.32, 0.448, 0.64, 0.9, 1.28];
/// The equivalent ρ of the grid at which each family has the highest mean over the seeds of the laptop preset, at 40 %
/// of wrong labels; of equal means the larger. Runs that are compared are at these.
const BEST: [(Family, f64); 14] = [
    (Sam(64), 0.14),
    (Sam(16), 0.2),
    (Sam(4), 0.24),
    (Sam(1), 0.28),
    (Family::probe(16), 0.12),
    (Family::reweighted(16, Exact), 0.12),
    (Family::reweighted(4, Exact), 0.07),
    (Family::reweighted(16, Exact).descended(), 0.002),
    (Family::reweighted(16, Random).descended(), 0.01),
    (Ascent(16), 0.12),
    (Delta, 0.14),
    (Usam(64), 0.224),
    (Usam(16), 0.448),
    (Usam(4), 0.9),
];
/// The same where all labels are right.
const BEST_OF_RIGHT: [(Family, f64); 2] = [(Sam(64), 0.2), (Sam(4), 0.14)];
/// The families that are compared at the radii beside their best as well, by which a choice of ρ on few seeds can be
/// checked: those of which most is said, and m = 1, whose grid has two best ρ.
pub const AROUND: [Family; 4] = [Sam(BATCH), Sam(16), Sam(1), Usam(4)];
/// Rules are compared on the seeds from this one on; those below are for the choice of radii.
const FIRST_COMPARED: u64 = 10;
/// How much of the images has a wrong label.
const WRONG: f64 = 0.4;

/// The network, the images and the steps of a preset, with SGD. Group normalisation, so that a micro-batch changes the
/// perturbation and nothing else, and m may be 1.
pub fn base(preset: Preset) -> RunConfig {
    let (data, subset, test_subset, epochs) = match preset {
        Preset::Smoke => (DataName::Thumbnails, Some(128), Some(100), 1),
        Preset::Laptop => (DataName::Cifar10, Some(1000), Some(2000), 80),
        Preset::Paper => (DataName::Cifar10, None, None, 100),
    };
    standard(Architecture::ResNet8, Norm::Group(32), data).with(|c| {
        (c.data.subset, c.data.test_subset, c.data.augment) = (subset, test_subset, AugmentName::None);
        (c.optimisation.batch_size, c.optimisation.epochs) = (BATCH, epochs);
        (c.measuring.evaluate_every, c.data.label_noise) = (epochs, WRONG);
    })
}

/// `base` on a seed under every family at every radius.
pub fn grid(base: &RunConfig, seed: u64, families: &[Family], radii: &[f64]) -> Vec<RunConfig> {
    families.iter().flat_map(|family| curve(base, seed, *family, radii)).collect()
}

/// `base` on a seed under a family at every radius.
pub fn curve(base: &RunConfig, seed: u64, family: Family, radii: &[f64]) -> Vec<RunConfig> {
    let on = base.clone().with(|c| c.optimisation.seed = seed);
    let radii = if family == Sgd { &[0.] } else { radii };
    radii.iter().map(|radius| family.at_equivalent(&on, *radius)).collect()
}

/// The equivalent ρ of a family's grid.
fn radii(family: Family) -> &'static [f64] {
    match family {
        Family::Reweighted(_) => &REWEIGHTED_RADII,
        Usam(4) => &RAW_RADII_OF_4,
        Usam(16) => &RAW_RADII_OF_16,
        Usam(_) => &RAW_RADII,
        Sam(1) => &MORE_RADII,
        _ => &RADII,
    }
}

/// `base` on a seed under every family at the radii of its grid.
pub fn whole_grid(base: &RunConfig, seed: u64, families: &[Family]) -> Vec<RunConfig> {
    families.iter().flat_map(|family| curve(base, seed, *family, radii(*family))).collect()
}

/// The seeds on which rules are compared, each at its best radius; none of them had a part in its choice.
pub fn seeds(preset: Preset) -> Range<u64> {
    let many = match preset {
        Preset::Smoke => 1,
        Preset::Laptop => 6,
        Preset::Paper => 5,
    };
    FIRST_COMPARED..FIRST_COMPARED + many
}

/// Those on which each rule's radius is chosen.
pub fn grid_seeds(preset: Preset) -> Range<u64> {
    0..if preset == Preset::Paper { 3 } else { 2 }
}

/// Whether the radii were chosen for the share of wrong labels of a run, and `radius` has runs of it.
pub fn is_of_radius(config: &RunConfig) -> bool {
    config.data.label_noise == WRONG
}

/// Whether a run is one of those on which rules are compared.
pub fn is_compared(config: &RunConfig) -> bool {
    config.optimisation.seed >= FIRST_COMPARED
}

/// The set-up of runs on which rules are compared: with a curve, and tr V once an epoch on the batch of a step.
pub fn compared(preset: Preset) -> RunConfig {
    base(preset).with(|c| {
        let steps = c.data.subset.unwrap_or(50_000).div_ceil(c.optimisation.batch_size);
        (c.measuring.noise_every, c.measuring.noise_estimator) = (steps, EstimatorName::Ghost);
        c.measuring.evaluate_every = (c.optimisation.epochs / 16).max(1);
    })
}

/// The equivalent ρ that was best for a family; SGD has none.
fn best(family: Family, base: &RunConfig) -> f64 {
    let best: &[_] = if base.data.label_noise > 0. { &BEST } else { &BEST_OF_RIGHT };
    let found = best.iter().find(|(known, _)| *known == family).map(|(_, radius)| *radius);
    found.unwrap_or_else(|| if family == Sgd { 0. } else { panic!("no best radius of {family:?}") })
}

/// A family at the radius that was best for it.
pub fn at_best(family: Family, base: &RunConfig) -> RunConfig {
    family.at_equivalent(base, best(family, base))
}

/// A family at the radii of its grid on both sides of the best.
fn beside_best(family: Family, base: &RunConfig) -> Vec<RunConfig> {
    let (radii, best) = (radii(family), best(family, base));
    let below = radii.iter().rev().find(|radius| **radius < best);
    let above = radii.iter().find(|radius| **radius > best);
    below.into_iter().chain(above).map(|radius| family.at_equivalent(base, *radius)).collect()
}

/// A grid on wrong labels, then each family at its best on other seeds, SAM also at the best ρ of m-SAM with m = 16,
/// and those of [`AROUND`] beside their best; then the same of USAM, and of some rules on true labels.
pub fn configs(preset: Preset) -> Vec<RunConfig> {
    let (base, exact) = (base(preset), |size| Family::reweighted(size, Exact));
    let right = |base: RunConfig| base.with(|c| c.data.label_noise = 0.);
    let on_seeds = |base: RunConfig| seeds(preset).map(move |seed| base.clone().with(|c| c.optimisation.seed = seed));
    let at_their_best = |base: RunConfig, families: &[Family]| -> Vec<RunConfig> {
        on_seeds(base).flat_map(|on| families.iter().map(move |family| at_best(*family, &on))).collect()
    };
    let around = |families: &[Family]| -> Vec<RunConfig> {
        let rho = at_best(Sam(16), &base).perturbation.rule.radius().unwrap_or(0.);
        let of_seed = |on: RunConfig| {
            let beside = families.iter().flat_map(|family| beside_best(*family, &on));
            [Sam(BATCH).at(&on, rho)].into_iter().chain(beside).collect::<Vec<_>>()
        };
        on_seeds(compared(preset)).flat_map(of_seed).collect()
    };
    let of_grid = |base: &RunConfig, families: &[Family], radii: &[f64]| -> Vec<RunConfig> {
        grid_seeds(preset).flat_map(|seed| grid(base, seed, families, radii)).collect()
    };
    let whole = |families: &[Family]| -> Vec<RunConfig> {
        grid_seeds(preset).flat_map(|seed| whole_grid(&base, seed, families)).collect()
    };
    let all = |wrong: &[Family], true_ones: &[Family], raw: &[Family]| -> Vec<RunConfig> {
        let (on_wrong, on_right) = (compared(preset), right(compared(preset)));
        [
            whole(wrong),
            at_their_best(on_wrong.clone(), wrong),
            around(&AROUND),
            whole(raw),
            of_grid(&right(base.clone()), true_ones, &SOME_RADII),
            at_their_best(on_wrong, raw),
            at_their_best(on_right, &[Sgd, Sam(BATCH), Sam(4)]),
        ]
        .concat()
    };
    let some = [Sgd, Sam(64), Sam(16), Sam(4), Sam(1), Family::probe(16), exact(16)];
    match preset {
        Preset::Smoke => {
            let families = [Sgd, Sam(64), Sam(16)];
            [of_grid(&base, &families, &[0.1, 0.2]), at_their_best(compared(preset), &families), around(&families[1..])]
                .concat()
        }
        Preset::Laptop => all(&some, &[Sgd, Sam(64), Sam(4)], &[Usam(64), Usam(16), Usam(4)]),
        Preset::Paper => all(&some, &some, &[Usam(64), Usam(16), Usam(4)]),
    }
}

/// Above the table.
pub fn about(config: &RunConfig) -> String {
    format!(
        "{} First a grid of ρ for each rule, of which each is tried where the theory expects it to regularise as SAM \
         does with some *equivalent ρ*: ρ√(b/m) of m-SAM, ρ·b/m of m-USAM and ρ√(m_eff/b) of RW-SAM. SAM is m-SAM \
         with an m of the batch size b, and displaces by ρ; where the noise of the batch's gradient is much larger \
         than its mean, the gradient of a micro-batch of m samples is √(b/m) times as long as that of the batch, and \
         the paper's regulariser of m-SAM, ρ E‖∇f_γ‖, is that of SAM at ρ√(b/m). RW-SAM descends the mean of the \
         batch at a point that is displaced along a weighted gradient. This is √(b/m_eff) times as long, with an \
         unchanged component along the batch's gradient if the weights do not depend on the samples; so RW-SAM is \
         expected to be SAM at ρ√(m_eff/b), which is ρ/2 here. If m-SAM and RW-SAM are nothing else, their curves are \
         that of SAM, shifted in ρ. m-USAM is tried at m/b times the ρ of USAM: both have the same ρ/(2m)·tr V, tr V \
         being the variance of a sample's gradient. Then the rules are compared on other seeds, each at the ρ that \
         was best for it in the laptop preset's grid; some also at the ρ beside it. The test images are the same for \
         all seeds, and for the choice of ρ, which makes a rule that has a ρ look a little better beside SGD.",
        set_up_of_all(&config.clone().with(|c| c.data.label_noise = 0.))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_has_one_grid_on_every_seed() {
        let radii = |wanted: Family, seed: u64, share: f64| -> Vec<f64> {
            let of = configs(Preset::Laptop).into_iter().filter(|config| {
                let is_there = (config.optimisation.seed, config.data.label_noise) == (seed, share);
                is_there && Family::of(config) == wanted
            });
            of.filter_map(|config| config.perturbation.rule.radius()).collect()
        };
        assert_eq!(radii(Sam(64), 1, WRONG), RADII);
        assert_eq!(radii(Sam(4), 1, WRONG), RADII.map(|radius| radius / 4.));
        assert_eq!(radii(Sam(1), 1, WRONG), MORE_RADII.map(|radius| radius / 8.));
        assert_eq!(radii(Family::probe(16), 1, WRONG), MORE_RADII);
        assert_eq!(radii(Usam(4), 1, WRONG), RAW_RADII_OF_4.map(|radius| radius / 16.));
        assert_eq!(radii(Sam(4), 1, 0.), SOME_RADII.map(|radius| radius / 4.));
        for seed in seeds(Preset::Laptop) {
            assert_eq!(radii(Sam(64), seed, WRONG), [0.14, 0.1, 0.12, 0.17], "its own best ρ, that of m = 16, beside");
            assert_eq!(radii(Sam(16), seed, WRONG), [0.1, 0.085, 0.12]);
            assert_eq!(radii(Sam(4), seed, WRONG).len(), 1);
            assert_eq!(radii(Sam(1), seed, WRONG), [0.035, 0.03, 0.0425]);
            assert_eq!(radii(Usam(4), seed, WRONG).len(), 3);
            assert_eq!(radii(Sam(64), seed, 0.).len(), 1);
        }
    }
}

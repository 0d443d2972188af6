//! The runs: every rule at one radius of its own, on images of which a fifth to four fifths have a wrong label.

use crate::config::{EstimatorName, RunConfig};
use crate::experiments::family::Family::{Sam, Sgd};
use crate::experiments::family::Norms::{Exact, Random};
use crate::experiments::radius::{self, BEST};
use crate::experiments::{Family, Preset, set_up};
use std::ops::Range;

/// m_eff of RW-SAM.
pub const M_EFF: usize = 16;
/// RW-SAM at this m_eff with exact norms.
pub const EXACT: Family = Family::reweighted(M_EFF, Exact);
/// RW-SAM with weights that know nothing of the gradients.
pub const RANDOM: Family = Family::reweighted(M_EFF, Random);

/// The ρ of a rule.
pub fn best(family: Family) -> f64 {
    // The controls have that of what they control.
    let like = if [RANDOM, Family::probe(M_EFF).shuffled()].contains(&family) { Family::probe(M_EFF) } else { family };
    BEST.iter().find(|(known, _)| *known == like).map_or(0., |(_, rho)| *rho)
}

/// Seeds that `radius`, which chose the radii, has not.
pub fn seeds(preset: Preset) -> Range<u64> {
    match preset {
        Preset::Smoke => 10..11,
        Preset::Laptop => 10..13,
        Preset::Paper => 10..15,
    }
}

/// The set-up of `radius`, with a curve, and tr V once an epoch on the batch of a step.
pub fn base(preset: Preset) -> RunConfig {
    radius::base(preset).with(|c| {
        let steps = c.data.subset.unwrap_or(50_000) / c.optimisation.batch_size;
        (c.measuring.noise_every, c.measuring.noise_estimator) = (steps, EstimatorName::Ghost);
        c.measuring.evaluate_every = (c.optimisation.epochs / 16).max(1);
    })
}

/// On each seed and for each share of wrong labels the rules, and RW-SAM's controls at its radius.
pub fn configs(preset: Preset) -> Vec<RunConfig> {
    let probe = Family::probe(M_EFF);
    let (families, shares): (&[Family], &[f64]) = match preset {
        Preset::Smoke => (&[Sgd, Sam(64), Sam(16), probe], &[0.4]),
        Preset::Laptop | Preset::Paper => {
            (&[Sgd, Sam(64), Sam(16), Sam(4), Sam(1), probe, EXACT, probe.shuffled(), RANDOM], &[0.2, 0.4, 0.6, 0.8])
        }
    };
    let base = base(preset);
    let of_seed = |seed| {
        let on = |share: &f64| {
            let base = base.clone().with(|c| (c.data.label_noise, c.optimisation.seed) = (*share, seed));
            families.iter().map(|family| family.at(&base, best(*family))).collect::<Vec<_>>()
        };
        shares.iter().flat_map(on).collect::<Vec<_>>()
    };
    seeds(preset).flat_map(of_seed).collect()
}

/// Above the tables.
pub fn about(config: &RunConfig) -> String {
    format!(
        "{} Labels are wrong independently of the image, and drawn from the other classes. Each rule has the ρ that was best \
         for it in `radius`, at 40 % of wrong labels and on other seeds; so has RW-SAM with each kind of norms, and its \
         controls have that of one probe: the same weights given to other samples (*shuffle-weights*), and weights of \
         half-normal numbers (*random weights*), both at one m_eff. tr V is measured once an epoch on the batch of a \
         step, from exact norms.",
        set_up(&config.clone().with(|c| c.data.label_noise = 0.))
    )
}

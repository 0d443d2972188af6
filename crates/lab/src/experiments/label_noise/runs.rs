//! The runs: every rule at one radius of its own, on images of which a fifth to four fifths have a wrong label.

use crate::config::RunConfig;
use crate::experiments::family::Family::{LatePhase, Sam, Sgd};
use crate::experiments::family::Norms::{Exact, Random};
use crate::experiments::radius::{self, compared, seeds};
use crate::experiments::{Family, Preset, set_up_of_all};

/// m_eff of RW-SAM.
pub const M_EFF: usize = 16;
/// RW-SAM at this m_eff with exact norms.
pub const EXACT: Family = Family::reweighted(M_EFF, Exact);
/// RW-SAM with weights that do not depend on the gradients.
pub const RANDOM: Family = Family::reweighted(M_EFF, Random);

/// A rule at the radius that `radius` found best for it; the controls have that of what they control, and late-phase
/// SAM has that of SAM.
pub fn at_best(family: Family, base: &RunConfig) -> RunConfig {
    let probe = Family::probe(M_EFF);
    let like = match family {
        LatePhase => Sam(base.optimisation.batch_size),
        control if [RANDOM, probe.shuffled()].contains(&control) => probe,
        other => other,
    };
    family.at(base, radius::at_best(like, base).perturbation.rule.radius().unwrap_or(0.))
}

/// For each share of wrong labels and on each seed the rules, and RW-SAM's controls at its radius.
pub fn configs(preset: Preset) -> Vec<RunConfig> {
    let probe = Family::probe(M_EFF);
    let (families, shares): (Vec<Family>, &[f64]) = match preset {
        Preset::Smoke => (vec![Sgd, Sam(64), Sam(16), probe], &[0.4]),
        Preset::Laptop | Preset::Paper => {
            let rules = vec![Sgd, Sam(64), LatePhase, Sam(16), Sam(4), Sam(1), probe, EXACT, probe.shuffled(), RANDOM];
            (rules, &[0.2, 0.4, 0.6, 0.8])
        }
    };
    let base = compared(preset);
    let of_share = |share: f64| {
        // At the share for which the radii were chosen the rules are compared on all seeds, those of `radius`.
        let few = seeds(preset).take(3);
        let seeds: Vec<u64> = if share == base.data.label_noise { seeds(preset).collect() } else { few.collect() };
        let on = |seed: u64| {
            let base = base.clone().with(|c| (c.data.label_noise, c.optimisation.seed) = (share, seed));
            families.iter().map(|family| at_best(*family, &base)).collect::<Vec<_>>()
        };
        seeds.into_iter().flat_map(on).collect::<Vec<_>>()
    };
    shares.iter().flat_map(|share| of_share(*share)).collect()
}

/// Above the tables.
pub fn about(config: &RunConfig) -> String {
    format!(
        "{} Labels are wrong independently of the image, and drawn from the other classes. Each rule has the ρ that \
         was best for it in `radius`, at 40 % of wrong labels, on other seeds and the same test images. Its runs at \
         40 % are those of `radius`. Two controls have the ρ and the m_eff of RW-SAM with one probe: in \
         *shuffle-weights* each weight is given to another sample, and *random weights* are the softmax of \
         half-normal numbers. Late-phase SAM is SGD, and SAM in the last eighth of the run, with the ρ of SAM. tr V \
         is measured once an epoch on the batch of a step, from exact norms.",
        set_up_of_all(&config.clone().with(|c| c.data.label_noise = 0.))
    )
}

//! The runs: RW-SAM at one radius for grids of λ, on images of which 40 % have a wrong label.

use crate::config::RunConfig;
use crate::experiments::family::Family::{Sam, Sgd};
use crate::experiments::family::Norms::{self, Exact, Probes};
use crate::experiments::radius::{at_best, compared, seeds};
use crate::experiments::{Family, Preset, set_up_of_all};

/// The m_eff at which `radius` compares RW-SAM.
pub const M: usize = 16;

/// How λ is given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Temperature {
    /// As the m_eff that it is chosen for in each step.
    Size,
    /// As in the paper, one number for all steps.
    Raw,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// SGD, or SAM at its best ρ.
    Level(Family),
    /// RW-SAM over λ.
    Over(Norms, Temperature),
}

impl Kind {
    /// Of a run, and its λ or m_eff.
    pub fn of(config: &RunConfig) -> (Self, f64) {
        let rule = &config.perturbation.rule;
        let lambda = |temperature| (Self::Over(Norms::of(config), temperature), rule.number("lambda"));
        match Family::of(config) {
            Family::Reweighted(_) => lambda(Temperature::Size),
            Family::Other => lambda(Temperature::Raw),
            family => (Self::Level(family), 0.),
        }
    }

    /// At a λ, or an m_eff.
    fn at(self, base: &RunConfig, number: f64) -> RunConfig {
        let known = Family::probe(M);
        let rho = at_best(known, base).perturbation.rule.radius().expect("it has a radius");
        match self {
            Self::Level(family) => at_best(family, base),
            Self::Over(norms, Temperature::Size) => Family::reweighted(number as usize, norms)
                .at_equivalent(base, rho * known.factor(base.optimisation.batch_size)),
            // A λ has no m_eff that is known before, so all have one ρ.
            Self::Over(norms, Temperature::Raw) => Family::reweighted(M, norms).at(base, rho).with(|c| {
                let rule = c.perturbation.rule.clone();
                let raw = rule.with("temperature", "raw").and_then(|rule| rule.with("lambda", number));
                c.perturbation.rule = raw.expect("a temperature");
            }),
        }
    }
}

/// For each seed SGD, SAM, and RW-SAM for each m_eff and each λ.
pub fn configs(preset: Preset) -> Vec<RunConfig> {
    let (norms, sizes, raw): (&[Norms], &[f64], &[f64]) = match preset {
        Preset::Smoke => (&[Probes(1), Exact], &[16., 4.], &[1.]),
        Preset::Laptop => (&[Probes(1), Probes(6), Exact], &[32., 16., 4.], &[0.3, 1., 3.]),
        Preset::Paper => (&[Probes(1), Probes(6), Exact], &[48., 32., 16., 8., 4.], &[0.1, 0.3, 1., 3., 10.]),
    };
    let base = compared(preset);
    let of_seed = |seed| {
        let base = base.clone().with(|c| c.optimisation.seed = seed);
        let levels = [Sgd, Sam(base.optimisation.batch_size)].map(|family| Kind::Level(family).at(&base, 0.));
        let over = |norms: &Norms, temperature, numbers: &[f64]| -> Vec<RunConfig> {
            numbers.iter().map(|number| Kind::Over(*norms, temperature).at(&base, *number)).collect()
        };
        let of_norms = |norms: &Norms| {
            let sizes = over(norms, Temperature::Size, sizes);
            // Six probes at a raw λ would say nothing that the others do not.
            let raw = if *norms == Probes(6) { &[] } else { raw };
            [sizes, over(norms, Temperature::Raw, raw)].concat()
        };
        levels.into_iter().chain(norms.iter().flat_map(of_norms)).collect::<Vec<_>>()
    };
    seeds(preset).take(3).flat_map(of_seed).collect()
}

/// Above the tables.
pub fn about(config: &RunConfig) -> String {
    format!(
        "{} λ is given in two ways. As the m_eff for which it is chosen in each step: then RW-SAM is at ρ√(b/m_eff) times a \
         constant, with which, if its weights did not depend on the samples, it would be SAM at one ρ for all m_eff (see \
         `radius`). And as the number that multiplies the norms, as in the paper, which weights less the smaller the \
         gradients become: then all have one ρ, as in the paper. The ρ is the one that was best in `radius` for m_eff = 16 \
         and one probe, on other seeds and the same test images, or is derived from it; only SAM is at its own best. So a \
         line compares estimates of the norms, and along a line of m_eff the ρ changes too: exact norms with m_eff = 4 have \
         another ρ, at which they do better, in `reweighting`. The runs of SGD, SAM and RW-SAM with m_eff = 16, from one \
         probe and from exact norms, are three of the six seeds of `radius`.",
        set_up_of_all(config)
    )
}

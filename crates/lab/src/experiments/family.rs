//! What experiments compare: rules that differ in ρ alone.

use crate::config::{EstimatorName, RunConfig, named};
use crate::page::contest::{Claim, Contest, Measure, Says};
use crate::page::grid::Place;
use crate::run::outcome::RunRow;
use msharp_perturb::catalogue::{Combination, Value};

/// A rule at any ρ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Family {
    /// No perturbation.
    Sgd,
    /// SGD in micro-batches of this m, each of which is normalised by itself under batch normalisation: m-SAM at ρ = 0.
    MicroSgd(usize),
    /// n-SAM: the perturbation of the whole training set.
    WholeSet,
    /// m-SAM with this m; SAM where it is the batch.
    Sam(usize),
    /// The same of USAM.
    Usam(usize),
    /// The perturbations of m-SAM with this m, at each of which the whole batch descends.
    Ascent(usize),
    /// RW-SAM.
    Reweighted(Reweighted),
    /// δ-SAM with exact norms.
    Delta,
    /// SAM in the last eighth of the run only.
    LatePhase,
    /// Any other.
    Other,
}

/// How RW-SAM weights samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reweighted {
    /// m_eff.
    pub size: usize,
    /// The estimate of the norms, of which the weights are the softmax.
    pub norms: Norms,
    /// Whether each weight is given to another sample: a control.
    pub shuffled: bool,
    /// Whether the weighted loss is descended too, instead of the mean.
    pub descended: bool,
}

/// Where RW-SAM has its norms from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Norms {
    /// So many finite-difference probes.
    Probes(usize),
    /// Exact ones.
    Exact,
    /// Half-normal numbers: a control.
    Random,
}

impl Norms {
    /// Of a run of RW-SAM.
    pub fn of(config: &RunConfig) -> Self {
        match config.weighting.estimator {
            EstimatorName::FiniteDifference => Self::Probes(config.weighting.probes),
            EstimatorName::Random => Self::Random,
            _ => Self::Exact,
        }
    }
}

impl Family {
    /// RW-SAM at this m_eff as in the paper: from one probe.
    pub const fn probe(size: usize) -> Self {
        Self::reweighted(size, Norms::Probes(1))
    }

    /// RW-SAM at this m_eff.
    pub const fn reweighted(size: usize, norms: Norms) -> Self {
        Self::Reweighted(Reweighted { size, norms, shuffled: false, descended: false })
    }

    /// With the weights given to other samples.
    pub const fn shuffled(self) -> Self {
        match self {
            Self::Reweighted(weights) => Self::Reweighted(Reweighted { shuffled: true, ..weights }),
            other => other,
        }
    }

    /// With the weighted loss descended.
    pub const fn descended(self) -> Self {
        match self {
            Self::Reweighted(weights) => Self::Reweighted(Reweighted { descended: true, ..weights }),
            other => other,
        }
    }

    /// Of a run.
    pub fn of(config: &RunConfig) -> Self {
        let rule = &config.perturbation.rule;
        let m = || config.perturbation.micro_batch.unwrap_or(config.optimisation.batch_size);
        match rule.name() {
            "sgd" => config.perturbation.micro_batch.map_or(Self::Sgd, Self::MicroSgd),
            "n-sam" => Self::WholeSet,
            "usam" => Self::Usam(m()),
            "m-ascent-sam" => Self::Ascent(rule.number("m") as usize),
            "rw-sam" if rule.values().value("temperature") == Value::Name("effective-size") => {
                Self::Reweighted(Reweighted {
                    size: rule.number("lambda") as usize,
                    norms: Norms::of(config),
                    shuffled: config.weighting.shuffle_weights,
                    descended: config.perturbation.changes.combine.is_some(),
                })
            }
            "delta-sam" => Self::Delta,
            "late-phase-sam" => Self::LatePhase,
            "sam" => Self::Sam(m()),
            _ => Self::Other,
        }
    }

    /// Of the run of a row.
    pub fn of_row(row: &RunRow) -> Self {
        Self::of(&row.content.config)
    }

    /// What it is called in some rows; none if it has no run there.
    pub fn label(self, rows: &[RunRow]) -> Option<String> {
        rows.iter().find(|row| Self::of_row(row) == self).map(|row| row.content.config.rule_label())
    }

    /// What rows say of it beside another; none if either has no run that finished on a seed of the other.
    pub fn against(self, than: Self, says: Says, rows: &[RunRow], measure: Measure) -> Option<Claim> {
        Contest::new(self.label(rows)?, than.label(rows)?, says).claim(rows, measure)
    }

    /// `base` under it, at ρ, where it has one.
    pub fn at(self, base: &RunConfig, rho: f64) -> RunConfig {
        base.clone().with(|c| {
            let batch = c.optimisation.batch_size;
            let (rule, weighting) = (&mut c.perturbation, &mut c.weighting);
            let of_radius = |name| named(name).with("rho", rho).expect("a radius");
            match self {
                Self::Sgd => rule.rule = named("sgd"),
                Self::Other => {}
                Self::MicroSgd(m) => (rule.rule, rule.micro_batch) = (named("sgd"), Some(m)),
                Self::WholeSet => rule.rule = of_radius("n-sam"),
                Self::Sam(m) => (rule.rule, rule.micro_batch) = (of_radius("sam"), Some(m).filter(|m| *m < batch)),
                Self::Usam(m) => (rule.rule, rule.micro_batch) = (of_radius("usam"), Some(m).filter(|m| *m < batch)),
                Self::Ascent(m) => rule.rule = of_radius("m-ascent-sam").with("m", m).expect("an m"),
                Self::Delta => (rule.rule, weighting.estimator) = (of_radius("delta-sam"), EstimatorName::Ghost),
                Self::LatePhase => rule.rule = of_radius("late-phase-sam"),
                Self::Reweighted(Reweighted { size, norms, shuffled, descended }) => {
                    rule.rule = of_radius("rw-sam").with("lambda", size).expect("an effective size");
                    rule.changes.combine = descended.then(|| Combination::named("weighted").expect("it is listed"));
                    weighting.shuffle_weights = shuffled;
                    match norms {
                        Norms::Probes(probes) => weighting.probes = probes,
                        Norms::Exact => weighting.estimator = EstimatorName::Ghost,
                        Norms::Random => weighting.estimator = EstimatorName::Random,
                    }
                }
            }
        })
    }

    /// ρ times this is the ρ of SAM, or of USAM, that is expected to regularise alike, where the noise of the gradient
    /// is much larger than its mean. The gradient of n samples, along which they displace, is then √(tr V/n) long. Its
    /// product with the Hessian of the samples that descend is, in the mean, E ∇²ℓᵢ∇ℓᵢ times 1/n where these are the
    /// same samples, and times 1/b where they are the batch. So ρ has the factor 1/√(n tr V) of SAM and m-SAM,
    /// √(n/tr V)/b where the batch descends, and 1/n of USAM, which does not divide by the length. Weights that do not
    /// depend on the samples are like n = m_eff.
    pub fn factor(self, batch: usize) -> f64 {
        let of = |m: usize| batch as f64 / m as f64;
        match self {
            Self::Sam(m) => of(m).sqrt(),
            Self::Usam(m) => of(m),
            Self::Reweighted(Reweighted { size, descended: true, .. }) => of(size).sqrt(),
            Self::Reweighted(Reweighted { size, .. }) | Self::Ascent(size) => of(size).sqrt().recip(),
            _ => 1.,
        }
    }

    /// Where a run stands on a grid of ρ.
    pub fn place(config: &RunConfig) -> Place<Self> {
        let family = Self::of(config);
        (family, config.perturbation.rule.radius().unwrap_or(0.), family.factor(config.optimisation.batch_size))
    }

    /// `base` under it, where it is expected to regularise as SAM, or USAM, does with ρ = `radius`.
    pub fn at_equivalent(self, base: &RunConfig, radius: f64) -> RunConfig {
        // At most six decimals, as one would type it.
        let rho = radius / self.factor(base.optimisation.batch_size);
        self.at(base, (rho * 1e6).round() / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DataName;
    use crate::experiments::standard;
    use msharp_models::{Architecture, Norm};
    use std::ops::Range;

    #[test]
    fn a_run_tells_its_family() {
        let base = standard(Architecture::ResNet8, Norm::Group(32), DataName::Synthetic);
        let exact = Family::reweighted(16, Norms::Exact);
        for family in [
            Family::Sgd,
            Family::WholeSet,
            Family::Sam(128),
            Family::Sam(1),
            Family::Usam(128),
            Family::Usam(16),
            Family::Ascent(16),
            Family::Delta,
            Family::LatePhase,
            Family::probe(8),
            Family::probe(8).shuffled(),
            exact,
            exact.shuffled(),
            exact.descended(),
            Family::reweighted(4, Norms::Probes(6)).descended(),
            Family::reweighted(4, Norms::Random),
        ] {
            let config = family.at(&base, 0.1);
            assert_eq!(Family::of(&config), family);
            assert_eq!(config.clone().canonical(), config, "another way to write {config:?}");
            assert!(config.validate().is_ok(), "{family:?}");
        }
        let base = base.with(|c| c.model.norm = Norm::Batch);
        assert_eq!(Family::of(&Family::MicroSgd(16).at(&base, 0.)), Family::MicroSgd(16));
    }

    #[test]
    fn a_radius_is_that_of_the_batch() {
        let base = standard(Architecture::ResNet8, Norm::Group(32), DataName::Synthetic);
        let rho = |family: Family| family.at_equivalent(&base, 0.16).perturbation.rule.radius();
        assert_eq!(rho(Family::Sam(128)), Some(0.16));
        assert_eq!(rho(Family::Sam(8)), Some(0.04));
        assert_eq!(rho(Family::Usam(8)), Some(0.01));
        assert_eq!(rho(Family::probe(8)), Some(0.64));
        assert_eq!(rho(Family::probe(8).descended()), Some(0.04));
        assert_eq!(rho(Family::Ascent(8)), Some(0.64));
        assert_eq!(rho(Family::Delta), Some(0.16));
        assert_eq!(rho(Family::Sgd), None);
    }

    /// The mean of some samples.
    struct Part {
        gradient: Vec<f64>,
        length: f64,
        /// The multiple of the identity that it is.
        hessian: f64,
    }

    /// What a rule adds to the gradient at ρ = 1, in the direction of E ∇²ℓᵢ∇ℓᵢ, from samples of the loss whose
    /// gradients are nothing but noise and whose Hessian is a multiple of the identity that goes with one of their
    /// elements: 1 in that direction. Exact at the first order of ρ, with the definition of each rule.
    fn added(family: Family, batch: usize) -> f64 {
        const ELEMENTS: usize = 150;
        const DRAWS: u64 = 1500;
        let draw = |seed: u64| {
            let mut state = seed;
            let mut number = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                ((state >> 40) as f64 / (1u64 << 23) as f64 - 1.) * 3f64.sqrt() // of mean 0 and variance 1
            };
            let noise: Vec<f64> = (0..batch * ELEMENTS).map(|_| number()).collect();
            let mean = |range: Range<usize>| -> Part {
                let element =
                    |k: usize| range.clone().map(|i| noise[i * ELEMENTS + k]).sum::<f64>() / range.len() as f64;
                let gradient: Vec<f64> = (0..ELEMENTS).map(element).collect();
                Part { hessian: gradient[0], length: gradient.iter().map(|x| x * x).sum::<f64>().sqrt(), gradient }
            };
            let whole = mean(0..batch).hessian;
            let over = |m: usize, of: &dyn Fn(&Part) -> f64| {
                (0..batch).step_by(m).map(|first| of(&mean(first..first + m))).sum::<f64>() * m as f64 / batch as f64
            };
            match family {
                Family::Sam(m) => over(m, &|part| part.hessian * part.gradient[0] / part.length),
                Family::Usam(m) => over(m, &|part| part.hessian * part.gradient[0]),
                Family::Ascent(m) => over(m, &|part| whole * part.gradient[0] / part.length),
                // Weights that do not depend on the gradients: 1/m of m samples.
                Family::Reweighted(Reweighted { size, descended, .. }) => {
                    let part = mean(0..size);
                    (if descended { part.hessian } else { whole }) * part.gradient[0] / part.length
                }
                _ => unreachable!("no other family is tested"),
            }
        };
        (0..DRAWS).map(draw).sum::<f64>() / DRAWS as f64
    }

    #[test]
    fn equal_radii_add_the_same_where_noise_is_all_there_is() {
        let (batch, of) = (64, |family| added(family, 64) / family.factor(64));
        let (sam, usam) = (of(Family::Sam(batch)), of(Family::Usam(batch)));
        for family in [
            Family::Sam(16),
            Family::Sam(4),
            Family::Ascent(16),
            Family::reweighted(16, Norms::Random),
            Family::reweighted(16, Norms::Random).descended(),
        ] {
            let ratio = of(family) / sam;
            assert!((ratio - 1.).abs() < 0.15, "{family:?}: {ratio}");
        }
        let ratio = of(Family::Usam(4)) / usam;
        assert!((ratio - 1.).abs() < 0.15, "m-USAM: {ratio}");
    }
}

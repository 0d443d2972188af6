//! The runs: a grid of radii for each m and for RW-SAM, on wrong labels and on true ones.

use crate::config::{AugmentName, DataName, EstimatorName, RunConfig};
use crate::experiments::{Preset, of_radius, rw_sam, set_up, standard};
use msharp_models::{Architecture, Norm};

/// Samples of a batch: the m of SAM.
const BATCH: usize = 64;
/// ρ of SAM and of RW-SAM. m-SAM has √(m/b) times these: the same ρ√(b/m), which is the length of the perturbation that
/// matters where the noise of the gradient is larger than its mean.
const RADII: [f64; 6] = [0.07, 0.1, 0.14, 0.2, 0.28, 0.4];
/// How much of the images has a wrong label.
const NOISE: f64 = 0.4;

/// What is compared: rules that differ in ρ alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Family {
    Sgd,
    /// m-SAM with this m; SAM where it is the batch.
    Sam(usize),
    /// RW-SAM at this m_eff, from one probe.
    Probe(usize),
    /// RW-SAM at this m_eff, with exact norms.
    Exact(usize),
}

impl Family {
    /// Of a run.
    pub fn of(config: &RunConfig) -> Self {
        let m_eff = || config.perturbation.rule.number("lambda") as usize;
        match (config.perturbation.rule.name(), config.weighting.estimator) {
            ("sgd", _) => Family::Sgd,
            ("rw-sam", EstimatorName::FiniteDifference) => Family::Probe(m_eff()),
            ("rw-sam", _) => Family::Exact(m_eff()),
            _ => Family::Sam(config.perturbation.micro_batch.unwrap_or(config.optimisation.batch_size)),
        }
    }

    /// √(b/m): ρ times this is the radius of SAM that the theory expects to regularise alike.
    pub fn factor(self, batch: usize) -> f64 {
        match self {
            Family::Sam(m) => (batch as f64 / m as f64).sqrt(),
            _ => 1.,
        }
    }

    /// With its radius where it has one.
    fn run(self, base: &RunConfig, radius: f64, seed: u64) -> RunConfig {
        // At most six decimals, as one would type it.
        let rho = (radius / self.factor(base.optimisation.batch_size) * 1e6).round() / 1e6;
        base.clone().with(|c| {
            c.optimisation.seed = seed;
            match self {
                Family::Sgd => {}
                Family::Sam(m) => {
                    c.perturbation.rule = of_radius("sam", rho);
                    c.perturbation.micro_batch = (m < c.optimisation.batch_size).then_some(m);
                }
                Family::Probe(m_eff) => c.perturbation.rule = rw_sam(rho, m_eff),
                Family::Exact(m_eff) => {
                    (c.perturbation.rule, c.weighting.estimator) = (rw_sam(rho, m_eff), EstimatorName::Ghost);
                }
            }
        })
    }
}

/// For each seed every family at every radius. Group normalisation, so that a micro-batch changes the perturbation and
/// nothing else, and m may be 1.
pub fn configs(preset: Preset) -> Vec<RunConfig> {
    use Family::{Exact, Probe, Sam};
    let base = |data, subset, test_subset, epochs| {
        standard(Architecture::ResNet8, Norm::Group(32), data).with(|c| {
            (c.data.subset, c.data.test_subset, c.data.augment) = (subset, Some(test_subset), AugmentName::None);
            (c.optimisation.batch_size, c.optimisation.epochs) = (BATCH, epochs);
            (c.measuring.evaluate_every, c.data.label_noise) = (epochs, NOISE);
        })
    };
    let (base, families, true_labels, radii, seeds): (_, &[Family], &[Family], &[f64], u64) = match preset {
        Preset::Smoke => (base(DataName::Thumbnails, Some(128), 100, 1), &[Sam(64), Sam(16)], &[], &[0.1, 0.2], 2),
        Preset::Laptop => (
            base(DataName::Cifar10, Some(1000), 2000, 80),
            &[Sam(64), Sam(16), Sam(4), Sam(1), Probe(16), Exact(16)],
            &[Sam(64), Sam(4)],
            &RADII,
            5,
        ),
        Preset::Paper => (
            base(DataName::Cifar10, None, 10_000, 100),
            &[Sam(64), Sam(32), Sam(16), Sam(8), Sam(4), Sam(2), Sam(1), Probe(16), Exact(16), Probe(4), Exact(4)],
            &[Sam(64), Sam(16), Sam(4), Sam(1), Probe(16), Exact(16)],
            &RADII,
            5,
        ),
    };
    let grid = |base: &RunConfig, families: &[Family], seed: u64| -> Vec<RunConfig> {
        let of = |family: &Family| radii.iter().map(|radius| family.run(base, *radius, seed)).collect::<Vec<_>>();
        [Family::Sgd.run(base, 0., seed)].into_iter().chain(families.iter().flat_map(of)).collect()
    };
    let clean = base.clone().with(|c| c.data.label_noise = 0.);
    let of_seed = |seed| {
        let mut runs = grid(&base, families, seed);
        if !true_labels.is_empty() {
            runs.extend(grid(&clean, true_labels, seed));
        }
        runs
    };
    (0..seeds).flat_map(of_seed).collect()
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
                if let (Family::Sam(m), Some(rho)) = (family, config.perturbation.rule.radius()) {
                    let radius = rho * family.factor(config.optimisation.batch_size);
                    assert!(RADII.iter().any(|known| (known - radius).abs() < 1e-4 * radius), "m = {m}: {radius}");
                }
                assert_eq!(config.clone().canonical(), *config, "another way to write {config:?}");
            }
            assert!(configs.iter().any(|config| Family::of(config) == Family::Sam(16)));
        }
    }
}

//! The runs: training images with wrong labels, few enough that a network learns all of them by heart.

use crate::config::{AugmentName, DataName, RunConfig, named};
use crate::experiments::{Preset, of_radius, paired_runs, rw_sam, set_up, standard};
use msharp_models::{Architecture, Norm};

/// m, and the m_eff of RW-SAM.
const M: usize = 8;

/// ρ of SAM, of m-SAM and of RW-SAM: the best of each on seeds that are in no table.
const RHO: [f64; 3] = [0.2, 0.1, 0.2];

/// The seeds of the tables.
const FIRST_SEED: u64 = 0;

/// SGD, SAM, m-SAM and RW-SAM, each at its own radius: a comparison at one radius is one of radii.
pub fn configs(preset: Preset) -> Vec<RunConfig> {
    let base = standard(Architecture::ResNet8, Norm::Batch, DataName::Synthetic).with(|c| {
        (c.data.label_noise, c.data.augment) = (0.4, AugmentName::None);
        (c.optimisation.batch_size, c.optimisation.lr) = (32, 0.1);
    });
    let size = |subset, test_subset, epochs| {
        base.clone().with(|c| {
            (c.data.subset, c.data.test_subset, c.optimisation.epochs) = (Some(subset), test_subset, epochs);
        })
    };
    let rules = [
        (named("sgd"), None),
        (of_radius("sam", RHO[0]), None),
        (of_radius("sam", RHO[1]), Some(M)),
        (rw_sam(RHO[2], M), None),
    ];
    match preset {
        Preset::Smoke => paired_runs(&size(200, Some(200), 3), &rules, FIRST_SEED..FIRST_SEED + 1),
        Preset::Laptop => paired_runs(&size(300, Some(500), 25), &rules, FIRST_SEED..FIRST_SEED + 3),
        Preset::Paper => paired_runs(&size(4000, None, 60), &rules, FIRST_SEED..FIRST_SEED + 5),
    }
}

/// Above the table.
pub fn about(jobs: &[RunConfig]) -> String {
    format!(
        "{} Each rule has the radius that was best for it on seeds that are in no table. m is {M}, and so is the m_eff \
         at which RW-SAM aims.",
        set_up(&jobs[0])
    )
}

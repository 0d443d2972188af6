//! The runs: grids of ρ for m-SAM and RW-SAM, and for what stands between them.

use crate::config::RunConfig;
use crate::experiments::family::Family::{Ascent, Sam, Sgd};
use crate::experiments::family::Norms::Exact;
use crate::experiments::radius::{RADII, base, grid};
use crate::experiments::{Family, Preset, set_up};

/// m, and m_eff.
pub const M: usize = 16;
/// A smaller m_eff.
pub const SMALL: usize = 4;

/// RW-SAM with exact norms.
pub const fn exact(size: usize) -> Family {
    Family::reweighted(size, Exact)
}

/// Those of `radius` on wrong labels, and five more families on the same seeds.
pub fn configs(preset: Preset) -> Vec<RunConfig> {
    let (probe, base) = (Family::probe(M), base(preset));
    let shared = [Sgd, Sam(base.optimisation.batch_size), Sam(M)];
    let (families, radii, seeds): (Vec<Family>, &[f64], u64) = match preset {
        Preset::Smoke => ([&shared[..], &[exact(M), exact(M).descended(), Ascent(M)]].concat(), &[0.1, 0.2], 2),
        Preset::Laptop | Preset::Paper => {
            let own = [exact(SMALL), probe.descended(), exact(M).descended(), Ascent(M)];
            let seeds = if preset == Preset::Laptop { 3 } else { 5 };
            ([&shared[..], &[probe, exact(M)], &own].concat(), &RADII, seeds)
        }
    };
    (0..seeds).flat_map(|seed| grid(&base, seed, &families, radii)).collect()
}

/// Above the table.
pub fn about(config: &RunConfig) -> String {
    format!(
        "{} Grids of ρ as in `radius`, whose runs of SGD, SAM, m-SAM and RW-SAM these are.\n\nm-SAM and RW-SAM differ in \
         two ways. First, RW-SAM estimates the norms that it weights by, in the paper from one probe: *exact norms* are \
         without that noise. Second, the noise of a sample's gradient meets its own curvature with the weight 1/m in \
         m-SAM, which descends each micro-batch at its own x + ε; with 1/b in RW-SAM, which descends the mean of the \
         batch, whatever its weights are, unless they depend on the sample. Two rules separate this. *m-SAM (shared \
         descent)* has the perturbations of m-SAM, and the whole batch descends at each, so that the weight is 1/b. \
         *combine = weighted* is RW-SAM that descends the loss that it weighs, so that the weight is Σpᵢ² = 1/m_eff.\
         \n\n*At its best ρ* means the ρ with the highest mean over the *other* seeds, so that no run takes part in the \
         choice of its own radius.",
        set_up(config)
    )
}

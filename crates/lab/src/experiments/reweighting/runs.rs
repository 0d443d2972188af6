//! The runs: grids of ρ for m-SAM and RW-SAM, and for what stands between them.

use crate::config::RunConfig;
use crate::experiments::family::Family::{Ascent, Delta, Sam, Sgd};
use crate::experiments::family::Norms::Exact;
use crate::experiments::radius::{at_best, base, compared, grid, grid_seeds, seeds, whole_grid};
use crate::experiments::{Family, Preset, set_up_of_all};

/// m, and m_eff.
pub const M: usize = 16;
/// A smaller m_eff.
pub const SMALL: usize = 4;

/// RW-SAM with exact norms.
pub const fn exact(size: usize) -> Family {
    Family::reweighted(size, Exact)
}

/// The radii of the families that `radius` has not: those of its grid without the two smallest, at which all of its
/// families but SAM were far from their best, and one above.
const OWN_RADII: [f64; 6] = [0.14, 0.17, 0.2, 0.24, 0.28, 0.34];

/// Grids as in `radius`, and each family at its best on the seeds on which `radius` compares.
pub fn configs(preset: Preset) -> Vec<RunConfig> {
    let (probe, base) = (Family::probe(M), base(preset));
    let shared = [Sgd, Sam(base.optimisation.batch_size), Sam(M), probe, exact(M)];
    let own = [exact(SMALL), probe.descended(), exact(M).descended(), Ascent(M), Delta];
    let (shared, own): (&[Family], &[Family]) = match preset {
        Preset::Smoke => (&shared[..3], &[exact(M), exact(M).descended(), Ascent(M)]),
        Preset::Laptop | Preset::Paper => (&shared, &own),
    };
    let grids = grid_seeds(preset).flat_map(|seed| match preset {
        Preset::Smoke => grid(&base, seed, &[shared, own].concat(), &[0.1, 0.2]),
        Preset::Laptop | Preset::Paper => {
            [whole_grid(&base, seed, shared), grid(&base, seed, own, &OWN_RADII)].concat()
        }
    });
    let at_their_best = seeds(preset).flat_map(|seed| {
        let on = compared(preset).with(|c| c.optimisation.seed = seed);
        shared.iter().chain(own).map(move |family| at_best(*family, &on)).collect::<Vec<_>>()
    });
    grids.chain(at_their_best).collect()
}

/// Above the table.
pub fn about(config: &RunConfig) -> String {
    format!(
        "{} Each rule is at the ρ that was best for it on a grid, on other seeds; the runs of SGD, SAM, m-SAM and RW-SAM \
         at m_eff = 16 are those of `radius`.\n\nm-SAM and RW-SAM differ in two ways. First, RW-SAM estimates the norms \
         that it weights by, in the paper from one probe: *exact norms* are without that noise. Second, m-SAM penalises \
         ρ/(2m)·tr V because micro-batch γ is displaced along its own gradient and descends its own loss there: the mean \
         of ∇²f_γ ∇f_γ over micro-batches has a term with the weight 1/m, the mean of ∇²ℓᵢ∇ℓᵢ over samples. RW-SAM \
         descends the mean of the batch instead, and there that weight is Σpᵢ/b = 1/b whatever its weights p are, unless \
         they depend on the sample. Two rules separate this. *m-SAM, shared descent* has the perturbations of m-SAM, and \
         the whole batch descends at each, so that the weight is 1/b. *combine weighted* is RW-SAM that descends the loss \
         that it weights, so that it is Σpᵢ² = 1/m_eff.\n\n*δ-SAM* weights by the norms themselves and not by a softmax \
         of them, here by exact ones.",
        set_up_of_all(config)
    )
}

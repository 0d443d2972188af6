//! The runs: grids of ρ for m-SAM and RW-SAM, and for what stands between them.

use crate::config::RunConfig;
use crate::experiments::family::Family::{Ascent, Delta, Sam, Sgd};
use crate::experiments::family::Norms::{Exact, Random};
use crate::experiments::radius::{at_best, base, compared, curve, grid, grid_seeds, seeds, whole_grid};
use crate::experiments::{Family, Preset, set_up_of_all};

/// m, and m_eff.
pub const M: usize = 16;
/// A smaller m_eff.
pub const SMALL: usize = 4;

/// RW-SAM with exact norms.
pub const fn exact(size: usize) -> Family {
    Family::reweighted(size, Exact)
}

/// RW-SAM that descends the weighted loss, with weights that do not depend on the gradients: a control.
pub const RANDOM: Family = Family::reweighted(M, Random).descended();

/// The families that `radius` has not, and the equivalent ρ on their grids: around the best of SAM, or of m-SAM for
/// those that are expected to be like it. They are much smaller for those that descend the weighted loss, which on
/// seed 0 learnt the less the larger they were.
const OWN: [(Family, [f64; 6]); 5] = [
    (exact(SMALL), [0.05, 0.07, 0.085, 0.1, 0.12, 0.14]),
    (exact(M).descended(), [0.002, 0.004, 0.007, 0.014, 0.028, 0.05]),
    (RANDOM, [0.005, 0.007, 0.01, 0.014, 0.02, 0.035]),
    (Ascent(M), [0.05, 0.07, 0.1, 0.12, 0.14, 0.17]),
    (Delta, [0.1, 0.14, 0.17, 0.2, 0.24, 0.28]),
];

/// Grids as in `radius`, and each family at its best on the seeds on which `radius` compares.
pub fn configs(preset: Preset) -> Vec<RunConfig> {
    let base = base(preset);
    let all = [Sgd, Sam(base.optimisation.batch_size), Sam(M), Family::probe(M), exact(M)];
    let (shared, own) = match preset {
        Preset::Smoke => (&all[..3], &OWN[1..4]),
        Preset::Laptop | Preset::Paper => (&all[..], &OWN[..]),
    };
    let of_own: Vec<Family> = own.iter().map(|(family, _)| *family).collect();
    let families = [shared, &of_own].concat();
    let grids = grid_seeds(preset).flat_map(|seed| match preset {
        Preset::Smoke => grid(&base, seed, &families, &[0.1, 0.2]),
        Preset::Laptop | Preset::Paper => {
            let own = own.iter().flat_map(|(family, radii)| curve(&base, seed, *family, radii));
            whole_grid(&base, seed, shared).into_iter().chain(own).collect()
        }
    });
    let at_their_best = seeds(preset).flat_map(|seed| {
        let on = compared(preset).with(|c| c.optimisation.seed = seed);
        families.iter().map(|family| at_best(*family, &on)).collect::<Vec<_>>()
    });
    grids.chain(at_their_best).collect()
}

/// Above the table.
pub fn about(config: &RunConfig) -> String {
    format!(
        "{} Each rule is at the ρ that was best for it on a grid, on other seeds; the runs of SGD, SAM, m-SAM and RW-SAM \
         at m_eff = 16 are those of `radius`.\n\nm-SAM and RW-SAM differ in two ways. First, RW-SAM estimates the norms \
         that it weights by, in the paper from one probe: *exact norms* are without that noise. Second, m-SAM displaces \
         micro-batch γ along its own gradient and descends its own loss there: ∇²f_γ ∇f_γ has, in the mean over \
         micro-batches, E ∇²ℓᵢ∇ℓᵢ with the weight 1/m, and so m-USAM has the paper's ρ/(2m)·tr V, and m-SAM that divided \
         by ‖∇f_γ‖. RW-SAM descends the mean of the batch, and there that weight is Σpᵢ/b = 1/b whatever its weights p \
         are, unless they depend on the sample, while the gradient by whose norm it divides is longer than the batch's. \
         Two rules separate this. *m-SAM, shared descent* has the perturbations of m-SAM, and the whole batch descends at \
         each, so that the weight is 1/b. *combine weighted* is RW-SAM that descends the loss that it weights, so that it \
         is Σpᵢ² = 1/m_eff; but its descent has the noise of m_eff samples, and goes where the norms are large: with \
         random weights, half-normal numbers in place of the norms, it has the noise alone. *δ-SAM* weights by the norms \
         themselves, exact ones, and not by a softmax.",
        set_up_of_all(config)
    )
}

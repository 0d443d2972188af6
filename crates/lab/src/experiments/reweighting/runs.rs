//! The runs: grids of ρ for m-SAM and RW-SAM, and for what stands between them.

use crate::config::RunConfig;
use crate::experiments::family::Family::{Ascent, Delta, Sam, Sgd};
use crate::experiments::family::Norms::{Exact, Random};
use crate::experiments::radius::{at_best, base, compared, curve, grid, grid_seeds, seeds, whole_grid};
use crate::experiments::{Family, Preset, set_up_of_all};
use crate::page::markdown::table;

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
        "{} Each rule is at the ρ that was best for it on the laptop preset's grid, on other seeds and the same test \
         images; the runs of SGD, SAM, m-SAM and RW-SAM at m_eff = 16 are those of `radius`.\n\nm-SAM and RW-SAM \
         differ in two ways. RW-SAM estimates the norms that it weights by, in the paper from one probe; *exact \
         norms* are without that noise. And it descends the mean of the whole batch, where m-SAM descends the loss of \
         the micro-batch that displaced. A displacement adds E ∇²ℓᵢ∇ℓᵢ to the gradient, which gives the paper's term \
         ρ/(2m)·tr V; its weight depends on which gradient displaces and which loss is descended:\n\n{}\nThe weights \
         p of RW-SAM change its own line only as far as they depend on the sample. *Combine weighted* descends in the \
         noise of m_eff samples and where norms are large; with random weights, half-normal numbers in place of \
         norms, it has the noise alone. An *equivalent ρ* is ρ times the factor of the last column: there a rule is \
         expected to regularise as SAM does at that ρ, where noise is nearly all of the batch's gradient and weights \
         do not depend on the sample (`radius`). δ-SAM is taken at its ρ.",
        set_up_of_all(config),
        kinds()
    )
}

/// What displaces, what descends, and how much of the regulariser that leaves.
fn kinds() -> String {
    let head = ["rule", "displaces by the gradient of", "descends", "weight of E ∇²ℓᵢ∇ℓᵢ", "equivalent ρ / ρ"];
    let lines = [
        ["SAM", "the batch of b", "the batch", "1/b", "1"],
        ["m-SAM", "a micro-batch of m", "the micro-batch", "1/m", "√(b/m)"],
        ["m-SAM, shared descent", "a micro-batch of m", "the batch", "1/b", "√(m/b)"],
        ["RW-SAM", "the batch, weighted", "the batch", "Σpᵢ/b = 1/b", "√(m_eff/b)"],
        ["RW-SAM, combine weighted", "the batch, weighted", "the batch, weighted", "Σpᵢ² = 1/m_eff", "√(b/m_eff)"],
        ["δ-SAM", "the batch, weighted by the norms", "the batch", "1/b", "1"],
    ];
    table(&head, lines.map(|line| line.map(str::to_owned).to_vec()))
}

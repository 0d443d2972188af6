//! `reproduce m-sharpness`: test accuracy against m for m-SAM and against m_eff for RW-SAM, with controls.

use crate::config::{DataName, RunConfig};
use crate::experiments::escape::{Minimum, about_start, minimum};
use crate::experiments::family::Norms;
use crate::experiments::{Family, Preset, paired_runs};

/// From the poor minimum of `escape`, whose runs it shares: there rules differ by more than seeds do, at a size that
/// two cores finish. From initial weights they did not: of 320 images, on a seed that is not in the table, SGD learnt
/// 34.2 % and m-SAM (m = 4, ρ = 0.05) 34.1 %; and where 40 % of the labels were wrong 23.4, and SAM and m-SAM 27.1 and
/// 26.9 %, but the next seed gave 25.2, 24.9 and 25.6 %.
///
/// Group normalisation, so that a micro-batch changes the perturbation and nothing else.
pub fn configs(preset: Preset, data: DataName) -> Vec<RunConfig> {
    let Minimum { sgd, rho, seeds } = minimum(preset, data);
    match preset {
        Preset::Smoke => rules(&sgd, rho, &[16], 16, seeds),
        Preset::Laptop => rules(&sgd, rho, &[16, 8, 4], 4, seeds),
        Preset::Paper => rules(&sgd, rho, &[64, 32, 16, 8, 4], 16, seeds),
    }
}

/// SGD, SAM, m-SAM and RW-SAM for each size, and at `control` the controls: exact norms, and uninformative weights.
fn rules(base: &RunConfig, rho: f64, sizes: &[usize], control: usize, seeds: u64) -> Vec<RunConfig> {
    let (probe, exact) = (Family::probe(control), Family::reweighted(control, Norms::Exact));
    let mut families = vec![Family::Sgd, Family::Sam(base.optimisation.batch_size)];
    families.extend(sizes.iter().map(|m| Family::Sam(*m)));
    families.extend(sizes.iter().map(|m| Family::probe(*m)));
    families.extend([probe.shuffled(), exact, exact.shuffled(), Family::reweighted(control, Norms::Random)]);
    let rules: Vec<(Family, f64)> = families.into_iter().map(|family| (family, rho)).collect();
    paired_runs(base, &rules, 0..seeds)
}

/// Above the table.
pub fn about(config: &RunConfig) -> String {
    format!(
        "{} Its runs of SGD, SAM, and those sizes of m-SAM and RW-SAM that `escape` has are the runs of `escape`: what \
         both say of these is said once. RW-SAM takes its weights from one probe, at the λ of its m_eff. The controls \
         are at one m_eff: *exact norms*; the same weights, of either kind, given to other samples of the batch \
         (*shuffle-weights*); and *random weights*, which are those of half-normal numbers. SAM is m-SAM with the m of \
         the batch.\n\nm_eff need not be m. A micro-batch descends its own gradient at x + ε, so that the noise of a \
         sample meets its own curvature with weight 1/m; RW-SAM descends the mean of the batch, and there the weight \
         is Σpᵢ/b = 1/b whatever p is, as in SAM, unless pᵢ depends on the sample. What p brings it brings by that \
         dependence, which is what the controls take away. Both are over the norm of the gradient along which they \
         displace, which is longer the smaller m or m_eff is, so that at one ρ, as here, weights that do not depend on \
         the sample make RW-SAM weaker than SAM: `radius` compares each rule at its own ρ.",
        about_start(config)
    )
}

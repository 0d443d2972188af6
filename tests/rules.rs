//! Every named rule, and some compositions without a name, for the tests of what holds for all of them.

use crate::problems::Fixed;
use msharp_core::{Perturbation, Select, Temperature};
use msharp_gradnorm::{Exact, FiniteDifference};
use msharp_perturb::*;

pub type Named = (&'static str, Box<dyn Perturbation>);

/// Those of the paper, with radius `rho`; micro-batches of 3. `set` is what n-SAM ascends on.
pub fn rules_of_the_paper(rho: f64, set: &Fixed) -> Vec<Named> {
    let probe = FiniteDifference::default();
    let relative = Temperature::Relative(1.);
    vec![
        ("plain", Box::new(Plain)),
        ("sam", Box::new(sam(rho))),
        ("usam", Box::new(usam(rho))),
        ("m-sam", Box::new(m_sam(rho, 3))),
        ("m-usam", Box::new(m_usam(rho, 3))),
        ("n-sam", Box::new(n_sam(rho, set.clone()))),
        ("n-usam", Box::new(n_usam(rho, set.clone()))),
        ("rw-sam, one probe", Box::new(rw_sam(rho, relative, probe))),
        ("rw-sam, exact", Box::new(rw_sam(rho, Temperature::EffectiveSize(3.), Exact))),
        (
            "rw-usam, central",
            Box::new(rw_usam(rho, Temperature::Raw(0.1), FiniteDifference { central: true, ..probe })),
        ),
        ("m-rw-sam", Box::new(Micro::new(rw_sam(rho, relative, probe), 3))),
    ]
}

/// Those of the field that make a clean pass at x and one at x + ε in every step.
pub fn rules_of_two_passes(rho: f64) -> Vec<Named> {
    let scheduled = |schedule| Scheduled { inner: L2 { rho }, schedule };
    let l2 = L2 { rho };
    let reweighted = || Gibbs { estimator: FiniteDifference::default(), temperature: Temperature::Relative(1.) };
    vec![
        ("asam", Box::new(asam(5. * rho))),
        ("asam, eta", Box::new(with_offset(Adaptive { eta: 0.01, ..Adaptive::everywhere(5. * rho) }))),
        ("layer sam", Box::new(layer_sam(rho))),
        ("linf sam", Box::new(linf_sam(rho / 10.))),
        ("unified sam and usam", Box::new(unified_sam(rho, 0.9))),
        ("gsam", Box::new(gsam(rho, 0.3, 0.))),
        ("friendly sam", Box::new(friendly_sam(rho, 1., 0.6))),
        ("vasso", Box::new(vasso(rho, 0.4))),
        ("stable sam", Box::new(stable_sam(rho))),
        ("wsam", Box::new(wsam(rho, 0.6))),
        ("pgn", Box::new(pgn(rho, 0.3))),
        ("esam, drawn", Box::new(esam(rho, 0.6, 0.5))),
        (
            "rw-sam, exact, weighted",
            Box::new(Sharp {
                ascent: Gibbs { estimator: Exact, temperature: Temperature::EffectiveSize(3.) },
                offset: l2,
                combine: Weighted,
            }),
        ),
        ("half rho", Box::new(with_offset(Grouped { inner: l2, groups: vec![(Select::All, 0.5)] }))),
        ("decay inside", Box::new(with_offset(Decayed { inner: l2, weight_decay: 0.05, on: Select::All }))),
        ("clipped usam", Box::new(with_offset(Clipped { inner: Raw { rho }, max_norm: 1. }))),
        ("clipped sam", Box::new(Clipped { inner: sam(rho), max_norm: 0.5 })),
        ("cosine rho", Box::new(with_offset(scheduled(RhoSchedule::Cosine { end: 0.5 })))),
        (
            "rw-sam, adaptive, gsam",
            Box::new(Sharp {
                ascent: reweighted(),
                offset: Adaptive::everywhere(5. * rho),
                combine: Gsam { alpha: 0.2 },
            }),
        ),
        ("m-friendly sam", Box::new(Micro::new(friendly_sam(rho, 1., 0.6), 3))),
        ("m-wsam", Box::new(Micro::new(wsam(rho, 0.6), 3))),
    ]
}

/// Those whose passes differ from step to step, or from those of SAM.
pub fn rules_of_other_passes(rho: f64) -> Vec<Named> {
    vec![
        ("msam", Box::new(msam(rho, 0.9))),
        ("rwp, drawn", Box::new(rwp(rho))),
        ("r-sam, drawn", Box::new(r_sam(rho, rho / 10.))),
        ("look sam", Box::new(look_sam(rho, 2, 0.7))),
        ("ae-sam, read", Box::new(ae_sam(rho))),
        ("eigen sam, drawn", Box::new(with_offset(Eigen::new(rho, 0.2).refreshed(2, 5)))),
        ("3 steps", Box::new(multi_step_sam(rho, 3))),
        ("every 2nd", Box::new(Every::new(sam(rho), 2))),
        ("m-ascent sam", Box::new(m_ascent_sam(rho, 3))),
        ("from the start on", Box::new(During { inner: sam(rho), start: 0., end: 0.5 })),
    ]
}

/// All of them.
pub fn every_rule(rho: f64, set: &Fixed) -> Vec<Named> {
    let mut rules = rules_of_the_paper(rho, set);
    rules.extend(rules_of_two_passes(rho));
    rules.extend(rules_of_other_passes(rho));
    rules
}

//! The combinations that a rule can take instead of its own.

use super::choice::{Combinations, Kind};
use super::entry::{Entry, Parameter};
use crate::{AeSam, Blend, Descend, EsamSelect, Gsam, LookSam, Stable, Weighted};

type Listed = Entry<<Combinations as Kind>::Build>;

const AS_SAM: &str = "sam, which descends s alone";

/// The parameter of [`Gsam`].
pub(super) const ALPHA_GSAM: Parameter =
    Parameter::number("alpha", 0.4, Gsam::ALPHA, "how much of g⊥, the part of g orthogonal to s, is subtracted")
        .special(&[(0., AS_SAM)]);
/// The parameter of [`Blend`].
pub(super) const ALPHA_BLEND: Parameter =
    Parameter::number("alpha", 0.8, Blend::ALPHA, "the weight of s; λ/ρ for the penalty λ‖∇f‖")
        .special(&[(0., "sgd, which descends g alone"), (1., AS_SAM)]);
/// γ of WSAM.
pub(super) const GAMMA_WSAM: Parameter =
    Parameter::number("gamma", 0.9, Blend::GAMMA, "the weight of the sharpness; above 0.5, s − g is extrapolated")
        .special(&[(0., "sgd, which descends g alone"), (0.5, AS_SAM)]);
/// The parameters of [`LookSam`].
pub(super) const K: Parameter = Parameter::count("k", 5., "SAM in every k-th step").special(&[(1., AS_SAM)]);
pub(super) const ALPHA_LOOK: Parameter =
    Parameter::number("alpha", 0.7, LookSam::ALPHA, "the length of the reused part, relative to ‖g‖")
        .special(&[(0., "sam in every k-th step and plain between, --every")]);
/// The parameter of [`EsamSelect`].
pub(super) const GAMMA_ESAM: Parameter =
    Parameter::number("gamma", 0.5, EsamSelect::GAMMA, "the share of the samples that is descended")
        .special(&[(1., "descend, as sam does")]);

/// All combinations.
pub const fn combinations() -> &'static [Listed] {
    &COMBINATIONS
}

static COMBINATIONS: [Listed; 9] = [
    Listed::part("descend", "The gradient at x + ε alone", "s", &[], |_| Box::new(Descend)),
    Listed::part("gsam", "s less the part of g orthogonal to it", "s − αg⊥", &[ALPHA_GSAM], |v| {
        Box::new(Gsam { alpha: v.number("alpha") })
    }),
    Listed::part("blend", "A weighted mean of g and s", "(1 − α)g + αs", &[ALPHA_BLEND], |v| {
        Box::new(Blend { alpha: v.number("alpha") })
    }),
    Listed::part(
        "wsam",
        "g, and γ/(1 − γ) of the difference",
        "g + γ/(1 − γ)·(s − g)",
        &[GAMMA_WSAM],
        |v| Box::new(Blend::wsam(v.number("gamma"))),
    ),
    Listed::part("stable", "s at the length of g", "‖g‖ŝ", &[], |_| Box::new(Stable)),
    Listed::part(
        "look-sam",
        "s in every k-th step, its part across g reused between",
        "s every k-th step, else g + α‖g‖v̂",
        &[K, ALPHA_LOOK],
        |v| Box::new(LookSam::new(v.count("k"), v.number("alpha"))),
    ),
    Listed::part(
        "ae-sam",
        "s where ‖g‖² exceeds its running threshold",
        "s where ‖g‖² ≥ μ + cσ, else g; c from 1 to −1 over the run",
        &[],
        |_| Box::new(AeSam::default()),
    ),
    Listed::part(
        "esam-select",
        "s of the samples whose loss rises most",
        "s of the ⌊γb⌋ samples that rise most",
        &[GAMMA_ESAM],
        |v| Box::new(EsamSelect { gamma: v.number("gamma") }),
    ),
    Listed::part(
        "weighted",
        "s of the loss that the ascent weighs, of rw-sam, rw-usam or delta-sam",
        "Σpᵢ∇ℓᵢ(x + ε)",
        &[],
        |_| Box::new(Weighted),
    ),
];

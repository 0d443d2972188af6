//! The offsets that a rule can take instead of its own.

use super::choice::{Kind, Offsets};
use super::entry::{Entry, Parameter};
use crate::{Adaptive, Averaged, Eigen, Friendly, L2, Linf, Raw, Scale, Sparse, Unified};
use msharp_core::Offset;

type Listed = Entry<<Offsets as Kind>::Build>;

/// The parameter of [`Unified`].
pub(super) const L: Parameter = Parameter::number("l", 0.5, Unified::L, "how much of ε is normalised")
    .special(&[(0., "usam, the gradient as it is"), (1., "sam, the normalised gradient")]);
/// The parameters of [`Friendly`].
pub(super) const SIGMA: Parameter =
    Parameter::number("sigma", 1., Friendly::SIGMA, "how much of the average is subtracted")
        .special(&[(0., "the offset l2 of sam")]);
pub(super) const LAMBDA: Parameter =
    Parameter::number("lambda", 0.6, Friendly::LAMBDA, "how much of the average a step keeps")
        .special(&[(0., "one whose average is the gradient itself: sgd for sigma = 1")]);
/// The parameter of [`Averaged`].
pub(super) const THETA: Parameter =
    Parameter::number("theta", 0.4, Averaged::THETA, "how much of a new gradient the average takes")
        .special(&[(1., "the offset l2 of sam")]);
/// The parameter of [`Sparse`].
pub(super) const BETA: Parameter =
    Parameter::number("beta", 0.6, Sparse::BETA, "the share of the parameters that is perturbed")
        .special(&[(1., "the offset l2 of sam")]);
/// The parameter of [`Eigen`].
pub(super) const ALPHA_EIGEN: Parameter =
    Parameter::number("alpha", 0.2, Eigen::ALPHA, "how far ε is turned towards the leading eigenvector")
        .special(&[(0., "the offset l2 of sam")]);

fn scaled(rho: f64, scale: Scale) -> Box<dyn Offset> {
    Box::new(Adaptive { scale, ..Adaptive::everywhere(rho) })
}

/// All offsets.
pub const fn offsets() -> &'static [Listed] {
    &OFFSETS
}

static OFFSETS: [Listed; 12] = [
    Listed::part("l2", "The gradient, rescaled to length ρ", "ρĝ", &[], |rho, _| Box::new(L2 { rho })),
    Listed::part("raw", "ρ times the gradient", "ρg", &[], |rho, _| Box::new(Raw { rho })),
    Listed::part("linf", "ρ times the sign of the gradient", "ρ sign(g)", &[], |rho, _| Box::new(Linf { rho })),
    Listed::part("unified", "Between raw and l2", "ρ(1 − l + l/‖g‖)g", &[L], |rho, v| {
        Box::new(Unified { rho, l: v.number("l") })
    }),
    Listed::part("adaptive", "l2, scaled with |w|", "ρT²g/‖Tg‖, T = |w|", &[], |rho, _| {
        scaled(rho, Scale::Element)
    }),
    Listed::part(
        "adaptive-weights",
        "l2, scaled with |w| + 0.01; biases as they are",
        "ρT²g/‖Tg‖, T = |w| + 0.01 on weights, 1 on biases",
        &[],
        |rho, _| Box::new(Adaptive::weights(rho)),
    ),
    Listed::part(
        "adaptive-filter",
        "l2, scaled with the norm of each filter",
        "ρT²g/‖Tg‖, T = ‖filter‖",
        &[],
        |rho, _| scaled(rho, Scale::Filter),
    ),
    Listed::part(
        "adaptive-tensor",
        "l2, scaled with the norm of each tensor",
        "ρT²g/‖Tg‖, T = ‖W‖",
        &[],
        |rho, _| scaled(rho, Scale::Tensor),
    ),
    Listed::part(
        "friendly",
        "l2 of the gradient less its moving average",
        "ρû, u = g − σm, m ← λm + (1 − λ)g",
        &[SIGMA, LAMBDA],
        |rho, v| Box::new(Friendly::new(L2 { rho }, v.number("sigma"), v.number("lambda"))),
    ),
    Listed::part("averaged", "l2 of the moving average", "ρm̂, m ← (1 − θ)m + θg", &[THETA], |rho, v| {
        Box::new(Averaged::new(L2 { rho }, v.number("theta")))
    }),
    Listed::part("sparse", "l2, on a random share of the parameters", "ρĝ∘mask/β", &[BETA], |rho, v| {
        Box::new(Sparse { inner: L2 { rho }, beta: v.number("beta") })
    }),
    Listed::part(
        "eigen",
        "l2, turned towards the leading eigenvector v of the Hessian",
        "ρ(ĝ + α sign⟨g, v⟩(v − ⟨v, ĝ⟩ĝ))",
        &[ALPHA_EIGEN],
        |rho, v| Box::new(Eigen::new(rho, v.number("alpha"))),
    ),
];

//! The rules by the names that the field gives them, each a sentence.
//!
//! b is the batch; "2 + 2" is 2 forwards and 2 backwards over it.

use crate::{
    Adaptive, Averaged, Blend, Descend, Eigen, Friendly, FullBatch, Gibbs, Grouped, Gsam, L2, Linf, Look, Mean, Micro,
    Momentum, Random, Raw, RhoSchedule, Scale, Scheduled, Select, Selected, Sharp, Smoothed, Sparse, Stable, Steep,
    Steps, Unified,
};
use msharp_core::{DataSource, GradNormEstimator, Role, Temperature};

/// SAM: ∇f_γ(x + ρ∇f_γ/‖∇f_γ‖). 2 + 2.
pub fn sam(rho: f64) -> Sharp<Mean, L2> {
    within(L2 { rho })
}

/// USAM: ∇f_γ(x + ρ∇f_γ). 2 + 2.
pub fn usam(rho: f64) -> Sharp<Mean, Raw> {
    within(Raw { rho })
}

/// SAM in any ball: ∇f_γ(x + ε), ε being what `offset` makes of ∇f_γ.
pub fn within<O>(offset: O) -> Sharp<Mean, O> {
    Sharp { ascent: Mean, offset, combine: Descend }
}

/// m-SAM: SAM on each micro-batch of `m` samples, averaged. 2 + 2, in b/m pieces.
pub fn m_sam(rho: f64, m: usize) -> Micro<Sharp<Mean, L2>> {
    Micro { inner: sam(rho), size: m }
}

/// m-USAM: USAM on each micro-batch of `m` samples, averaged. 2 + 2, in b/m pieces.
pub fn m_usam(rho: f64, m: usize) -> Micro<Sharp<Mean, Raw>> {
    Micro { inner: usam(rho), size: m }
}

/// n-SAM: the perturbation is that of the whole set, the descent gradient that of the batch.
pub fn n_sam<D: DataSource>(data: D, rho: f64) -> Sharp<FullBatch<D>, L2> {
    Sharp { ascent: FullBatch { data }, offset: L2 { rho }, combine: Descend }
}

/// n-USAM: as [`n_sam`], unnormalised.
pub fn n_usam<D: DataSource>(data: D, rho: f64) -> Sharp<FullBatch<D>, Raw> {
    Sharp { ascent: FullBatch { data }, offset: Raw { rho }, combine: Descend }
}

/// RW-SAM: the ascent gradient is reweighted by the softmax of the samples' estimated gradient norms; the descent
/// gradient is the plain mean. With a one-probe estimator 3 + 2.
pub fn rw_sam<E: GradNormEstimator>(estimator: E, temperature: Temperature, rho: f64) -> Sharp<Gibbs<E>, L2> {
    Sharp { ascent: Gibbs { estimator, temperature }, offset: L2 { rho }, combine: Descend }
}

/// RW-USAM: as [`rw_sam`], unnormalised.
pub fn rw_usam<E: GradNormEstimator>(estimator: E, temperature: Temperature, rho: f64) -> Sharp<Gibbs<E>, Raw> {
    Sharp { ascent: Gibbs { estimator, temperature }, offset: Raw { rho }, combine: Descend }
}

/// ASAM with |w| on every parameter, the definition most copied: ε = ρ T²g/‖Tg‖, T = |w|. 2 + 2.
pub fn asam(rho: f64) -> Sharp<Mean, Adaptive<L2>> {
    within(Adaptive::everywhere(rho))
}

/// ASAM as its authors have it: T = |w| + 0.01 on what is called `weight`, 1 on biases. 2 + 2.
pub fn asam_weights(rho: f64) -> Sharp<Mean, Adaptive<L2>> {
    within(Adaptive::weights(rho))
}

/// ASAM tensor by tensor: T = ‖W‖ of the whole tensor. 2 + 2.
pub fn layer_sam(rho: f64) -> Sharp<Mean, Adaptive<L2>> {
    within(Adaptive { scale: Scale::Tensor, ..Adaptive::everywhere(rho) })
}

/// SAM in the L∞ ball: ε = ρ sign(g). 2 + 2.
pub fn linf_sam(rho: f64) -> Sharp<Mean, Linf> {
    within(Linf { rho })
}

/// Unified SAM: ε = ρ(1 − l + l/‖g‖)g. 2 + 2.
pub fn unified_sam(rho: f64, l: f64) -> Sharp<Mean, Unified> {
    within(Unified { rho, l })
}

/// SAM with `k` ascent steps of radius ρ/k. (1 + k) + (1 + k).
pub fn multi_step_sam(rho: f64, k: usize) -> Sharp<Mean, Steps<L2>> {
    within(Steps { inner: L2 { rho: rho / k as f64 }, steps: k })
}

/// SAM-ON: only norm layers are perturbed. 2 + 2.
pub fn sam_on(rho: f64) -> Sharp<Mean, Grouped<L2>> {
    within(Grouped::only(Select::Role(Role::Norm), L2 { rho }))
}

/// F-SAM: ε along g − σm for the moving average m of gradients. 2 + 2.
pub fn friendly_sam(rho: f64, sigma: f64, lambda: f64) -> Sharp<Mean, Friendly<L2>> {
    within(Friendly::new(L2 { rho }, sigma, lambda))
}

/// VaSSO: ε along the moving average d ← (1 − θ)d + θg. 2 + 2.
pub fn vasso(rho: f64, theta: f64) -> Sharp<Mean, Averaged<L2>> {
    within(Averaged::new(L2 { rho }, theta))
}

/// Eigen-SAM: ε bent towards the leading eigenvector of the Hessian. 2 + 2, and 10 + 10 in every 100th step.
pub fn eigen_sam(rho: f64, alpha: f64) -> Sharp<Mean, Eigen> {
    within(Eigen::new(rho, alpha))
}

/// GSAM: s − αg⊥, g⊥ being the part of g orthogonal to s. Here ρ is proportional to the learning rate down to
/// `least` ρ. 2 + 2.
pub fn gsam(rho: f64, alpha: f64, least: f64) -> Sharp<Mean, Scheduled<L2>, Gsam> {
    let offset = Scheduled { inner: L2 { rho }, schedule: RhoSchedule::ByLearningRate { least } };
    Sharp { ascent: Mean, offset, combine: Gsam { alpha } }
}

/// WSAM: g + γ/(1 − γ) · (s − g). 2 + 2.
pub fn wsam(rho: f64, gamma: f64) -> Sharp<Mean, L2, Blend> {
    Sharp { ascent: Mean, offset: L2 { rho }, combine: Blend { alpha: gamma / (1. - gamma) } }
}

/// The gradient-norm penalty f + λ‖∇f‖ with λ = αρ: (1 − α)g + αs. 2 + 2.
pub fn pgn(rho: f64, alpha: f64) -> Sharp<Mean, L2, Blend> {
    Sharp { ascent: Mean, offset: L2 { rho }, combine: Blend { alpha } }
}

/// Stable SAM: ‖g‖ s/‖s‖. 2 + 2.
pub fn stable_sam(rho: f64) -> Sharp<Mean, L2, Stable> {
    Sharp { ascent: Mean, offset: L2 { rho }, combine: Stable }
}

/// LookSAM: SAM every k-th step, its sharp part reused between. 1 + 1, and 2 + 2 every k-th step.
pub fn look_sam(rho: f64, k: usize, alpha: f64) -> Sharp<Mean, L2, Look> {
    Sharp { ascent: Mean, offset: L2 { rho }, combine: Look::new(k, alpha) }
}

/// AE-SAM: SAM where the gradient is long for its time. 1 + 1, and 2 + 2 in such steps.
pub fn ae_sam(rho: f64) -> Sharp<Mean, L2, Steep> {
    Sharp { ascent: Mean, offset: L2 { rho }, combine: Steep::default() }
}

/// ESAM: a share β of the parameters is perturbed, a share γ of the samples descended. 2 + 2.
pub fn esam(rho: f64, beta: f64, gamma: f64) -> Sharp<Mean, Sparse<L2>, Selected> {
    Sharp { ascent: Mean, offset: Sparse { inner: L2 { rho }, beta }, combine: Selected { gamma } }
}

/// MSAM: ε = −ρv/‖v‖ for the rule's own momentum v. 1 + 1.
pub fn msam(rho: f64, mu: f64) -> Sharp<Momentum, L2> {
    Sharp { ascent: Momentum::new(mu), offset: L2 { rho }, combine: Descend }
}

/// RWP: ∇f_γ(x + σTz) for Gaussian noise z, T being the norm of each filter. 1 + 1.
pub fn rwp(sigma: f64) -> Sharp<Random, Raw> {
    Sharp { ascent: Random { scale: Some(Scale::FilterOrVector) }, offset: Raw { rho: sigma }, combine: Descend }
}

/// R-SAM: ε = ρ(n + g)/‖n + g‖ for filter-wise noise n and the gradient g at x + n. 2 + 2.
pub fn r_sam(rho: f64, sigma: f64) -> Sharp<Smoothed, L2> {
    let noise = Random { scale: Some(Scale::FilterOrVector) };
    Sharp { ascent: Smoothed { sigma, noise }, offset: L2 { rho }, combine: Descend }
}

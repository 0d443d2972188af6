//! The published rules by the names that the field gives them, each a composition of parts.
//!
//! Arguments are in one order everywhere: ρ, then the rule's constants in the order of the
//! [catalogue](crate::catalogue), then what the rule is computed with (an estimator, a data set). Costs are "forwards +
//! backwards" over the batch.

use crate::{
    Adaptive, AeSam, Averaged, Blend, Descend, During, Eigen, EsamSelect, Friendly, FullBatch, Gibbs, Grouped, Gsam,
    L2, Linf, LookSam, Mean, Micro, MicroAscent, Momentum, Proportional, Random, Raw, RhoSchedule, Sampa, Scale,
    Scheduled, Sharp, Smoothed, Sparse, Stable, Steps, Unified,
};
use msharp_core::{DataSource, GradNormEstimator, Role, Select, Temperature};

/// SAM: ∇f_γ(x + ρ∇f_γ/‖∇f_γ‖). 2 + 2. Published ρ: 0.05 on CIFAR-10, 0.1 on CIFAR-100.
pub fn sam(rho: f64) -> Sharp<Mean, L2> {
    with_offset(L2 { rho })
}

/// USAM: ∇f_γ(x + ρ∇f_γ). 2 + 2.
pub fn usam(rho: f64) -> Sharp<Mean, Raw> {
    with_offset(Raw { rho })
}

/// SAM with another offset: ∇f_γ(x + ε), ε being what `offset` makes of ∇f_γ.
pub fn with_offset<O>(offset: O) -> Sharp<Mean, O> {
    Sharp { ascent: Mean, offset, combine: Descend }
}

/// SAM with another combination of the gradients at x and at x + ε.
pub fn with_combine<C>(rho: f64, combine: C) -> Sharp<Mean, L2, C> {
    Sharp { ascent: Mean, offset: L2 { rho }, combine }
}

/// m-SAM: SAM on each micro-batch of `m` samples, averaged. 2 + 2.
pub fn m_sam(rho: f64, m: usize) -> Micro<Sharp<Mean, L2>> {
    Micro::new(sam(rho), m)
}

/// m-USAM: USAM on each micro-batch of `m` samples, averaged. 2 + 2.
pub fn m_usam(rho: f64, m: usize) -> Micro<Sharp<Mean, Raw>> {
    Micro::new(usam(rho), m)
}

/// SAM with the perturbations of m-SAM: micro-batches of `m` samples ascend alone, and the whole batch descends at each
/// of their points, b/m + 1 of each.
pub fn m_ascent_sam(rho: f64, m: usize) -> MicroAscent<L2> {
    MicroAscent { offset: L2 { rho }, size: m }
}

/// n-SAM: the perturbation is that of the whole set, the descent gradient that of the batch. n/b + 1 of each.
pub fn n_sam<D: DataSource>(rho: f64, data: D) -> Sharp<FullBatch<D>, L2> {
    Sharp { ascent: FullBatch { data }, offset: L2 { rho }, combine: Descend }
}

/// n-USAM: as [`n_sam`], with ε = ρ∇f.
pub fn n_usam<D: DataSource>(rho: f64, data: D) -> Sharp<FullBatch<D>, Raw> {
    Sharp { ascent: FullBatch { data }, offset: Raw { rho }, combine: Descend }
}

/// RW-SAM: the ascent gradient is reweighted by the softmax of the samples' estimated gradient norms; the descent
/// gradient is the plain mean. With a one-probe estimator 3 + 2.
pub fn rw_sam<E: GradNormEstimator>(rho: f64, temperature: Temperature, estimator: E) -> Sharp<Gibbs<E>, L2> {
    Sharp { ascent: Gibbs { temperature, estimator }, offset: L2 { rho }, combine: Descend }
}

/// RW-USAM: as [`rw_sam`], with ε = ρ times the reweighted gradient.
pub fn rw_usam<E: GradNormEstimator>(rho: f64, temperature: Temperature, estimator: E) -> Sharp<Gibbs<E>, Raw> {
    Sharp { ascent: Gibbs { temperature, estimator }, offset: Raw { rho }, combine: Descend }
}

/// δ-SAM: the ascent gradient is weighted in proportion to the samples' estimated gradient norms. With a one-probe
/// estimator 3 + 2.
pub fn delta_sam<E: GradNormEstimator>(rho: f64, estimator: E) -> Sharp<Proportional<E>, L2> {
    Sharp { ascent: Proportional { estimator }, offset: L2 { rho }, combine: Descend }
}

/// ASAM with |w| on every parameter, the definition most copied: ε = ρ T²g/‖Tg‖, T = |w|. 2 + 2. Published ρ: 0.5 on
/// CIFAR-10, 1 on CIFAR-100.
pub fn asam(rho: f64) -> Sharp<Mean, Adaptive<L2>> {
    with_offset(Adaptive::everywhere(rho))
}

/// ASAM as its authors have it: T = |w| + 0.01 on what is called `weight`, 1 on biases. 2 + 2.
pub fn asam_weights(rho: f64) -> Sharp<Mean, Adaptive<L2>> {
    with_offset(Adaptive::weights(rho))
}

/// ASAM tensor by tensor: T = ‖W‖ of the whole tensor. 2 + 2.
pub fn layer_sam(rho: f64) -> Sharp<Mean, Adaptive<L2>> {
    with_offset(Adaptive { scale: Scale::Tensor, ..Adaptive::everywhere(rho) })
}

/// SAM in the L∞ norm: ε = ρ sign(g). 2 + 2.
pub fn linf_sam(rho: f64) -> Sharp<Mean, Linf> {
    with_offset(Linf { rho })
}

/// Unified SAM: ε = ρ(1 − l + l/‖g‖)g. 2 + 2.
pub fn unified_sam(rho: f64, l: f64) -> Sharp<Mean, Unified> {
    with_offset(Unified { rho, l })
}

/// SAM with `k` ascent steps of radius ρ/k. (1 + k) + (1 + k).
pub fn multi_step_sam(rho: f64, k: usize) -> Sharp<Mean, Steps<L2>> {
    with_offset(Steps { inner: L2 { rho: rho / k as f64 }, steps: k })
}

/// SAM-ON: only norm layers are perturbed. 2 + 2.
pub fn sam_on(rho: f64) -> Sharp<Mean, Grouped<L2>> {
    with_offset(Grouped::only(Select::Role(Role::Norm), L2 { rho }))
}

/// F-SAM: ε along g − σm for the moving average m ← λm + (1 − λ)g of gradients. 2 + 2. Published: ρ = 0.2, σ = 1,
/// λ = 0.6.
pub fn friendly_sam(rho: f64, sigma: f64, lambda: f64) -> Sharp<Mean, Friendly<L2>> {
    with_offset(Friendly::new(L2 { rho }, sigma, lambda))
}

/// VaSSO: ε along the moving average d ← (1 − θ)d + θg. 2 + 2. Published: ρ = 0.2, θ = 0.4 or 0.9.
pub fn vasso(rho: f64, theta: f64) -> Sharp<Mean, Averaged<L2>> {
    with_offset(Averaged::new(L2 { rho }, theta))
}

/// Eigen-SAM: ε turned towards the leading eigenvector of the Hessian by α. 2 + 2, and 10 + 10 more in every 100th
/// step. Published: ρ = 0.1, α = 0.2.
pub fn eigen_sam(rho: f64, alpha: f64) -> Sharp<Mean, Eigen> {
    with_offset(Eigen::new(rho, alpha))
}

/// GSAM: s − αg⊥, g⊥ being the part of g orthogonal to s; the radius follows the learning rate, from `rho` at the base
/// rate down to `rho_min` at rate 0. 2 + 2.
pub fn gsam(rho: f64, alpha: f64, rho_min: f64) -> Sharp<Mean, Scheduled<L2>, Gsam> {
    let least = if rho == 0. { 0. } else { rho_min / rho };
    let offset = Scheduled { inner: L2 { rho }, schedule: RhoSchedule::ByLearningRate { least } };
    Sharp { ascent: Mean, offset, combine: Gsam { alpha } }
}

/// WSAM: g + γ/(1 − γ) · (s − g). 2 + 2. Published γ: 0.9.
pub fn wsam(rho: f64, gamma: f64) -> Sharp<Mean, L2, Blend> {
    with_combine(rho, Blend::wsam(gamma))
}

/// The gradient-norm penalty f + λ‖∇f‖ with λ = αρ: (1 − α)g + αs. 2 + 2. Published α: 0.8.
pub fn pgn(rho: f64, alpha: f64) -> Sharp<Mean, L2, Blend> {
    with_combine(rho, Blend { alpha })
}

/// Stable SAM: ‖g‖ s/‖s‖. 2 + 2.
pub fn stable_sam(rho: f64) -> Sharp<Mean, L2, Stable> {
    with_combine(rho, Stable)
}

/// LookSAM: SAM every k-th step, its part v across g reused between: g + α‖g‖v/‖v‖. 1 + 1, and 2 + 2 every k-th step.
/// Published: k = 5, α = 0.7.
pub fn look_sam(rho: f64, k: usize, alpha: f64) -> Sharp<Mean, L2, LookSam> {
    with_combine(rho, LookSam::new(k, alpha))
}

/// AE-SAM: SAM in the steps in which ‖g‖² exceeds its running threshold. 1 + 1, and 2 + 2 in such steps.
pub fn ae_sam(rho: f64) -> Sharp<Mean, L2, AeSam> {
    with_combine(rho, AeSam::default())
}

/// ESAM: a share β of the parameters is perturbed, a share γ of the samples descended. 2 + 2. Published: β = 0.6,
/// γ = 0.5.
pub fn esam(rho: f64, beta: f64, gamma: f64) -> Sharp<Mean, Sparse<L2>, EsamSelect> {
    Sharp { ascent: Mean, offset: Sparse { inner: L2 { rho }, beta }, combine: EsamSelect { gamma } }
}

/// MSAM: ε = −ρv/‖v‖ for the rule's own momentum v. 1 + 1.
pub fn msam(rho: f64, mu: f64) -> Sharp<Momentum, L2> {
    Sharp { ascent: Momentum::new(mu), offset: L2 { rho }, combine: Descend }
}

/// RWP: ∇f_γ(x + σTz) for Gaussian noise z, T being the norm of each filter. 1 + 1.
pub fn rwp(sigma: f64) -> Sharp<Random, Raw> {
    Sharp { ascent: Random { scale: Some(Scale::FilterOrVector) }, offset: Raw { rho: sigma }, combine: Descend }
}

/// R-SAM: ε = ρ(n + g)/‖n + g‖ for filter-wise noise n of size σ and the gradient g at x + n. 2 + 2.
pub fn r_sam(rho: f64, sigma: f64) -> Sharp<Smoothed, L2> {
    let noise = Random { scale: Some(Scale::FilterOrVector) };
    Sharp { ascent: Smoothed { sigma, noise }, offset: L2 { rho }, combine: Descend }
}

/// SAMPa-λ: the perturbation from the gradient at an auxiliary iterate, so that the two gradients of a step do not
/// depend on each other. 2 + 2. Published: ρ = 0.1, λ = 0.2.
pub fn sampa(rho: f64, lambda: f64) -> Sampa {
    Sampa::new(rho, lambda)
}

/// Late-phase SAM: the plain gradient up to the share `start` of the run, and SAM from there to its end. 1 + 1, then
/// 2 + 2. Published: 0.875, the last 25 of 200 epochs.
pub fn late_phase_sam(rho: f64, start: f64) -> During<Sharp<Mean, L2>> {
    During { inner: sam(rho), start, end: 1. }
}

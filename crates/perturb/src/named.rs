//! The rules by the names that the field gives them.

use crate::{Descend, FullBatch, Gibbs, L2, Mean, Micro, Raw, Sharp};
use msharp_core::{DataSource, GradNormEstimator, Temperature};

/// SAM: ∇f_γ(x + ρ∇f_γ/‖∇f_γ‖). 2 forwards, 2 backwards.
pub fn sam(rho: f64) -> Sharp<Mean, L2> {
    Sharp { ascent: Mean, offset: L2 { rho }, combine: Descend }
}

/// USAM: ∇f_γ(x + ρ∇f_γ). 2 forwards, 2 backwards.
pub fn usam(rho: f64) -> Sharp<Mean, Raw> {
    Sharp { ascent: Mean, offset: Raw { rho }, combine: Descend }
}

/// m-SAM: SAM on each micro-batch of `m` samples, averaged. 2 forwards, 2 backwards, in b/m pieces.
pub fn m_sam(rho: f64, m: usize) -> Micro<Sharp<Mean, L2>> {
    Micro { inner: sam(rho), size: m }
}

/// m-USAM: USAM on each micro-batch of `m` samples, averaged. 2 forwards, 2 backwards, in b/m pieces.
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
/// gradient is the plain mean. With a one-probe estimator 3 forwards, 2 backwards.
pub fn rw_sam<E: GradNormEstimator>(estimator: E, temperature: Temperature, rho: f64) -> Sharp<Gibbs<E>, L2> {
    Sharp { ascent: Gibbs { estimator, temperature }, offset: L2 { rho }, combine: Descend }
}

/// RW-USAM: as [`rw_sam`], unnormalised.
pub fn rw_usam<E: GradNormEstimator>(estimator: E, temperature: Temperature, rho: f64) -> Sharp<Gibbs<E>, Raw> {
    Sharp { ascent: Gibbs { estimator, temperature }, offset: Raw { rho }, combine: Descend }
}

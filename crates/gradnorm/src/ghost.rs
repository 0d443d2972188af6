//! One backward pass for all samples, in which the layers measure what each sample contributes.

use candle_core::{DType, Result, Tensor};
use msharp_core::{Batch, Estimate, GradNormEstimator, Measures, Objective, Params};

/// ‖∇ℓᵢ(x)‖ from layer inputs and output gradients, by one backward pass that computes no gradient of a parameter. 1
/// forward, whose graph serves the ascent, and 1 backward. Exact up to rounding: no bias, no variance, no randomness.
///
/// Every parameter must be used, once, by an op of [`msharp_ops`], as those of every model of msharp-models are, and
/// samples come first in every activation. On the CPU.
///
/// Under batch normalisation in training mode the samples are coupled, and this is **not** ‖∇ℓᵢ‖ but the norm of sample
/// i's share of ∇Σⱼℓⱼ, as [`ghost_norms`](msharp_ops::ghost_norms) defines it: the shares add up to the gradient as the
/// ∇ℓᵢ do, and each has a part of every loss. It then reports `coupled` = 1; [`Exact`](crate::Exact) is the estimator
/// of ‖∇ℓᵢ‖ itself.
///
/// # Errors
/// Names a parameter that no op measures, or that several ops share.
///
/// Reference: Goodfellow 2015, <https://arxiv.org/abs/1510.01799>; ghost clipping (Li et al., ICLR 2022,
/// <https://arxiv.org/abs/2110.05679>).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ghost;

impl GradNormEstimator for Ghost {
    fn estimate(&mut self, f: &dyn Objective, params: &Params, batch: &Batch) -> Result<Estimate> {
        let named: Vec<(&str, &Tensor)> =
            params.iter().map(|param| (param.name.as_str(), param.var.as_tensor())).collect();
        let found = msharp_ops::ghost_norms(&named, || f.losses(batch, true))?; // [b]
        let mut measures = Measures::new();
        if found.coupled {
            measures.insert("coupled", Tensor::ones((), DType::F64, params.device())?);
        }
        Ok(Estimate { losses: found.losses, norms: found.norms, measures })
    }
}

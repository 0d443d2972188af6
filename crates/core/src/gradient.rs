//! The result of a rule: losses, the direction to descend, and what was measured on the way.

use crate::ParamVec;
use candle_core::{DType, Result, Tensor};
use std::collections::BTreeMap;

/// Numbers that a rule reports about a step, by name: `m_eff`, quantiles of the per-sample norms, …. Each is f64 `[]`
/// where the parameters are; no host-device synchronisation before it is read.
pub type Measures = BTreeMap<&'static str, Tensor>;

/// The result of a [`Perturbation`](crate::Perturbation): what an optimizer steps with.
#[derive(Clone, Debug)]
pub struct Gradient {
    /// `[b]`: ℓᵢ where the gradient was taken, detached. Of a rule it is ℓᵢ at x, absent if it made no clean pass.
    pub losses: Option<Tensor>,
    /// The direction to descend.
    pub grads: ParamVec,
    /// What the rule measured on the way.
    pub measures: Measures,
    /// `[b]`: pᵢ, of an ascent that is Σ pᵢ ∇ℓᵢ, for the samples of this rank; none where it is a mean.
    pub weights: Option<Tensor>,
}

impl Gradient {
    /// The mean of the losses where there are any, f64 `[]`; no host-device synchronisation before it is read.
    pub fn mean_loss(&self) -> Result<Option<Tensor>> {
        self.losses.as_ref().map(mean).transpose()
    }
}

/// The mean of losses `[b]`, f64 `[]`: candle's own copies shapes to a GPU.
pub(crate) fn mean(losses: &Tensor) -> Result<Tensor> {
    msharp_ops::no_grad(|| msharp_ops::weighted_sum(losses, None))?.to_dtype(DType::F64)
}

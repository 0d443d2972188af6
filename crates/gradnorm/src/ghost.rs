//! One backward pass for all samples, in which the layers measure what each sample contributes.

use crate::against_exact::{compare, two_gradients};
use crate::error::unmeasurable;
use candle_core::{DType, Result, Tensor};
use msharp_core::{
    BatchLoss, Component, Cost, Estimate, GradNormEstimator, Gradient, Key, Measures, ParamVec, Params, Weigh,
    uncounted,
};
use msharp_ops::GhostNorms;

/// ‖∇ℓᵢ(x)‖ from layer inputs and output gradients, by one backward pass that computes no gradient of a parameter. 1
/// forward, whose graph serves the ascent, and 1 backward; 3 in the first estimate. Exact up to rounding: no bias, no
/// variance, no randomness.
///
/// Every parameter must be used, once, by an op of [`msharp_ops`], as those of every model of msharp-models are, and
/// samples come first in every activation. The first estimate compares two samples with their own
/// gradients, parameter by parameter: rows that are no samples (class prototypes, of which there are as many), and
/// losses that depend on each other, are found by it.
///
/// Under batch normalisation in training mode the samples are coupled, and this is **not** ‖∇ℓᵢ‖ but the norm of sample
/// i's share of ∇Σⱼℓⱼ, as [`ghost_norms`](msharp_ops::ghost_norms) defines it: the shares add up to the gradient as the
/// ∇ℓᵢ do, and each has a part of every loss. It then reports `coupled` = 1, and the comparison is about the parameters
/// after the last such layer; [`Exact`](crate::Exact) is the estimator of ‖∇ℓᵢ‖ itself.
///
/// # Errors
/// Names a parameter that no op measures, that several ops share, or whose measured norm is not that of the gradient.
///
/// Reference: Goodfellow 2015, <https://arxiv.org/abs/1510.01799>; ghost clipping (Li et al., ICLR 2022,
/// <https://arxiv.org/abs/2110.05679>).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ghost {
    /// Whether samples were compared with their gradients.
    pub checked: bool,
}

impl Component for Ghost {}

impl GradNormEstimator for Ghost {
    fn estimate(&mut self, loss: BatchLoss) -> Result<Estimate> {
        measure(loss, loss.params, &mut self.checked).map_err(unmeasurable("Ghost", ADVICE))
    }

    /// From the factors of the samples' gradients, which the backward that measures has: no further pass. Where samples
    /// are coupled the weighted gradient is not the sum of shares, and costs one more backward.
    fn weighted(&mut self, loss: BatchLoss, weigh: Weigh) -> Result<Gradient> {
        if !self.checked {
            uncounted(|| self.norms(loss))?;
        }
        let found = msharp_ops::sample_gradients(&named(loss.params), loss.batch.len(), || loss.losses())
            .map_err(unmeasurable("Ghost", ADVICE))?;
        let all = loss.gathered(&Tensor::new(found.norms(), loss.params.device())?)?;
        let (weights, mut measures) = weigh(&all.values)?;
        let weights = all.own(&weights)?;
        let grads = if found.coupled {
            measures.insert("coupled", Tensor::ones((), DType::F64, loss.params.device())?);
            loss.backward(&found.losses, Some(&weights))?
        } else {
            let sums = found.weighted(&weights.to_dtype(DType::F64)?.to_vec1::<f64>()?)?;
            let shaped = loss.params.iter().zip(sums).map(|(param, sum)| sum.reshape(param.var.shape()));
            loss.sum_over_ranks(ParamVec::new(loss.params, shaped.collect::<Result<_>>()?))?
        };
        Ok(Gradient { losses: Some(found.losses.detach()), grads, measures, weights: Some(weights) })
    }

    fn cost(&self, _: usize) -> Cost {
        Cost::passes(1.)
    }

    fn cost_of_weighted(&self, _: usize) -> Cost {
        Cost::passes(1.)
    }
}

/// What to do where ghost norms are not the norms.
const ADVICE: &str = "Ghost does not hold for these losses; take Exact or FiniteDifference";

/// Parameters by name, as the functions of ops take them.
fn named(params: &Params) -> Vec<(&str, &Tensor)> {
    params.iter().map(|param| (param.name.as_str(), param.var.as_tensor())).collect()
}

/// Losses, and norms of the parts of their gradients with respect to `of`, some or all of the parameters. Where
/// `checked` is false, two samples are compared with their own gradients.
pub(crate) fn measure(loss: BatchLoss, of: &Params, checked: &mut bool) -> Result<Estimate> {
    let found = msharp_ops::ghost_norms(&named(of), || loss.losses())?; // [b]
    if !*checked {
        check(&found, of, loss.batch.key)?;
        *checked = true;
    }
    let mut measures = Measures::new();
    if found.coupled {
        measures.insert("coupled", Tensor::ones((), DType::F64, of.device())?);
    }
    Ok(Estimate { losses: found.losses, norms: found.norms, measures })
}

/// Two samples, parameter by parameter.
fn check(found: &GhostNorms, params: &Params, key: Key) -> Result<()> {
    let squares = found.squares.to_vec2::<f64>()?; // [p, b]
    for (sample, gradient) in two_gradients(&found.losses, &found.norms, params, key)? {
        let of_all = gradient.norm()?;
        for (k, (param, exact)) in params.iter().zip(gradient.tensors()).enumerate() {
            if found.uncoupled[k] {
                let exact = msharp_ops::sum_of_squares(&[exact])?.to_scalar::<f64>()?.sqrt();
                compare(&format!("parameter {:?}", param.name), sample, squares[k][sample].sqrt(), exact, of_all)?;
            }
        }
    }
    Ok(())
}

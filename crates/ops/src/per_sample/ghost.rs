//! The norm of every sample's gradient from one backward pass over the whole batch: ghost norms.
//!
//! The gradient of a parameter is a sum over samples. The backward of an op has the factors of each term: its input and
//! the gradient of its result, sample by sample. It can compute the norms of the terms instead of their sum, at the
//! cost of the sum or less (Goodfellow 2015, <https://arxiv.org/abs/1510.01799>; Li et al. 2022,
//! <https://arxiv.org/abs/2110.05679>, whose Gram matrices `cpu::conv::squares` uses). How an op takes part is in
//! `per_sample::recorder`.

use super::recorder::{Record, Recorder, Scope};
use crate::dispatch::on_device;
use candle_core::{Result, Tensor, bail};

/// What [`ghost_norms`] returns.
#[derive(Clone, Debug)]
pub struct GhostNorms {
    /// `[b]`: the losses, their graph still open. Further backward passes through it give ordinary gradients.
    pub losses: Tensor,
    /// f64 `[b]`, on the device of the losses: the norm of each sample's share of the gradient over all parameters.
    pub norms: Tensor,
    /// f64 `[p, b]`, likewise: the square of the same for each parameter alone.
    pub squares: Tensor,
    /// Whether an op normalised over the batch: then a share is not the gradient of a sample's own loss.
    pub coupled: bool,
    /// `[p]`: whether each parameter is used after every op that normalised over the batch, so that a sample's share of
    /// it should be its own gradient even so.
    pub uncoupled: Vec<bool>,
}

/// Runs `losses`, which yields one loss ℓᵢ for each sample, `[b]`, and returns with them the norm of each sample's
/// *share* of ∇Σⱼℓⱼ: the part that reaches the parameters through the activations of sample i.
///
/// It costs 1 forward, and 1 backward that computes squared norms of the terms of `params` and no gradient of any
/// variable that is a parameter of our ops, in the list or not; about as much as an ordinary backward if the list has
/// all parameters, and less if it has few. The gradients of activations are computed as ever, also before the first op
/// of the list. So the norms of the affine parameters of normalisation layers alone, which predict those of all
/// parameters (Gray et al. 2024, <https://arxiv.org/abs/2411.00999>), cost a backward without any weight's gradient.
///
/// The shares add up to the whole gradient. Where nothing but the parameters connects the samples, a share is ∇ℓᵢ.
/// Under batch normalisation in training mode it is not ([`GhostNorms::coupled`]): share i then is the gradient of Σⱼℓⱼ
/// with respect to a copy of the parameters that only sample i uses, and because of the shared statistics it has a part
/// of every ℓⱼ and lacks the parts of ∇ℓᵢ that flow through other samples. Another coupling (a contrastive loss) has
/// the same effect and is not detected, and neither is an op whose rows are not samples but as many: compare a sample
/// with its own gradient.
///
/// `params` are variables by name, each used once, by an op of this crate whose activations have the samples in their
/// first dimension. On a GPU nothing is read back.
///
/// # Errors
/// A parameter is used by an op that does not take part (candle's own), by two ops (the norm of a sum is not the sum of
/// norms), or by none; the first dimension of an op is not `b`.
pub fn ghost_norms(params: &[(&str, &Tensor)], losses: impl FnOnce() -> Result<Tensor>) -> Result<GhostNorms> {
    if params.is_empty() {
        bail!("ghost_norms: there are no parameters; expected at least one")
    }
    let recorder = Recorder::new("ghost_norms", params, Scope::Norms)?;
    let Record { losses, terms, coupled, uncoupled } = recorder.record(params, losses, Tensor::sum_all)?;
    let squares: Vec<Tensor> = terms.into_iter().map(|terms| terms.squares).collect();
    let squares = Tensor::stack(&squares, 0)?;
    let norms = on_device!(&squares, norms_of_columns(&squares))?;
    Ok(GhostNorms { norms, squares, losses, coupled, uncoupled })
}

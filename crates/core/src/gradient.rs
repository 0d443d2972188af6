//! What a rule hands to the optimizer, and how a gradient is taken: the one place that moves the weights.

use crate::{Batch, Key, Objective, ParamVec, Params};
use candle_core::{DType, Result, Tensor, bail};
use msharp_ops::{Length, Saved};
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
}

/// ∇ₓ of the mean of `losses`, or of Σ wᵢ ℓᵢ where `weights`, `[b]`, are given. One backward pass.
///
/// # Errors
/// Names a parameter that received no gradient.
pub fn backward(losses: &Tensor, weights: Option<&Tensor>, params: &Params) -> Result<ParamVec> {
    if losses.rank() != 1 {
        bail!("an objective yields one loss for each sample, [b], and this one yielded {:?}", losses.dims())
    }
    if losses.elem_count() == 0 {
        bail!("the batch is empty (losses [0]); expected at least one sample")
    }
    let weights = weights.map(|weights| weights.to_dtype(DType::F64)).transpose()?;
    ParamVec::collect(params, &msharp_ops::weighted_sum(losses, weights.as_ref())?.backward()?)
}

/// ∇ Σ wᵢ ℓᵢ at x + ε, and the losses there: the primitive under every rule.
///
/// Without weights wᵢ = 1/b; without an offset ε = 0. With an offset, parameters and buffers are afterwards what they
/// were, bit for bit, also on an error or a panic; without one, norm layers update their running statistics as in any
/// training step. One forward and one backward pass, in pieces where the objective [limits](Objective::most) them.
pub fn gradient_at(
    f: &dyn Objective,
    params: &Params,
    batch: &Batch,
    offset: Option<&ParamVec>,
    weights: Option<&Tensor>,
) -> Result<Gradient> {
    match offset {
        None => gradient_here(f, params, batch, weights),
        Some(offset) => displaced(params, offset, Statistics::PutBack, || gradient_here(f, params, batch, weights)),
    }
}

/// As [`gradient_at`], in the only pass that a rule makes over the batch: norm layers update their running statistics.
pub fn only_gradient_at(
    f: &dyn Objective,
    params: &Params,
    batch: &Batch,
    offset: &ParamVec,
    weights: Option<&Tensor>,
) -> Result<Gradient> {
    displaced(params, offset, Statistics::Keep, || gradient_here(f, params, batch, weights))
}

/// As [`gradient_at`], in one piece, with weights that are a function of the losses at x + ε; and these losses.
pub(crate) fn weighed_gradient_at(
    f: &dyn Objective,
    params: &Params,
    batch: &Batch,
    offset: &ParamVec,
    weigh: impl FnOnce(&Tensor) -> Result<Tensor>,
) -> Result<(Tensor, ParamVec)> {
    displaced(params, offset, Statistics::PutBack, || {
        let losses = losses_of(f, batch)?;
        let grads = backward(&losses, Some(&weigh(&losses.detach())?), params)?;
        Ok((losses.detach(), grads))
    })
}

fn gradient_here(f: &dyn Objective, params: &Params, batch: &Batch, weights: Option<&Tensor>) -> Result<Gradient> {
    let (mut all, mut sum) = (Vec::new(), None);
    if let Some(weights) = weights.filter(|weights| weights.dims() != [batch.len()]) {
        bail!("weights {:?} for {} samples; expected one for each, [b]", weights.dims(), batch.len())
    }
    let pieces = f.pieces(batch)?;
    let mut start = 0;
    for piece in &pieces {
        let losses = losses_of(f, piece)?;
        all.push(losses.detach());
        let weights = weights.map(|weights| weights.narrow(0, start, piece.len())).transpose()?;
        let grads = backward(&losses, weights.as_ref(), params)?;
        if pieces.len() == 1 {
            sum = Some(grads);
        } else {
            let share = if weights.is_some() { 1. } else { piece.len() as f64 / batch.len() as f64 };
            ParamVec::accumulate(&mut sum, share, &grads)?;
        }
        start += piece.len();
    }
    let Some(grads) = sum else { bail!("an objective that cuts a batch into no pieces has no gradient") };
    Ok(Gradient { losses: Some(one(all)?), grads, measures: Measures::new() })
}

/// ℓᵢ at the parameters as they are, `[b]`, in training mode, with the graph that leads to them: one forward pass,
/// which moves running statistics.
///
/// # Errors
/// If the batch is empty, or the objective does not yield one loss for each of its samples.
pub fn losses_of(f: &dyn Objective, batch: &Batch) -> Result<Tensor> {
    batch.check()?;
    let losses = f.losses(batch, true)?;
    if losses.dims() != [batch.len()] {
        bail!(
            "an objective yields one loss for each sample, [{}], and this one yielded {:?}",
            batch.len(),
            losses.dims()
        )
    }
    Ok(losses)
}

fn one(mut pieces: Vec<Tensor>) -> Result<Tensor> {
    if pieces.len() == 1 { Ok(pieces.swap_remove(0)) } else { Tensor::cat(&pieces, 0) }
}

/// ℓᵢ(x + ε), `[b]`, without a graph: probes. One forward pass; everything is put back.
pub fn losses_at(f: &dyn Objective, params: &Params, batch: &Batch, offset: &ParamVec) -> Result<Tensor> {
    displaced(params, offset, Statistics::PutBack, || clean_losses(f, batch))
}

/// ℓᵢ(x + δz), `[b]`, without a graph, for the signs z = [`ParamVec::rademacher`] of `key`; and δ, f64 `[]`, which
/// makes δz as long as is said. One forward pass; everything is put back, and z is nowhere in the memory of a GPU.
pub fn losses_at_signs(
    f: &dyn Objective,
    params: &Params,
    batch: &Batch,
    key: Key,
    length: Length,
) -> Result<(Tensor, Tensor)> {
    let mut before = Before::of_buffers(params)?;
    let seeds: Vec<[u8; 32]> = params.iter().map(|param| key.fold_name(&param.name).rng().get_seed()).collect();
    let (saved, delta) = msharp_ops::displace_by_signs(&params.each(), &seeds, length)?;
    before.0.push(saved);
    let losses = clean_losses(f, batch)?;
    before.put_back()?;
    Ok((losses, delta))
}

fn clean_losses(f: &dyn Objective, batch: &Batch) -> Result<Tensor> {
    let losses = |piece: &Batch| Ok(losses_of(f, piece)?.detach());
    msharp_ops::no_grad(|| one(f.pieces(batch)?.iter().map(losses).collect::<Result<_>>()?))
}

/// Runs `evaluate` and puts the buffers back: training-mode passes that must not move running statistics.
pub fn keeping_buffers<T>(params: &Params, evaluate: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = Before::of_buffers(params)?;
    let value = evaluate()?;
    before.put_back()?;
    Ok(value)
}

/// Runs `evaluate` at x + ε. A displaced forward and its backward must both happen inside it: candle reads the values
/// of variables during the backward pass.
fn displaced<T>(
    params: &Params,
    offset: &ParamVec,
    statistics: Statistics,
    evaluate: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let mut before = Before::of_buffers(params)?;
    before.0.push(msharp_ops::displace(&params.each(), 1., &offset.each())?);
    let value = evaluate()?;
    if statistics == Statistics::Keep {
        drop(before.0.remove(0)); // that of the buffers
    }
    before.put_back()?;
    Ok(value)
}

/// What becomes of running statistics that moved in a displaced pass which succeeded.
#[derive(Clone, Copy, PartialEq)]
enum Statistics {
    PutBack,
    Keep,
}

/// What variables were, put back when this is dropped: on success, on an error, and while a panic unwinds. The last
/// that was changed comes first, so that what was changed twice ends as it began.
struct Before(Vec<Saved>);

impl Before {
    fn of_buffers(params: &Params) -> Result<Self> {
        let buffers: Vec<&Tensor> = params.buffers().iter().map(|(_, var)| var.as_tensor()).collect();
        Ok(Self(vec![msharp_ops::save(&buffers)?]))
    }

    fn put_back(mut self) -> Result<()> {
        std::mem::take(&mut self.0).into_iter().rev().try_for_each(Saved::put_back)
    }
}

impl Drop for Before {
    fn drop(&mut self) {
        // The storages were the variables' own, so this cannot fail; a destructor has nowhere to report to.
        for saved in self.0.drain(..).rev() {
            let _ = saved.put_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    fn problem() -> Result<(Params, Batch)> {
        let x = Var::new(&[0.1f32, -3.7, 1e-9], &Device::Cpu)?;
        let mean = Var::new(&[0.25f32], &Device::Cpu)?;
        let params = Params::new([("x".to_owned(), x), ("running_mean".to_owned(), mean)])?;
        let inputs = Tensor::new(&[[1f32, 2., 3.], [0., 1., 0.]], &Device::Cpu)?;
        Ok((params, Batch::new(inputs.clone(), inputs, Key::new(0))))
    }

    /// ½⟨aᵢ, x⟩², and a buffer that moves with every forward pass, as running statistics do.
    fn losses(params: &Params, batch: &Batch) -> Result<Tensor> {
        let x = &params.iter().next().unwrap().var;
        let mean = &params.buffers()[0].1;
        mean.set(&(mean.as_detached_tensor() + 1.)?)?;
        batch.inputs.broadcast_mul(x)?.sum(1)?.sqr()?.affine(0.5, 0.)
    }

    fn bits(params: &Params) -> Vec<u32> {
        let all = params.tensors();
        all.values().flat_map(|t| t.to_vec1::<f32>().unwrap()).map(f32::to_bits).collect()
    }

    #[test]
    fn gradient_is_that_of_the_weighted_mean_at_the_displaced_point() -> Result<()> {
        let (params, batch) = problem()?;
        let f = |batch: &Batch, _: bool| losses(&params, batch);
        let before = bits(&params);
        let offset = ParamVec::new(&params, vec![Tensor::new(&[1f32, 1., 1.], &Device::Cpu)?]);
        let weights = Tensor::new(&[0.75f32, 0.25], &Device::Cpu)?;
        let found = gradient_at(&f, &params, &batch, Some(&offset), Some(&weights))?;
        let (x, mut expected) = ([1.1, -2.7, 1.], [0f64; 3]);
        for (a, w) in [([1., 2., 3.], 0.75), ([0., 1., 0.], 0.25)] {
            let product: f64 = (0..3).map(|j| a[j] * x[j]).sum();
            (0..3).for_each(|j| expected[j] += w * product * a[j]);
        }
        for (found, expected) in found.grads.to_vec()?.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5, "{found} for {expected}");
        }
        assert_eq!(bits(&params), before, "x + ε − ε is not x in floating point, so it must be put back from a copy");
        Ok(())
    }

    #[test]
    fn everything_is_put_back_after_an_error_and_after_a_panic() -> Result<()> {
        let (params, batch) = problem()?;
        let before = bits(&params);
        let offset = ParamVec::rademacher(&params, Key::new(1))?;
        let fails = |batch: &Batch, _: bool| -> Result<Tensor> {
            losses(&params, batch)?;
            bail!("no")
        };
        assert!(gradient_at(&fails, &params, &batch, Some(&offset), None).is_err());
        assert_eq!(bits(&params), before);
        let panics = |batch: &Batch, _: bool| -> Result<Tensor> {
            losses(&params, batch)?;
            panic!("no")
        };
        let attempt = std::panic::AssertUnwindSafe(|| losses_at(&panics, &params, &batch, &offset));
        assert!(std::panic::catch_unwind(attempt).is_err());
        assert_eq!(bits(&params), before);
        Ok(())
    }

    #[test]
    fn every_pass_wants_samples_and_a_loss_for_each() -> Result<()> {
        let (params, batch) = problem()?;
        let f = |batch: &Batch, _: bool| losses(&params, batch);
        let zero = ParamVec::zeros(&params)?;
        let nothing = batch.narrow(0, 0, batch.key)?;
        let says = |found: Result<()>, part: &str| {
            let error = found.unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        };
        says(gradient_at(&f, &params, &nothing, None, None).map(drop), "the batch is empty");
        says(gradient_at(&f, &params, &nothing, Some(&zero), None).map(drop), "the batch is empty");
        says(losses_at(&f, &params, &nothing, &zero).map(drop), "the batch is empty");
        let mean = |batch: &Batch, _: bool| losses(&params, batch)?.mean_keepdim(0);
        says(gradient_at(&mean, &params, &batch, None, None).map(drop), "[2], and this one yielded [1]");
        says(losses_at(&mean, &params, &batch, &zero).map(drop), "[2], and this one yielded [1]");
        Ok(())
    }

    #[test]
    fn probes_have_no_graph_and_clean_passes_move_the_statistics() -> Result<()> {
        let (params, batch) = problem()?;
        let f = |batch: &Batch, _: bool| losses(&params, batch);
        let probe = losses_at(&f, &params, &batch, &ParamVec::zeros(&params)?)?;
        assert!(!probe.track_op());
        assert_eq!(params.buffers()[0].1.to_vec1::<f32>()?, [0.25]);
        let clean = gradient_at(&f, &params, &batch, None, None)?;
        assert_eq!(clean.losses.map(|l| l.dtype()), Some(DType::F32));
        assert_eq!(params.buffers()[0].1.to_vec1::<f32>()?, [1.25]);
        keeping_buffers(&params, || gradient_at(&f, &params, &batch, None, None))?;
        assert_eq!(params.buffers()[0].1.to_vec1::<f32>()?, [1.25]);
        Ok(())
    }
}

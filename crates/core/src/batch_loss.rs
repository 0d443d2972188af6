//! The loss of a batch as a function of the parameters, and its gradient there and near: the one place that moves the
//! weights.

use crate::{Alone, Batch, Communicator, Error, Gradient, Key, Measures, Objective, ParamVec, Params, Rescale};
use candle_core::{DType, Result, Tensor, bail};
use msharp_ops::Saved;

/// f_γ, the mean loss of a batch γ as a function of the parameters; and ℓᵢ, the loss of each of its samples.
///
/// Every pass of every rule goes through it. A pass at x + ε puts parameters and buffers back, bit for bit, also on an
/// error or a panic; a pass at x updates the running statistics of norm layers as in any training step.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use msharp_core::{Batch, BatchLoss, Key, ParamVec, Seeded};
///
/// let init = Seeded::new(0, DType::F32, &Device::Cpu);
/// let w = init.var_builder().get_with_hints((2, 1), "w", candle_nn::init::ONE)?;
/// let params = init.params()?;
/// let squares = |batch: &Batch, _train: bool| (batch.inputs.matmul(&w)?.squeeze(1)? - &batch.targets)?.sqr();
/// let inputs = Tensor::new(&[[1f32, 0.], [0., 2.]], &Device::Cpu)?;
/// let batch = Batch::new(inputs, Tensor::zeros(2, DType::F32, &Device::Cpu)?, Key::new(0));
///
/// let loss = BatchLoss::new(&squares, &params, &batch);
/// let g = loss.gradient()?.grads;
/// assert_eq!(g.to_vec()?, [1., 4.]); // ∇ ½(w₁² + 4w₂²)
/// assert_eq!(loss.gradient_at(&g)?.grads.to_vec()?, [2., 20.]); // at x + g
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct BatchLoss<'a> {
    /// ℓᵢ as a function of the batch.
    pub objective: &'a dyn Objective,
    /// x.
    pub params: &'a Params,
    /// γ, or this rank's part of it.
    pub batch: &'a Batch,
    /// The processes that have a part of γ each: gradients are those of all parts. [`Alone`] by default.
    pub ranks: &'a dyn Communicator,
}

impl<'a> BatchLoss<'a> {
    /// The loss of `batch`.
    pub fn new(objective: &'a dyn Objective, params: &'a Params, batch: &'a Batch) -> Self {
        Self { objective, params, batch, ranks: &Alone }
    }

    /// The loss of another batch.
    pub fn of<'b>(self, batch: &'b Batch) -> BatchLoss<'b>
    where
        'a: 'b,
    {
        BatchLoss { batch, ..self }
    }

    /// ∇f_γ(x), and the losses there. One forward and one backward pass, in pieces where the objective
    /// [limits](Objective::max_samples) them.
    ///
    /// # Errors
    /// If the batch is empty, the losses are not one for each sample, or a parameter receives no gradient.
    pub fn gradient(&self) -> Result<Gradient> {
        self.gradient_here(None)
    }

    /// ∇ Σ wᵢ ℓᵢ(x) for `weights` `[b]`. As [`gradient`](Self::gradient).
    pub fn weighted_gradient(&self, weights: &Tensor) -> Result<Gradient> {
        self.gradient_here(Some(weights))
    }

    /// ∇f_γ(x + ε), and the losses there. As [`gradient`](Self::gradient).
    pub fn gradient_at(&self, offset: &ParamVec) -> Result<Gradient> {
        self.gradient_of_pass(offset, None, Statistics::PutBack)
    }

    /// ∇ Σ wᵢ ℓᵢ(x + ε) for `weights` `[b]`. As [`gradient`](Self::gradient).
    pub fn weighted_gradient_at(&self, offset: &ParamVec, weights: &Tensor) -> Result<Gradient> {
        self.gradient_of_pass(offset, Some(weights), Statistics::PutBack)
    }

    /// As [`gradient_at`](Self::gradient_at), with or without weights.
    pub(crate) fn gradient_of_pass(
        &self,
        offset: &ParamVec,
        weights: Option<&Tensor>,
        statistics: Statistics,
    ) -> Result<Gradient> {
        displaced(self.params, offset, statistics, || self.gradient_here(weights))
    }

    /// ∇f_γ(x + ε) where that is the only pass that a rule makes over the batch: norm layers update their running
    /// statistics there. Else as [`gradient_at`](Self::gradient_at).
    pub fn only_gradient_at(&self, offset: &ParamVec) -> Result<Gradient> {
        self.gradient_of_pass(offset, None, Statistics::Keep)
    }

    /// As [`gradient_at`](Self::gradient_at), in one piece, with weights that are a function of the losses at x + ε, of
    /// all ranks; and the losses of this one.
    pub(crate) fn weighed_gradient_at(
        &self,
        offset: &ParamVec,
        weigh: impl FnOnce(&Tensor) -> Result<Tensor>,
    ) -> Result<(Tensor, ParamVec)> {
        displaced(self.params, offset, Statistics::PutBack, || {
            let losses = self.losses()?;
            let all = self.gathered(&losses.detach())?;
            let grads = self.backward(&losses, Some(&all.own(&weigh(&all.values)?)?))?;
            Ok((losses.detach(), grads))
        })
    }

    fn gradient_here(&self, weights: Option<&Tensor>) -> Result<Gradient> {
        let (mut all, mut sum, b) = (Vec::new(), None, self.batch.len());
        if let Some(weights) = weights.filter(|weights| weights.dims() != [b]) {
            bail!("weights {:?} for {b} samples; expected one for each, [b]", weights.dims())
        }
        let pieces = self.pieces()?;
        let mut start = 0;
        for piece in &pieces {
            let losses = self.of(piece).losses()?;
            all.push(losses.detach());
            let weights = weights.map(|weights| weights.narrow(0, start, piece.len())).transpose()?;
            let grads = self.of(piece).backward_of_rank(&losses, weights.as_ref())?;
            if pieces.len() == 1 {
                sum = Some(grads);
            } else {
                let share = if weights.is_some() { 1. } else { piece.len() as f64 / b as f64 };
                ParamVec::accumulate(&mut sum, share, &grads)?;
            }
            start += piece.len();
        }
        let Some(grads) = sum else { bail!("an objective that cuts a batch into no pieces has no gradient") };
        let grads = if weights.is_some() { self.sum_over_ranks(grads)? } else { self.mean_over_ranks(grads)? };
        Ok(Gradient { losses: Some(one(all)?), grads, measures: Measures::new(), weights: weights.cloned() })
    }

    /// What goes through together: the batch itself, or pieces of it where the objective
    /// [limits](Objective::max_samples) them.
    ///
    /// # Errors
    /// If the batch is empty; if there are several, and batch normalisation is over the samples of all ranks.
    pub fn pieces(&self) -> Result<Vec<Batch>> {
        let pieces = self.objective.pieces(self.batch)?;
        if pieces.len() > 1 && self.syncs_batch_norm() {
            bail!(
                "{} samples of a rank go through in {} pieces, and batch normalisation is over the samples of all ranks; \
                 expected a limit of at least {0} samples, or batch normalisation by each rank",
                self.batch.len(),
                pieces.len()
            )
        }
        Ok(pieces)
    }

    /// ℓᵢ(x), `[b]`, in training mode, with the graph that leads to them. One forward pass, which moves running
    /// statistics.
    ///
    /// # Errors
    /// If the batch is empty, or the objective does not yield one loss for each of its samples.
    pub fn losses(&self) -> Result<Tensor> {
        self.batch.check()?;
        let losses = self.with_batch_statistics(1., || self.objective.losses(self.batch, true))?;
        let b = self.batch.len();
        if losses.dims() != [b] {
            return Err(Error::loss_shape(&losses, Some(b)));
        }
        Ok(losses)
    }

    /// ℓᵢ(x + ε), `[b]`, without a graph: probes. One forward pass; everything is put back.
    pub fn losses_at(&self, offset: &ParamVec) -> Result<Tensor> {
        displaced(self.params, offset, Statistics::PutBack, || self.losses_without_graph())
    }

    /// ℓᵢ(x + δz), `[b]`, without a graph, for the signs z = [`ParamVec::rademacher`] of `key`; and δ, f64 `[]`, which
    /// follows from the `length` of δz. One forward pass; everything is put back. z is drawn where the parameters are
    /// moved, and never stored.
    pub fn losses_at_signs(&self, key: Key, length: Rescale) -> Result<(Tensor, Tensor)> {
        let params = self.params;
        let mut before = Before::of_buffers(params)?;
        let seeds: Vec<[u8; 32]> = params.iter().map(|param| key.fold_name(&param.name).seed()).collect();
        let (saved, delta) = msharp_ops::displace_by_signs(&params.refs(), &seeds, length)?;
        before.0.push(saved);
        let losses = self.losses_without_graph()?;
        before.put_back()?;
        Ok((losses, delta))
    }

    fn losses_without_graph(&self) -> Result<Tensor> {
        let losses = |piece: &Batch| Ok(self.of(piece).losses()?.detach());
        msharp_ops::no_grad(|| one(self.pieces()?.iter().map(losses).collect::<Result<_>>()?))
    }
}

impl BatchLoss<'_> {
    /// ∇f_γ(x) where each micro-batch of `size` samples is computed as if it were alone: batch normalisation takes its
    /// statistics of it, and moves running statistics once for each. One forward and one backward pass of the whole
    /// batch.
    pub fn gradient_in_micro_batches(&self, size: usize) -> Result<Gradient> {
        msharp_ops::in_micro_batches(size, || self.gradient_here(None))
    }
}

impl Params {
    /// Runs `evaluate` and puts the buffers back: for passes in training mode that must not move running statistics.
    pub fn keeping_buffers<T>(&self, evaluate: impl FnOnce() -> Result<T>) -> Result<T> {
        let before = Before::of_buffers(self)?;
        let value = evaluate()?;
        before.put_back()?;
        Ok(value)
    }
}

/// ∇ₓ of the mean of `losses`, or of Σ wᵢ ℓᵢ where `weights`, `[b]`, are given. One backward pass.
///
/// # Errors
/// Names a parameter that received no gradient.
pub fn backward(losses: &Tensor, weights: Option<&Tensor>, params: &Params) -> Result<ParamVec> {
    if losses.rank() != 1 {
        return Err(Error::loss_shape(losses, None));
    }
    if losses.elem_count() == 0 {
        return Err(Error::EmptyBatch { dims: vec![0] }.into());
    }
    let weights = weights.map(|weights| weights.to_dtype(DType::F64)).transpose()?;
    ParamVec::collect(params, &msharp_ops::backward(&msharp_ops::weighted_sum(losses, weights.as_ref())?)?)
}

fn one(mut pieces: Vec<Tensor>) -> Result<Tensor> {
    if pieces.len() == 1 { Ok(pieces.swap_remove(0)) } else { Tensor::cat(&pieces, 0) }
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
    before.0.push(msharp_ops::displace(&params.refs(), 1., &offset.refs())?);
    let value = evaluate()?;
    if statistics == Statistics::Keep {
        drop(before.0.remove(0)); // that of the buffers
    }
    before.put_back()?;
    Ok(value)
}

/// What becomes of running statistics that moved in a displaced pass which succeeded.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Statistics {
    PutBack,
    /// In the only pass that a rule makes over the batch.
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
        let all = params.named_tensors();
        all.values().flat_map(|t| t.to_vec1::<f32>().unwrap()).map(f32::to_bits).collect()
    }

    #[test]
    fn gradient_is_that_of_the_weighted_mean_at_the_displaced_point() -> Result<()> {
        let (params, batch) = problem()?;
        let f = |batch: &Batch, _: bool| losses(&params, batch);
        let before = bits(&params);
        let offset = ParamVec::new(&params, vec![Tensor::new(&[1f32, 1., 1.], &Device::Cpu)?]);
        let weights = Tensor::new(&[0.75f32, 0.25], &Device::Cpu)?;
        let found = BatchLoss::new(&f, &params, &batch).weighted_gradient_at(&offset, &weights)?;
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
        assert!(BatchLoss::new(&fails, &params, &batch).gradient_at(&offset).is_err());
        assert_eq!(bits(&params), before);
        let panics = |batch: &Batch, _: bool| -> Result<Tensor> {
            losses(&params, batch)?;
            panic!("no")
        };
        let attempt = std::panic::AssertUnwindSafe(|| BatchLoss::new(&panics, &params, &batch).losses_at(&offset));
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
        says(BatchLoss::new(&f, &params, &nothing).gradient().map(drop), "the batch is empty");
        says(BatchLoss::new(&f, &params, &nothing).gradient_at(&zero).map(drop), "the batch is empty");
        says(BatchLoss::new(&f, &params, &nothing).losses_at(&zero).map(drop), "the batch is empty");
        let mean = |batch: &Batch, _: bool| losses(&params, batch)?.mean_keepdim(0);
        says(BatchLoss::new(&mean, &params, &batch).gradient().map(drop), "[2], and this one yielded [1]");
        says(BatchLoss::new(&mean, &params, &batch).losses_at(&zero).map(drop), "[2], and this one yielded [1]");
        Ok(())
    }

    #[test]
    fn probes_have_no_graph_and_clean_passes_move_the_statistics() -> Result<()> {
        let (params, batch) = problem()?;
        let f = |batch: &Batch, _: bool| losses(&params, batch);
        let probe = BatchLoss::new(&f, &params, &batch).losses_at(&ParamVec::zeros(&params)?)?;
        assert!(!probe.track_op());
        assert_eq!(params.buffers()[0].1.to_vec1::<f32>()?, [0.25]);
        let clean = BatchLoss::new(&f, &params, &batch).gradient()?;
        assert_eq!(clean.losses.map(|l| l.dtype()), Some(DType::F32));
        assert_eq!(params.buffers()[0].1.to_vec1::<f32>()?, [1.25]);
        params.keeping_buffers(|| BatchLoss::new(&f, &params, &batch).gradient())?;
        assert_eq!(params.buffers()[0].1.to_vec1::<f32>()?, [1.25]);
        Ok(())
    }
}

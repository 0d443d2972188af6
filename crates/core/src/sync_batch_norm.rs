//! Batch normalisation over the samples of all ranks.

use crate::{BatchLoss, Communicator, ParamVec, backward};
use candle_core::{Result, Tensor, bail};

/// Ranks on which batch normalisation takes its statistics over the samples of all of them: n ranks compute what one
/// process computes on the whole batch, up to rounding, forward and backward.
///
/// Each layer of c channels gathers 2c + 1 numbers of every rank in a forward pass, and 2c in a backward pass. Running
/// statistics are the same on all ranks. Evaluation sends nothing.
///
/// It is for gradients of all ranks, at x and at x + ε, and for passes without a gradient. In the micro-batches of a
/// rank, which is [alone](BatchLoss::alone) there, each micro-batch is normalised by itself.
///
/// # Errors
/// A pass fails where the objective [limits](crate::Objective::max_samples) it to fewer samples than this rank has,
/// and where an estimator takes the gradients of single samples.
#[derive(Clone, Copy, Debug)]
pub struct SyncBatchNorm<C>(pub C);

impl<C: Communicator> Communicator for SyncBatchNorm<C> {
    fn rank(&self) -> usize {
        self.0.rank()
    }

    fn size(&self) -> usize {
        self.0.size()
    }

    fn sum(&self, local: ParamVec) -> Result<ParamVec> {
        self.0.sum(local)
    }

    fn mean(&self, local: ParamVec, weight: f64) -> Result<ParamVec> {
        self.0.mean(local, weight)
    }

    fn gather(&self, mine: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.0.gather(mine)
    }

    fn syncs_batch_norm(&self) -> bool {
        true
    }
}

impl BatchLoss<'_> {
    /// Whether this is a part of a batch that is normalised as a whole.
    pub(crate) fn syncs_batch_norm(&self) -> bool {
        self.ranks.syncs_batch_norm() && self.ranks.size() > 1
    }

    /// [`backward`] of this rank's losses alone.
    pub(crate) fn backward_of_rank(&self, losses: &Tensor, weights: Option<&Tensor>) -> Result<ParamVec> {
        // A mean over the samples of a rank has its share, b of B, in the mean over all.
        let share = if weights.is_some() { 1. } else { self.batch.len() as f64 };
        self.with_batch_statistics(share, || backward(losses, weights, self.params))
    }

    /// Runs a pass of this rank, a forward or a backward. The loss of a backward has the weight `share` in the loss of
    /// all, relative to the shares of the other ranks; a forward has the share 1.
    pub(crate) fn with_batch_statistics<R>(&self, share: f64, pass: impl FnOnce() -> Result<R>) -> Result<R> {
        if !self.syncs_batch_norm() {
            return pass();
        }
        let gather = |mine: &[f64]| {
            let bytes: Vec<u8> = [share].iter().chain(mine).flat_map(|number| number.to_le_bytes()).collect();
            let in_units_of_this_rank = |of_rank: Vec<u8>| {
                let (numbers, _) = of_rank.as_chunks::<8>();
                let numbers: Vec<f64> = numbers.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
                let Some((other, numbers)) = numbers.split_first() else { bail!("a rank sent no batch statistics") };
                Ok(numbers.iter().map(|number| number * (other / share)).collect())
            };
            self.ranks.gather(&bytes)?.into_iter().map(in_units_of_this_rank).collect()
        };
        msharp_ops::batch_statistics_over(&gather, pass)
    }
}

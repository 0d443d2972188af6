//! The processes that train one network together, as rules and trainers see them.

use crate::{Batch, BatchLoss, ParamVec, Part, to_safetensors};
use candle_core::{DType, Device, Result, Tensor, bail};
use std::collections::BTreeMap;
use std::ops::Range;

/// Processes, called ranks, that hold the same weights and have a part of every batch each.
///
/// Each method is collective: all ranks call it, in the same order. Its result is the same on every rank, to the bit,
/// and in every run with the same number of ranks. [`Alone`] is one process; msharp-dist has several.
pub trait Communicator {
    /// Which one this is, from 0.
    fn rank(&self) -> usize;

    /// How many there are.
    fn size(&self) -> usize;

    /// Σᵣ gᵣ for the `local` vector gᵣ of each rank r.
    fn sum(&self, local: ParamVec) -> Result<ParamVec>;

    /// Σᵣ wᵣgᵣ / Σᵣ wᵣ for the `local` vector gᵣ of each rank r and its `weight`, the number of its samples.
    fn mean(&self, local: ParamVec, weight: f64) -> Result<ParamVec>;

    /// The bytes of each rank, in the order of the ranks. They may differ in length; it is for small things.
    fn gather(&self, mine: &[u8]) -> Result<Vec<Vec<u8>>>;

    /// The bytes of rank 0; what the others give is not sent.
    fn broadcast(&self, mine: &[u8]) -> Result<Vec<u8>> {
        let sent = if self.rank() == 0 { mine } else { &[] };
        Ok(self.gather(sent)?.swap_remove(0))
    }

    /// Returns when every rank has called it.
    fn barrier(&self) -> Result<()> {
        self.gather(&[]).map(drop)
    }

    /// Whether `flag` is true on any rank.
    fn any(&self, flag: bool) -> Result<bool> {
        Ok(self.gather(&[u8::from(flag)])?.iter().any(|flag| flag == &[1]))
    }

    /// Whether batch normalisation takes its statistics over the samples of all ranks, as
    /// [`SyncBatchNorm`](crate::SyncBatchNorm) does; by default over those of each.
    fn syncs_batch_norm(&self) -> bool {
        false
    }

    /// What this rank has of a batch.
    fn share(&self) -> Share {
        Share { rank: self.rank(), of: self.size() }
    }
}

impl<C: Communicator + ?Sized> Communicator for &C {
    fn rank(&self) -> usize {
        (**self).rank()
    }

    fn size(&self) -> usize {
        (**self).size()
    }

    fn sum(&self, local: ParamVec) -> Result<ParamVec> {
        (**self).sum(local)
    }

    fn mean(&self, local: ParamVec, weight: f64) -> Result<ParamVec> {
        (**self).mean(local, weight)
    }

    fn gather(&self, mine: &[u8]) -> Result<Vec<Vec<u8>>> {
        (**self).gather(mine)
    }

    fn syncs_batch_norm(&self) -> bool {
        (**self).syncs_batch_norm()
    }
}

/// One process: nothing is sent, and a mean is what it is the mean of, to the bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alone;

impl Communicator for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn sum(&self, local: ParamVec) -> Result<ParamVec> {
        Ok(local)
    }

    fn mean(&self, local: ParamVec, _: f64) -> Result<ParamVec> {
        Ok(local)
    }

    fn gather(&self, mine: &[u8]) -> Result<Vec<Vec<u8>>> {
        Ok(vec![mine.to_vec()])
    }
}

/// What one of several ranks has of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Which rank, from 0.
    pub rank: usize,
    /// How many ranks there are.
    pub of: usize,
}

impl Share {
    /// All of it.
    pub const WHOLE: Self = Self { rank: 0, of: 1 };

    /// Which of `samples` samples these are: ⌈samples / ranks⌉ each, in the order of the ranks, and fewer or none for
    /// the last ones.
    pub fn range(self, samples: usize) -> Range<usize> {
        let each = samples.div_ceil(self.of);
        let end = |rank: usize| rank.saturating_mul(each).min(samples);
        end(self.rank)..end(self.rank + 1)
    }
}

/// Numbers of the samples of all ranks, and which of them are this rank's.
#[derive(Clone, Debug)]
pub struct Gathered {
    /// `[B]`, in the order of the ranks.
    pub values: Tensor,
    own: Range<usize>,
}

impl Gathered {
    /// The entries of `values`, `[B]`, of this rank's samples, `[b]`.
    pub fn own(&self, values: &Tensor) -> Result<Tensor> {
        values.narrow(0, self.own.start, self.own.len())
    }
}

impl<'a> BatchLoss<'a> {
    /// The same, of a batch of which each of `ranks` has a part.
    pub fn over(self, ranks: &'a dyn Communicator) -> Self {
        Self { ranks, ..self }
    }

    /// The loss of this rank's samples alone.
    pub fn alone(self) -> Self {
        self.over(&Alone)
    }

    /// The mean of what each rank computed on its samples, weighted by their number.
    pub fn mean_over_ranks(&self, local: ParamVec) -> Result<ParamVec> {
        self.ranks.mean(local, self.batch.len() as f64)
    }

    /// The sum of what each rank computed on its samples.
    pub fn sum_over_ranks(&self, local: ParamVec) -> Result<ParamVec> {
        self.ranks.sum(local)
    }

    /// As [`backward`](crate::backward), of this rank's `losses` `[b]`, and over all ranks: the gradient of the mean
    /// loss, or of Σ wᵢ ℓᵢ where this rank's `weights` `[b]` are given.
    pub fn backward(&self, losses: &Tensor, weights: Option<&Tensor>) -> Result<ParamVec> {
        let local = self.backward_of_rank(losses, weights)?;
        if weights.is_some() { self.sum_over_ranks(local) } else { self.mean_over_ranks(local) }
    }

    /// The batch of which each rank has a part, on every rank: inputs and targets of all are sent to all.
    pub fn whole_batch(&self) -> Result<Batch> {
        if self.ranks.size() == 1 {
            return Ok(self.batch.clone());
        }
        let own = [("inputs", &self.batch.inputs), ("targets", &self.batch.targets)];
        let own = own.into_iter().map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect();
        let (mut inputs, mut targets) = (Vec::new(), Vec::new());
        for (rank, bytes) in self.ranks.gather(&to_safetensors(&own, &BTreeMap::new())?)?.iter().enumerate() {
            let mut part = candle_core::safetensors::load_buffer(bytes, self.batch.inputs.device())?;
            for (name, parts) in [("inputs", &mut inputs), ("targets", &mut targets)] {
                let Some(tensor) = part.remove(name) else { bail!("rank {rank} sent no {name} of its batch") };
                parts.push(tensor);
            }
        }
        let part = Part { before: 0, after: 0, ..self.batch.part };
        Ok(Batch { inputs: Tensor::cat(&inputs, 0)?, targets: Tensor::cat(&targets, 0)?, part, ..*self.batch })
    }

    /// Numbers `[b]` of this rank's samples beside those of all others; a host-device synchronisation on a GPU where
    /// there are others.
    pub fn gathered(&self, values: &Tensor) -> Result<Gathered> {
        let b = values.elem_count();
        if self.ranks.size() == 1 {
            return Ok(Gathered { values: values.clone(), own: 0..b });
        }
        let (device, dtype) = (values.device(), values.dtype());
        let own = values.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
        let bytes: Vec<u8> = own.iter().flat_map(|value| value.to_le_bytes()).collect();
        let (mut all, mut start) = (Vec::new(), 0);
        for (rank, bytes) in self.ranks.gather(&bytes)?.iter().enumerate() {
            start = if rank == self.ranks.rank() { all.len() } else { start };
            let (numbers, rest) = bytes.as_chunks::<8>();
            if !rest.is_empty() {
                bail!("rank {rank} sent {} bytes; expected numbers of 8", bytes.len())
            }
            all.extend(numbers.iter().map(|bytes| f64::from_le_bytes(*bytes)));
        }
        let count = all.len();
        let values = Tensor::from_vec(all, count, &Device::Cpu)?.to_dtype(dtype)?.to_device(device)?;
        Ok(Gathered { values, own: start..start + b })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_all_samples_in_order_and_no_rank_has_more_than_the_first() {
        for (samples, ranks) in [(8, 2), (7, 3), (2, 4), (0, 2), (5, 1), (9, 4)] {
            let shares: Vec<Range<usize>> = (0..ranks).map(|rank| Share { rank, of: ranks }.range(samples)).collect();
            assert_eq!(shares.iter().cloned().flatten().collect::<Vec<_>>(), (0..samples).collect::<Vec<_>>());
            assert!(shares.iter().all(|share| share.len() <= shares[0].len()));
        }
        assert_eq!(Share { rank: 1, of: 3 }.range(7), 3..6);
    }
}

//! Micro-batches: m-SAM, and the m-variant of every other rule.

use candle_core::{Result, Tensor};
use msharp_core::{BatchLoss, Component, Cost, Gradient, Measures, ParamVec, Params, Perturbation, at_least_1, parts};
use std::collections::BTreeMap;

/// The mean over micro-batches of `size` samples of what `inner` computes on each, weighted by their length.
///
/// Each micro-batch has its own perturbation *and* its own descent gradient. A last micro-batch that is shorter counts
/// for less; a batch no longer than `size` is handed to `inner` as it is.
///
/// Cost: that of `inner`, in b/m smaller pieces, one after another. State: `inner` sees the micro-batches as b/m
/// successive batches, so a moving average in it moves b/m times a step; what counts steps, as every k-th one, counts
/// optimizer steps. Under batch normalisation each micro-batch is
/// its own normalisation batch, and running statistics move b/m times: compare rules on models without it.
///
/// With several [ranks](msharp_core::Communicator) each cuts its own part of the batch and perturbs on its own: the
/// step has one mean over ranks, that of the result. Where m divides the samples of a rank, the micro-batches are those
/// of one process, also under their keys. State of `inner`, but for counts of steps, is then another one on each rank.
///
/// Reference: m-SAM (Foret et al., ICLR 2021, §4.1; Luo et al., NeurIPS 2025).
#[derive(Clone, Debug)]
pub struct Micro<P> {
    /// The rule on one micro-batch.
    pub inner: P,
    /// m ≥ 1, in samples.
    pub size: usize,
}

impl<P: Perturbation> Component for Micro<P> {
    parts!(inner);

    fn own_check(&self, _: &Params) -> Result<()> {
        at_least_1("the size of a micro-batch", self.size)
    }
}

impl<P: Perturbation> Perturbation for Micro<P> {
    fn gradient(&mut self, loss: BatchLoss) -> Result<Gradient> {
        at_least_1("the size of a micro-batch", self.size)?;
        let chunks = loss.batch.chunks(self.size)?;
        if let ([whole], 1) = (chunks.as_slice(), loss.ranks.size()) {
            return self.inner.gradient(loss.of(whole));
        }
        let (mut sum, mut losses) = (None, Vec::new());
        let mut measures: BTreeMap<&str, (Tensor, f64)> = BTreeMap::new();
        for chunk in &chunks {
            let share = chunk.len() as f64 / loss.batch.len() as f64;
            let part = self.inner.gradient(loss.of(chunk).alone())?;
            ParamVec::accumulate(&mut sum, share, &part.grads)?;
            losses.extend(part.losses);
            for (name, value) in part.measures {
                let part = (value * share)?;
                let sum = match measures.get(name) {
                    Some((sum, shares)) => ((sum + part)?, shares + share),
                    None => (part, share),
                };
                measures.insert(name, sum);
            }
        }
        // The mean over the micro-batches that have it.
        let measures = measures.into_iter().map(|(name, (sum, shares))| Ok((name, (sum / shares)?)));
        let measures = measures.collect::<Result<Measures>>()?;
        let Some(grads) = sum else { candle_core::bail!("no micro-batch has a gradient") };
        let losses = (losses.len() == chunks.len()).then(|| Tensor::cat(&losses, 0)).transpose()?;
        Ok(Gradient { losses, grads: loss.mean_over_ranks(grads)?, measures })
    }

    /// That of `inner` on a micro-batch: b/m of them are a batch.
    fn cost(&self, samples: usize) -> Cost {
        self.inner.cost(samples.min(self.size))
    }
}

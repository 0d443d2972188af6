//! The gradient of the whole training set: n-SAM and n-USAM.

use candle_core::{Result, bail};
use msharp_core::{Ascent, BatchLoss, Component, Cost, DataSource, Gradient, Measures, ParamVec, Params};

/// g = ∇f(x) over all samples of `data`, whatever the batch.
///
/// Cost: a forward and a backward pass over the whole set *in every step*; it exists to show that the benefit of m-SAM
/// is not that of a better perturbation. There is no clean pass over the batch itself, so no loss is reported. Running
/// statistics move with the passes over the set; under batch normalisation each batch of `data` is its own
/// normalisation batch. With several ranks each makes these passes.
///
/// Reference: n-SAM, n-USAM (Luo et al., NeurIPS 2025, §3).
#[derive(Clone, Debug)]
pub struct FullBatch<D> {
    /// The set; its epoch 0 is taken.
    pub data: D,
}

impl<D: DataSource> Component for FullBatch<D> {
    fn own_check(&self, _: &Params) -> Result<()> {
        match self.data.samples() {
            0 => bail!("the full-batch ascent was given a data source without samples"),
            _ => Ok(()),
        }
    }
}

impl<D: DataSource> Ascent for FullBatch<D> {
    type Uphill = Gradient;

    fn ascend(&mut self, loss: BatchLoss) -> Result<Gradient> {
        let n = self.data.samples() as f64;
        let (mut sum, mut seen) = (None, 0);
        for batch in self.data.epoch(0) {
            let batch = batch?;
            let share = batch.len() as f64 / n;
            seen += batch.len();
            let grads = loss.of(&batch).alone().gradient()?.grads;
            ParamVec::accumulate(&mut sum, share, &grads)?;
        }
        if seen != self.data.samples() {
            bail!("the full-batch ascent saw {seen} samples of a data source that promised {}", self.data.samples())
        }
        match sum {
            Some(grads) => Ok(Gradient { losses: None, grads, measures: Measures::new(), weights: None }),
            None => bail!("the full-batch ascent was given a data source without batches"),
        }
    }

    fn cost(&self, samples: usize) -> Cost {
        Cost::passes(self.data.samples() as f64 / samples as f64)
    }
}

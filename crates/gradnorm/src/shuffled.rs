//! A control: the norms of another estimator, given to the wrong samples.

use candle_core::{Result, Tensor};
use msharp_core::{BatchLoss, Component, Cost, Estimate, GradNormEstimator, parts};
use rand::seq::SliceRandom;

/// sᵢ = s̃_π(i) for the norms s̃ of `inner` and a permutation π of the batch, uniform over all and a pure function of
/// the batch's key.
///
/// The weights that are made of them are the same b numbers, so that m_eff is that of `inner`, but which sample has
/// which does not depend on its gradient: what a rule gains over this control is due to which sample has
/// which gradient norm.
///
/// **Bias, variance.** As estimates of ‖∇ℓᵢ‖ they are none: their mean over π is the batch's mean norm, whatever i is.
/// **Cost, state, errors.** Those of `inner`. **Randomness.** π, and what `inner` draws.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Shuffled<E> {
    /// Whose norms they are.
    pub inner: E,
}

impl<E: GradNormEstimator> Component for Shuffled<E> {
    parts!(inner);
}

impl<E: GradNormEstimator> GradNormEstimator for Shuffled<E> {
    fn estimate(&mut self, loss: BatchLoss) -> Result<Estimate> {
        let (estimate, batch) = (self.inner.estimate(loss)?, loss.batch);
        let mut order: Vec<u32> = (0..batch.len() as u32).collect();
        order.shuffle(&mut batch.key.fold_name("shuffled norms").rng());
        let order = Tensor::from_vec(order, batch.len(), estimate.norms.device())?;
        Ok(Estimate { norms: estimate.norms.index_select(&order, 0)?, ..estimate })
    }

    /// In another order they are the same norms.
    fn is_of_whole_gradients(&self) -> bool {
        self.inner.is_of_whole_gradients()
    }

    fn cost(&self, samples: usize) -> Cost {
        self.inner.cost(samples)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Exact;
    use candle_core::{DType, Device};
    use msharp_core::{Batch, Key, Seeded};

    /// ℓᵢ = i w, so that the norm of sample i is i.
    #[test]
    fn every_norm_is_there_once_in_an_order_of_the_keys() -> Result<()> {
        let init = Seeded::new(0, DType::F32, &Device::Cpu);
        let w = init.var_builder().get_with_hints(1, "w", candle_nn::init::ONE)?;
        let params = init.params()?;
        let loss = |batch: &Batch, _: bool| batch.inputs.broadcast_mul(&w);
        let inputs = Tensor::arange(0f32, 8., &Device::Cpu)?;
        let estimate = |key: Key| {
            let batch = Batch::new(inputs.clone(), inputs.clone(), key);
            let Estimate { norms, losses, .. } =
                Shuffled { inner: Exact }.estimate(BatchLoss::new(&loss, &params, &batch))?;
            Ok::<_, candle_core::Error>((norms.to_vec1::<f64>()?, losses.to_vec1::<f32>()?))
        };
        let mut firsts = Vec::new();
        for seed in 0..400 {
            let (norms, losses) = estimate(Key::new(seed))?;
            let mut sorted = norms.clone();
            sorted.sort_by(f64::total_cmp);
            assert_eq!(sorted, [0., 1., 2., 3., 4., 5., 6., 7.]);
            assert_eq!(losses, [0., 1., 2., 3., 4., 5., 6., 7.], "the losses stay with their samples");
            firsts.push(norms[0]);
        }
        assert_eq!(estimate(Key::new(5))?.0[0], firsts[5]);
        // each of 8 in 50 of 400, with a standard deviation of √(400·⅛·⅞) = 6.6
        let count = |norm: f64| firsts.iter().filter(|first| **first == norm).count();
        assert!((0..8).all(|norm| (24..=76).contains(&count(norm as f64))), "{firsts:?}");
        Ok(())
    }
}

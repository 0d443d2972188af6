//! A control: uninformative norms.

use candle_core::{Result, Tensor};
use msharp_core::{BatchLoss, Component, Estimate, GradNormEstimator, Measures};
use rand::RngExt;
use rand_distr::StandardNormal;

/// sᵢ = |zᵢ| with zᵢ ~ N(0, 1), independent of each other and of the data, a pure function of the batch's key.
///
/// That is how one finite-difference probe is distributed where all gradients are equally long, so that weights made of
/// them at a given m_eff scatter as RW-SAM's do: what a rule gains over this control it gains by measuring.
///
/// **Bias, variance.** As estimates of ‖∇ℓᵢ‖ they are none, and their scale is that of no gradient: use a temperature
/// that is relative, or an effective size. **Cost.** 1 forward, that of the ascent; nothing is added. No state.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RandomNorms;

impl Component for RandomNorms {}

impl GradNormEstimator for RandomNorms {
    fn estimate(&mut self, loss: BatchLoss) -> Result<Estimate> {
        let batch = loss.batch;
        let mut rng = batch.key.fold_name("random norms").rng();
        let norm = |_| rng.sample::<f64, _>(StandardNormal).abs();
        let norms: Vec<f64> = (0..batch.len()).map(norm).collect();
        let losses = loss.losses()?; // [b]
        Ok(Estimate {
            norms: Tensor::from_vec(norms, batch.len(), loss.params.device())?,
            losses,
            measures: Measures::new(),
        })
    }

    fn is_of_whole_gradients(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};
    use msharp_core::{Batch, Key, Seeded, Temperature, effective_size, gibbs};

    #[test]
    fn they_depend_on_the_key_alone_and_are_half_normal() -> Result<()> {
        let init = Seeded::new(0, DType::F32, &Device::Cpu);
        let w = init.var_builder().get_with_hints(1, "w", candle_nn::init::ONE)?;
        let params = init.params()?;
        let loss = |batch: &Batch, _: bool| batch.inputs.broadcast_mul(&w);
        let norms = |value: f32, key: Key| -> Result<Vec<f64>> {
            let inputs = Tensor::full(value, 2000, &Device::Cpu)?;
            RandomNorms.norms(BatchLoss::new(&loss, &params, &Batch::new(inputs.clone(), inputs, key)))?.to_vec1()
        };
        let found = norms(1., Key::new(0))?;
        assert_eq!(found, norms(7., Key::new(0))?);
        assert_ne!(found, norms(1., Key::new(1))?);
        // E|z| = √(2/π) = 0.798 with a standard error of 0.603/√2000 = 0.013; E z² = 1 with one of √(2/2000) = 0.032
        let mean = found.iter().sum::<f64>() / 2000.;
        let square = found.iter().map(|norm| norm * norm).sum::<f64>() / 2000.;
        assert!((mean - 0.798).abs() < 0.054 && (square - 1.).abs() < 0.13, "{mean}, {square}");
        let m_eff = effective_size(&gibbs(&found[..64], Temperature::EffectiveSize(16.)));
        assert!((m_eff - 16.).abs() < 1e-6, "{m_eff}");
        Ok(())
    }
}

//! The noise of the gradient, measured at an interval while a run goes on.

use crate::build;
use crate::config::RunConfig;
use candle_core::Result;
use msharp_core::{BatchLoss, GradNormEstimator};
use msharp_gradnorm::{Histogram, Noise};
use msharp_train::Tally;
use std::collections::BTreeMap;

/// Measures `noise_trace` (tr V, unbiased), `noise_squared_gradient` (‖∇L‖², unbiased, which can be below 0),
/// `noise_without_gradient` (1 where it is not above 0, else 0), `noise_mean_norm` (‖∇L‖ of the batch), the quantiles
/// `noise_q05` to `noise_q95` of the norms of the samples' gradients, and the shares of samples `noise_octave_…` whose
/// norm lies so many octaves from the mean norm, all of the batch that the step is about to see.
///
/// The current batch is taken, not a fixed one: it is what the rule's own m_eff and quantiles are of, and it costs no
/// memory.
pub struct NoiseMeter {
    every: usize,
    samples: Option<usize>,
    /// Its own: a rule's must not learn from what is only watched.
    estimator: Box<dyn GradNormEstimator>,
}

const QUANTILES: [(&str, f64); 5] =
    [("noise_q05", 0.05), ("noise_q25", 0.25), ("noise_q50", 0.5), ("noise_q75", 0.75), ("noise_q95", 0.95)];

/// The counts of a [`Histogram`], named by the octave that they begin at.
const OCTAVES: [&str; 10] = [
    "noise_octave_-5",
    "noise_octave_-4",
    "noise_octave_-3",
    "noise_octave_-2",
    "noise_octave_-1",
    "noise_octave_0",
    "noise_octave_1",
    "noise_octave_2",
    "noise_octave_3",
    "noise_octave_4",
];

impl NoiseMeter {
    /// As configured.
    pub fn of(config: &RunConfig) -> Self {
        let estimator = build::estimator(config.measuring.noise_estimator, config);
        Self { every: config.measuring.noise_every, samples: config.measuring.noise_samples, estimator }
    }

    /// What there is to say before step `step` of a run; nothing if it is not its turn.
    pub fn measure(&mut self, loss: BatchLoss, step: usize) -> Result<BTreeMap<&'static str, f64>> {
        let batch = loss.batch;
        if self.every == 0 || !step.is_multiple_of(self.every) {
            return Ok(BTreeMap::new());
        }
        let samples = self.samples.unwrap_or(batch.len()).min(batch.len());
        let noise = Noise::measure(&mut *self.estimator, loss.of(&batch.narrow(0, samples, batch.key)?))?;
        let Histogram { counts } = noise.histogram();
        let mut all = BTreeMap::from([
            ("noise_trace", noise.trace()),
            ("noise_squared_gradient", noise.squared_gradient()),
            ("noise_without_gradient", f64::from(u8::from(noise.squared_gradient() <= 0.))),
            ("noise_mean_norm", noise.mean_norm),
        ]);
        let quantiles = noise.quantiles(QUANTILES.map(|(_, q)| q));
        all.extend(QUANTILES.into_iter().map(|(name, _)| name).zip(quantiles));
        all.extend(OCTAVES.into_iter().zip(counts.map(|count| count as f64 / samples as f64)));
        Ok(all)
    }
}

/// The means of what was measured over the steps of a tally, and what follows from means alone: `noise_scale`, the
/// ratio of the means of `noise_trace` and `noise_squared_gradient`, which is no mean of ratios and is absent where the
/// gradient cannot be distinguished from 0 in all these steps together; `noise_steps`, in how many steps that was
/// measured.
pub fn means(tally: &Tally) -> BTreeMap<String, f64> {
    let mut means = tally.measures();
    if let (Some(trace), Some(square)) = (means.get("noise_trace"), means.get("noise_squared_gradient")) {
        let (scale, steps) = (trace / square, tally.measure_sums["noise_trace"].steps as f64);
        if *square > 0. && scale.is_finite() {
            means.insert("noise_scale".to_owned(), scale);
        }
        means.insert("noise_steps".to_owned(), steps);
    }
    means
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DataName;
    use crate::experiments::standard;
    use candle_core::{Device, Tensor, Var};
    use msharp_core::{Batch, Key, Params};
    use msharp_models::{Architecture, Norm};

    #[test]
    fn it_measures_at_its_interval_and_says_all_of_it() {
        let base = standard(Architecture::ResNet8, Norm::Batch, DataName::Synthetic);
        let mut watch =
            NoiseMeter::of(&base.with(|c| (c.measuring.noise_every, c.measuring.noise_samples) = (3, Some(3))));
        let x = Var::new(&[1f32, 2.], &Device::Cpu).unwrap();
        let params = Params::new([("x".to_owned(), x.clone())]).unwrap();
        let f = |batch: &Batch, _: bool| batch.inputs.broadcast_mul(x.as_tensor())?.sum(1);
        // gradients (1, 0), (3, 0), (2, 3), and one that is not among the samples
        let inputs = Tensor::new(&[[1f32, 0.], [3., 0.], [2., 3.], [9., 9.]], &Device::Cpu).unwrap();
        let batch = Batch::new(inputs.clone(), inputs, Key::new(0));
        assert!(watch.measure(BatchLoss::new(&f, &params, &batch), 1).unwrap().is_empty());
        let all = watch.measure(BatchLoss::new(&f, &params, &batch), 3).unwrap();
        assert!((all["noise_trace"] - 4.).abs() < 1e-6 && (all["noise_mean_norm"] - 5f64.sqrt()).abs() < 1e-6);
        assert!((all["noise_squared_gradient"] - (5. - 4. / 3.)).abs() < 1e-6);
        assert_eq!(all["noise_without_gradient"], 0.);
        assert_eq!((all["noise_q05"], all["noise_q50"]), (1., 3.));
        assert_eq!((all["noise_octave_-2"], all["noise_octave_0"]), (1. / 3., 2. / 3.));
    }

    /// (tr V, ‖∇L‖²) = (4, 1), (4, −1), (1, 3): pooled 9/3; the mean of the ratios that are finite would be 2.17.
    #[test]
    fn a_noise_scale_is_pooled_and_steps_are_counted() {
        let tally = |values: &[(f64, f64)]| {
            let mut tally = Tally::default();
            for (trace, square) in values {
                for (name, value) in [("noise_trace", trace), ("noise_squared_gradient", square)] {
                    let sum = tally.measure_sums.entry(name.to_owned()).or_default();
                    (sum.sum, sum.steps) = (sum.sum + value, sum.steps + 1);
                }
            }
            means(&tally)
        };
        let found = tally(&[(4., 1.), (4., -1.), (1., 3.)]);
        assert_eq!((found["noise_scale"], found["noise_steps"]), (3., 3.));
        let unseen = tally(&[(4., 1.), (4., -2.)]);
        assert!(!unseen.contains_key("noise_scale") && unseen["noise_steps"] == 2.);
        assert!(tally(&[]).is_empty());
    }
}

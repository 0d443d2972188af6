//! The learning rate as a function of the step.

use candle_core::{Result, bail};
use msharp_core::{Batches, DataSource, Range, TrainingPoint};
use serde::{Deserialize, Serialize};

/// The learning rate of each step: linear warm-up to the base rate, then a decay.
///
/// In a loop of your own, [`epoch`](Schedule::epoch) yields the batches with their points in the run, of which rules
/// with a schedule and the optimizer need the learning rate:
///
/// ```
/// # use candle_core::{DType, Device, Tensor};
/// # use msharp_core::{Batch, BatchLoss, Batches, DataSource, Key, Optimizer, Perturbation, Seeded};
/// # use msharp_train::{Schedule, Sgd};
/// # struct One;
/// # impl DataSource for One {
/// #     fn steps(&self) -> usize { 1 }
/// #     fn samples(&self) -> usize { 1 }
/// #     fn epoch_from(&self, _: usize, step: usize) -> Batches<'_> {
/// #         let x = || Tensor::ones(1, DType::F32, &Device::Cpu);
/// #         Box::new((step..1).map(move |_| Ok(Batch::new(x()?, x()?, Key::new(0)))))
/// #     }
/// # }
/// # struct Plain;
/// # impl msharp_core::Component for Plain {}
/// # impl Perturbation for Plain {
/// #     fn gradient(&mut self, loss: BatchLoss) -> candle_core::Result<msharp_core::Gradient> { loss.gradient() }
/// # }
/// # let (data, mut rule, mut sgd) = (One, Plain, Sgd::default());
/// # let init = Seeded::new(0, DType::F32, &Device::Cpu);
/// # let w = init.var_builder().get(1, "w")?;
/// # let params = init.params()?;
/// # let f = |batch: &Batch, _train: bool| (batch.inputs.broadcast_mul(&w)? - &batch.targets)?.sqr();
/// let schedule = Schedule::cosine(0.1);
/// let epochs = 30;
/// for epoch in 0..epochs {
///     for batch in schedule.epoch(&data, epoch, epochs) {
///         let batch = batch?;
///         let step = rule.gradient(BatchLoss::new(&f, &params, &batch))?;
///         sgd.step(&params, &step.grads, batch.training_point()?.lr)?;
///     }
/// }
/// # assert!((w.to_vec1::<f32>()?[0] - 1.).abs() < 0.1);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// The base learning rate.
    pub lr: f64,
    /// The share of all steps over which the rate rises linearly from (nearly) 0.
    pub warm_up: f64,
    /// What follows.
    pub decay: Decay,
}

/// How the rate falls after the warm-up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decay {
    /// Not at all.
    Constant,
    /// ½(1 + cos πt) for t from 0 at the end of the warm-up to 1 at the end of the run.
    Cosine,
    /// Multiplied by `factor` at each of the given shares of the run.
    Step {
        /// Shares of all steps, in (0, 1).
        at: Vec<f64>,
        /// What each of them multiplies with.
        factor: f64,
    },
}

impl Schedule {
    /// Cosine without warm-up: the paper's, and a good default. The rate moves every step and not every epoch.
    pub fn cosine(lr: f64) -> Self {
        Self { lr, warm_up: 0., decay: Decay::Cosine }
    }

    /// The base rate in every step.
    pub fn constant(lr: f64) -> Self {
        Self { lr, warm_up: 0., decay: Decay::Constant }
    }

    /// The point of step `step` (from 0) of `total` in the run: its progress and its learning rate.
    ///
    /// # Panics
    /// If the run has no such step, or the schedule is none ([`check`](Schedule::check)).
    #[track_caller]
    pub fn at(&self, step: usize, total: usize) -> TrainingPoint {
        assert!(step < total, "step {step} (from 0) of a run of {total} steps");
        if let Err(error) = self.check() {
            panic!("{error}")
        }
        let lr_factor = self.factor(step, total);
        TrainingPoint { progress: step as f64 / total as f64, lr: self.lr * lr_factor, lr_factor }
    }

    /// The batches of epoch `epoch` of `epochs`, each at its point in the run.
    pub fn epoch<'a>(&'a self, data: &'a dyn DataSource, epoch: usize, epochs: usize) -> Batches<'a> {
        self.epoch_from(data, epoch, 0, epochs)
    }

    /// As [`epoch`](Schedule::epoch), from step `step` of the epoch on.
    pub fn epoch_from<'a>(&'a self, data: &'a dyn DataSource, epoch: usize, step: usize, epochs: usize) -> Batches<'a> {
        let steps = data.steps();
        let batches = data.epoch_from(epoch, step).zip(step..);
        Box::new(batches.map(move |(batch, step)| Ok(batch?.at(self.at(epoch * steps + step, epochs * steps)))))
    }

    /// # Errors
    /// If the learning rate is below 0, the warm-up is not a share from 0 to below 1, a step is at no share between 0
    /// and 1, or its factor is not above 0.
    pub fn check(&self) -> Result<()> {
        Range::AT_LEAST_0.check("the learning rate", self.lr)?;
        Range::BELOW_1.check("the share of the warm-up", self.warm_up)?;
        if let Decay::Step { at, factor } = &self.decay {
            if let Some(share) = at.iter().find(|share| !(Range::BELOW_1.holds(**share) && **share > 0.)) {
                bail!("a step of the schedule is at the share {share} of the run; expected one between 0 and 1")
            }
            Range::ABOVE_0.check("the factor of a step of the schedule", *factor)?;
        }
        Ok(())
    }

    /// The factor on the base rate for step `step` (from 0) of `total`.
    pub fn factor(&self, step: usize, total: usize) -> f64 {
        let (step, total) = (step as f64, total.max(1) as f64);
        // A share of the run is begun where step/total reaches it: 0.07 · 100 rounds to more than 7, 7/100 is 0.07.
        let share_done = step / total;
        let rising = self.warm_up * total;
        if share_done < self.warm_up {
            return (step + 1.) / (rising + 1.);
        }
        match &self.decay {
            Decay::Constant => 1.,
            Decay::Cosine => 0.5 * (1. + (std::f64::consts::PI * (step - rising) / (total - rising)).cos()),
            Decay::Step { at, factor } => factor.powi(at.iter().filter(|&&share| share_done >= share).count() as i32),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosine_falls_from_1_to_almost_0() {
        let factors: Vec<f64> = (0..100).map(|k| Schedule::cosine(0.1).factor(k, 100)).collect();
        assert_eq!(factors[0], 1.);
        assert!((factors[50] - 0.5).abs() < 1e-12);
        assert!(factors.windows(2).all(|w| w[1] < w[0]) && factors[99] > 0. && factors[99] < 1e-3);
    }

    #[test]
    fn warm_up_rises_and_meets_the_decay() {
        let schedule = Schedule { lr: 0.1, warm_up: 0.1, decay: Decay::Constant };
        assert!((schedule.factor(0, 100) - 1. / 11.).abs() < 1e-12);
        assert!((schedule.factor(9, 100) - 10. / 11.).abs() < 1e-12);
        assert_eq!(schedule.factor(10, 100), 1.);
    }

    #[test]
    fn a_share_of_the_run_begins_with_its_step() {
        for total in [10, 20, 50, 100, 200] {
            for k in 1..total {
                let at = k as f64 / total as f64;
                let step = Schedule { lr: 0.1, warm_up: 0., decay: Decay::Step { at: vec![at], factor: 0.1 } };
                assert_eq!((step.factor(k - 1, total), step.factor(k, total)), (1., 0.1), "{at} of {total}");
                let warm_up = Schedule { lr: 0.1, warm_up: at, decay: Decay::Constant };
                assert!(warm_up.factor(k - 1, total) < 1. && warm_up.factor(k, total) == 1., "{at} of {total}");
            }
        }
        let written = Schedule { lr: 0.1, warm_up: 0., decay: Decay::Step { at: vec![0.07], factor: 0.1 } };
        assert_eq!((written.factor(6, 100), written.factor(7, 100)), (1., 0.1));
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        let step =
            |at: f64, factor: f64| Schedule { lr: 0.1, warm_up: 0., decay: Decay::Step { at: vec![at], factor } };
        for wrong in [
            Schedule { warm_up: 1., ..Schedule::cosine(0.1) },
            Schedule { warm_up: f64::NAN, ..Schedule::cosine(0.1) },
            Schedule::constant(-0.1),
            Schedule::constant(f64::NAN),
            step(0., 0.1),
            step(1., 0.1),
            step(f64::NAN, 0.1),
            step(0.5, -1.),
            step(0.5, f64::NAN),
        ] {
            assert!(wrong.check().unwrap_err().to_string().contains("expected"), "{wrong:?}");
        }
        Schedule { warm_up: 0.1, ..step(0.5, 0.1) }.check().unwrap();
    }

    #[test]
    fn steps_multiply() {
        let schedule = Schedule { lr: 0.1, warm_up: 0., decay: Decay::Step { at: vec![0.5, 0.75], factor: 0.1 } };
        let found = [0, 49, 50, 75].map(|k| schedule.factor(k, 100));
        for (found, expected) in found.iter().zip([1., 1., 0.1, 0.01]) {
            assert!((found - expected).abs() < 1e-15);
        }
    }
}

//! The learning rate as a function of the step.

use candle_core::{Result, bail};
use msharp_core::Range;
use serde::{Deserialize, Serialize};

/// A factor on the base learning rate: linear warm-up, then a decay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
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
    pub fn cosine() -> Self {
        Self { warm_up: 0., decay: Decay::Cosine }
    }

    /// # Errors
    /// If the warm-up is not a share from 0 to below 1, a step is at no share between 0 and 1, or its factor is not
    /// above 0.
    pub fn check(&self) -> Result<()> {
        Range::BELOW_1.check("the share of the warm-up", self.warm_up)?;
        if let Decay::Step { at, factor } = &self.decay {
            if let Some(share) = at.iter().find(|share| !(Range::BELOW_1.holds(**share) && **share > 0.)) {
                bail!("a step of the schedule is at the share {share} of the run; expected one between 0 and 1")
            }
            Range::ABOVE_0.check("the factor of a step of the schedule", *factor)?;
        }
        Ok(())
    }

    /// The factor for step `step` (from 0) of `total`.
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
        let factors: Vec<f64> = (0..100).map(|k| Schedule::cosine().factor(k, 100)).collect();
        assert_eq!(factors[0], 1.);
        assert!((factors[50] - 0.5).abs() < 1e-12);
        assert!(factors.windows(2).all(|w| w[1] < w[0]) && factors[99] > 0. && factors[99] < 1e-3);
    }

    #[test]
    fn warm_up_rises_and_meets_the_decay() {
        let schedule = Schedule { warm_up: 0.1, decay: Decay::Constant };
        assert!((schedule.factor(0, 100) - 1. / 11.).abs() < 1e-12);
        assert!((schedule.factor(9, 100) - 10. / 11.).abs() < 1e-12);
        assert_eq!(schedule.factor(10, 100), 1.);
    }

    #[test]
    fn a_share_of_the_run_begins_with_its_step() {
        for total in [10, 20, 50, 100, 200] {
            for k in 1..total {
                let at = k as f64 / total as f64;
                let step = Schedule { warm_up: 0., decay: Decay::Step { at: vec![at], factor: 0.1 } };
                assert_eq!((step.factor(k - 1, total), step.factor(k, total)), (1., 0.1), "{at} of {total}");
                let warm_up = Schedule { warm_up: at, decay: Decay::Constant };
                assert!(warm_up.factor(k - 1, total) < 1. && warm_up.factor(k, total) == 1., "{at} of {total}");
            }
        }
        let written = Schedule { warm_up: 0., decay: Decay::Step { at: vec![0.07], factor: 0.1 } };
        assert_eq!((written.factor(6, 100), written.factor(7, 100)), (1., 0.1));
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        let step = |at: f64, factor: f64| Schedule { warm_up: 0., decay: Decay::Step { at: vec![at], factor } };
        for wrong in [
            Schedule { warm_up: 1., ..Schedule::cosine() },
            Schedule { warm_up: f64::NAN, ..Schedule::cosine() },
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
        let schedule = Schedule { warm_up: 0., decay: Decay::Step { at: vec![0.5, 0.75], factor: 0.1 } };
        let found = [0, 49, 50, 75].map(|k| schedule.factor(k, 100));
        for (found, expected) in found.iter().zip([1., 1., 0.1, 0.01]) {
            assert!((found - expected).abs() < 1e-15);
        }
    }
}

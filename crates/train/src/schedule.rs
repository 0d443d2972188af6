//! The learning rate as a function of the step.

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

    /// The factor for step `step` (from 0) of `total`.
    pub fn factor(&self, step: usize, total: usize) -> f64 {
        let (step, total) = (step as f64, total.max(1) as f64);
        let rising = self.warm_up * total;
        if step < rising {
            return (step + 1.) / (rising + 1.);
        }
        match &self.decay {
            Decay::Constant => 1.,
            Decay::Cosine => 0.5 * (1. + (std::f64::consts::PI * (step - rising) / (total - rising)).cos()),
            Decay::Step { at, factor } => factor.powi(at.iter().filter(|&&share| step >= share * total).count() as i32),
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
    fn steps_multiply() {
        let schedule = Schedule { warm_up: 0., decay: Decay::Step { at: vec![0.5, 0.75], factor: 0.1 } };
        let found = [0, 49, 50, 75].map(|k| schedule.factor(k, 100));
        for (found, expected) in found.iter().zip([1., 1., 0.1, 0.01]) {
            assert!((found - expected).abs() < 1e-15);
        }
    }
}

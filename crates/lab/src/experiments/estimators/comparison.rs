//! What a row holds: one network in one state of training, and every estimator on it.

use super::figures::Mean;
use crate::row::Content;
use anyhow::{Context, Result};
use msharp_core::Range;
use msharp_models::Architecture;
use serde::{Deserialize, Serialize};

/// What decides which numbers come out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    pub model: String,
    pub norm: String,
    pub data: String,
    /// `init`, `early` or `late`.
    pub state: String,
    /// Steps of training until then.
    pub steps: usize,
    /// Images that it trains on.
    pub images: usize,
    /// Samples in a batch, of training and of measuring.
    pub batch: usize,
    /// Batches that are measured.
    pub batches: usize,
    /// Draws of the probes on each.
    pub draws: usize,
}

impl Setting {
    /// As a table calls it.
    pub fn label(&self) -> String {
        format!("{}, {}", self.network(), self.state)
    }

    /// The network alone.
    pub fn network(&self) -> String {
        match self.model.parse::<Architecture>() {
            Ok(model) if !model.has_choice_of_norm() => self.model.clone(),
            _ => format!("{} ({})", self.model, self.norm),
        }
    }
}

/// One cell of the comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// What decided the numbers.
    pub setting: Setting,
    /// Trainable scalars.
    pub parameters: usize,
    /// ‖x‖.
    pub length: f64,
    /// The mean loss of the measured batches.
    pub loss: f64,
    /// The 0.1-, 0.5- and 0.9-quantile of the exact norms.
    pub norms: [f64; 3],
    /// tr V, and tr V/‖∇L‖² where the gradient can be told from 0; means over the batches.
    pub trace: f64,
    /// See `trace`.
    pub noise_scale: Option<f64>,
    /// m_eff of the exact norms at a relative λ = 1.
    pub m_eff: f64,
    /// A forward without a graph, in milliseconds.
    pub forward_ms: f64,
    /// The cosine between the plain mean gradient and the exactly weighted one at m_eff = b/4.
    pub plain: Mean,
    /// Every estimator, the exact norms first.
    pub estimators: Vec<Entry>,
    /// One probe at every step.
    pub sweep: Vec<Point>,
    /// Seconds of measuring, and of training since the state before.
    pub seconds: [f64; 2],
}

/// One estimator. Without a mean it was refused each time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub name: String,
    /// K, where there are probes.
    pub probes: Option<usize>,
    /// Estimates that ended in an error.
    pub refused: usize,
    /// The time of an estimate in forwards without a graph.
    pub forwards: f64,
    pub figures: Option<Figures>,
}

/// Means over batches and draws.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Rank correlation with the exact norms.
    pub spearman: Mean,
    /// Relative RMS error of the norms, and what is left of it after the best common factor.
    pub error: Mean,
    pub scaled_error: Mean,
    /// Total variation to the exact weights at m_eff = b/4, and at a relative λ = 1.
    pub variation: Mean,
    pub variation_relative: Mean,
    /// m_eff at a relative λ = 1.
    pub m_eff: Mean,
    /// The cosine between g̃ and the exactly weighted one, at m_eff = b/4.
    pub cosine: Mean,
    /// Of g̃ with the same weights shuffled over the batch, and with random weights of the same m_eff.
    pub shuffled: Mean,
    pub random: Mean,
    /// The cosine less each of the three controls, paired.
    pub minus_shuffled: Mean,
    pub minus_random: Mean,
    pub minus_plain: Mean,
    /// ‖δz‖/‖x‖, where there is one.
    pub ratio: Option<f64>,
}

/// One step of the sweep: one Rademacher probe, one-sided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    pub delta: f64,
    /// ‖δz‖/‖x‖.
    pub ratio: f64,
    /// Relative RMS error of the slopes against the exact ⟨z, gᵢ⟩; none if each estimate was refused.
    pub error: Option<Mean>,
    /// What a check measures, without knowing the truth; none where no loss moves.
    pub noise: Option<f64>,
    /// What the check says: `too small`, `too large`, or nothing.
    pub refused: Option<String>,
}

/// Another number of batches or draws replaces a comparison: there is one for each network and state.
impl Content for Comparison {
    fn is_same(&self, other: &Self) -> bool {
        self.setting.label() == other.setting.label()
    }

    /// # Errors
    /// If a length, a loss, a norm or a time is below 0 or not finite.
    fn check(&self) -> Result<()> {
        let named = [("length", self.length), ("loss", self.loss), ("forward_ms", self.forward_ms)];
        let norms = self.norms.map(|norm| ("norms", norm));
        let seconds = self.seconds.map(|seconds| ("seconds", seconds));
        let mut all = named.into_iter().chain(norms).chain(seconds);
        let checked = all.try_for_each(|(name, value)| Range::AT_LEAST_0.check(name, value));
        checked.with_context(|| format!("the row of {}", self.setting.label()))
    }
}

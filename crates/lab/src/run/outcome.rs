//! What came out of one run: complete enough to regenerate every table and figure from.

use crate::config::RunConfig;
use crate::host::Host;
use crate::row::{Content, Row};
use anyhow::{Context, Result, bail, ensure};
use msharp_core::Range;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A run as a row of results.
pub type RunRow = Row<Run>;

/// One run. The envelope's host and revision are those of its last steps, its seconds those of training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Everything that decided what was computed.
    pub config: RunConfig,
    /// How it ended.
    pub outcome: Ending,
    /// What came out.
    pub metrics: Metrics,
    /// After each epoch that was evaluated; where a run starts at the end of another, also before the first.
    pub curve: Vec<EpochLine>,
    /// What it took.
    pub cost: Cost,
    /// Who made the steps before, of a run that was resumed with another program or on another machine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Maker>,
}

/// A program on a machine, and the steps that it made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Maker {
    /// The program.
    pub revision: String,
    /// The machine.
    pub host: Host,
    /// Steps.
    pub steps: usize,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// All epochs are done.
    Finished,
    /// Something was not finite in this step (both from 0).
    Diverged {
        /// Its epoch.
        epoch: usize,
        /// Its place in the epoch.
        step: usize,
        /// What: the loss, the gradient, or a parameter or buffer by name; rows from before it was known have none.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        what: String,
    },
}

impl Ending {
    /// `the loss was not finite in epoch 3, step 2 (both from 0)`, of a run that diverged.
    pub fn fault(&self) -> Option<String> {
        let Ending::Diverged { epoch, step, what } = self else { return None };
        let what = if what.is_empty() { "the loss" } else { what };
        Some(format!("{what} was not finite in epoch {epoch}, step {step} (both from 0)"))
    }
}

/// What came out; of a run that diverged, nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Share of test images classified rightly after the last epoch.
    pub test_accuracy: Option<f64>,
    /// Mean cross-entropy on the test images after the last epoch.
    pub test_loss: Option<f64>,
    /// Mean training loss over the last epoch's batches, at x, in training mode.
    pub train_loss: Option<f64>,
    /// What was measured, means over the steps in which it was and was finite. By the rule: `m_eff`, `norm_q10`,
    /// `norm_q50`, `norm_q90`, `probe_ratio`, `probe_rounding`, `probe_noise`; with `--noise-every`, `noise_…` as
    /// [`NoiseMeter`](crate::run::noise::NoiseMeter) says.
    pub measures: BTreeMap<String, f64>,
    /// In how many steps a measure was not finite, where it was in any.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub not_finite: BTreeMap<String, usize>,
    /// Pictures that could not be read and were left out (`--skip-broken`), of those that were met since the program
    /// was started last.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: usize,
    /// Trainable scalars.
    pub parameters: usize,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// A point of the curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochLine {
    /// Complete epochs.
    pub epoch: usize,
    /// Mean training loss over the epoch, if the rule makes clean passes.
    pub train_loss: Option<f64>,
    /// Mean cross-entropy on the test images; none if it was not finite.
    pub test_loss: Option<f64>,
    /// Share of test images classified rightly.
    pub test_accuracy: f64,
    /// Seconds of training in the epoch.
    pub seconds: f64,
    /// Means of what was measured; at epoch 0, and at the last one where it is asked for, `train_accuracy`, the share
    /// of training images classified rightly;
    /// `test_not_finite`, the number of test images with a logit that is not finite, where there is one.
    pub measures: BTreeMap<String, f64>,
}

/// What a run took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Steps taken.
    pub steps: usize,
    /// Forward passes over the batch in an average step, counted.
    pub forward: f64,
    /// Backward passes over the batch in an average step, counted.
    pub backward: f64,
    /// Training images a second.
    pub images_per_second: f64,
}

impl Run {
    /// The epochs at whose end a run is evaluated, and 0 where it starts at the end of another.
    fn evaluated(&self) -> Vec<usize> {
        let (epochs, evaluate_every) = (self.config.optimisation.epochs, self.config.measuring.evaluate_every);
        let start = self.config.start.after_random_labels.map(|_| 0);
        let due = |epoch: &usize| epoch.is_multiple_of(evaluate_every) || *epoch == epochs;
        start.into_iter().chain((1..=epochs).filter(due)).collect()
    }

    /// # Errors
    /// Names an accuracy that is no share, or a loss, a cost or a time that is below 0 or not finite.
    fn check_numbers(&self) -> Result<()> {
        let Metrics { test_accuracy, test_loss, train_loss, measures, .. } = &self.metrics;
        let Cost { forward, backward, images_per_second, .. } = self.cost;
        check("test_accuracy", Range::SHARE, *test_accuracy)?;
        check("test_loss", Range::AT_LEAST_0, *test_loss)?;
        check("train_loss", Range::AT_LEAST_0, *train_loss)?;
        for (name, value) in [("forward", forward), ("backward", backward), ("images_per_second", images_per_second)] {
            check(name, Range::AT_LEAST_0, Some(value))?;
        }
        check_measures(measures)?;
        for line in &self.curve {
            let of_line = || -> Result<()> {
                check("test_accuracy", Range::SHARE, Some(line.test_accuracy))?;
                check("test_loss", Range::AT_LEAST_0, line.test_loss)?;
                check("train_loss", Range::AT_LEAST_0, line.train_loss)?;
                check("seconds", Range::AT_LEAST_0, Some(line.seconds))?;
                check_measures(&line.measures)
            };
            of_line().with_context(|| format!("its curve at epoch {}", line.epoch))?;
        }
        Ok(())
    }
}

fn check(name: &str, range: Range, value: Option<f64>) -> Result<()> {
    Ok(value.map_or(Ok(()), |value| range.check(name, value))?)
}

/// Accuracies among them are shares; all are finite.
fn check_measures(measures: &BTreeMap<String, f64>) -> Result<()> {
    let range = |name: &str| if name.contains("accuracy") { Range::SHARE } else { Range::FINITE };
    measures.iter().try_for_each(|(name, value)| check(name, range(name), Some(*value)))
}

impl Content for Run {
    fn is_same(&self, other: &Self) -> bool {
        self.config == other.config
    }

    /// # Errors
    /// If a number cannot be, or a run that finished lacks a point of its curve, has one that is not its own, or has no
    /// result: it is no row to make a mean or a picture of.
    fn check(&self) -> Result<()> {
        let named = || format!("the row of {}, seed {}", self.config.rule_label(), self.config.optimisation.seed);
        self.check_numbers().with_context(named)?;
        if self.outcome != Ending::Finished {
            return Ok(());
        }
        let (found, due): (Vec<usize>, _) = (self.curve.iter().map(|line| line.epoch).collect(), self.evaluated());
        if let Some(missing) = due.iter().find(|epoch| !found.contains(epoch)) {
            bail!("{} has no point of its curve at epoch {missing}; expected one at each of {due:?}", named())
        }
        ensure!(found == due, "{} has its curve at the epochs {found:?}; expected {due:?}", named());
        ensure!(self.metrics.test_accuracy.is_some(), "{} has no test accuracy, and its run finished", named());
        Ok(())
    }

    /// A finished run is more than one that is not, a longer curve more than a shorter one.
    fn extent(&self) -> (bool, usize) {
        (self.outcome == Ending::Finished && self.metrics.test_accuracy.is_some(), self.curve.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jsonl;
    use crate::page::table::tests::row;
    use crate::row::{read, record};

    fn with_curve(epochs: &[usize]) -> RunRow {
        let line = |epoch: &usize| EpochLine {
            epoch: *epoch,
            train_loss: None,
            test_loss: None,
            test_accuracy: 0.5,
            seconds: 1.,
            measures: BTreeMap::new(),
        };
        let mut row = row("sam", 0, Some(0.5));
        row.content.config.optimisation.epochs = 3;
        row.content.curve = epochs.iter().map(line).collect();
        row
    }

    #[test]
    fn a_curve_with_a_hole_is_no_row() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        with_curve(&[1, 2, 3]).content.check().unwrap();
        let mut sparse = with_curve(&[2, 3]);
        sparse.content.config.measuring.evaluate_every = 2;
        sparse.content.check().unwrap();
        let mut without = with_curve(&[1, 2, 3]);
        without.content.metrics = Metrics::default();
        for (row, part) in [
            (with_curve(&[1, 3]), "no point of its curve at epoch 2"),
            (with_curve(&[]), "at epoch 1"),
            (with_curve(&[1, 2, 3, 3]), "at the epochs [1, 2, 3, 3]"),
            (without, "no test accuracy"),
        ] {
            let error = row.content.check().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
            jsonl::write(&path, &[row]).unwrap();
            let error = format!("{:#}", read::<Run>(&path).unwrap_err());
            assert!(error.contains("rows.jsonl line 1") && error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_row_with_a_number_that_cannot_be_is_no_row() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        let whole = with_curve(&[1, 2, 3]);
        type Change = fn(&mut RunRow);
        let changes: [(Change, &str); 8] = [
            (|row| row.content.metrics.test_accuracy = Some(1.2), "test_accuracy is 1.2"),
            (|row| row.content.metrics.test_accuracy = Some(-0.1), "test_accuracy is -0.1"),
            (|row| row.content.metrics.test_loss = Some(-1.), "test_loss is -1"),
            (|row| row.content.curve[1].test_accuracy = 2., "epoch 2: test_accuracy is 2"),
            (|row| row.content.curve[1].seconds = -1., "epoch 2: seconds is -1"),
            (|row| row.content.curve[2].measures.extend([("train_accuracy_clean".to_owned(), 7.)]), "clean is 7"),
            (|row| row.content.cost.forward = -1., "forward is -1"),
            (|row| row.seconds = -1., "seconds is -1"),
        ];
        for (change, part) in changes {
            let mut row = whole.clone();
            change(&mut row);
            jsonl::write(&path, &[whole.clone(), row]).unwrap();
            let error = format!("{:#}", read::<Run>(&path).unwrap_err());
            assert!(error.contains("rows.jsonl line 2") && error.contains(part), "{part}: {error}");
        }
        let mut undefined = whole;
        undefined.content.curve[0].test_accuracy = f64::NAN;
        assert!(format!("{:#}", undefined.content.check().unwrap_err()).contains("test_accuracy is NaN"));
    }

    #[test]
    fn a_poorer_row_does_not_replace_a_richer_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        let whole = with_curve(&[1, 2, 3]);
        record(&path, &whole).unwrap();
        let fault = Ending::Diverged { epoch: 1, step: 0, what: "the loss".to_owned() };
        let mut poor = with_curve(&[1]);
        poor.content.outcome = fault.clone();
        assert!(record(&path, &poor).unwrap_err().to_string().contains("fuller row of this run (3 points"));
        assert_eq!(read::<Run>(&path).unwrap(), std::slice::from_ref(&whole));
        let again = Row { revision: "later".to_owned(), ..whole };
        record(&path, &again).unwrap();
        assert_eq!(read::<Run>(&path).unwrap(), [again]);
        assert_eq!(fault.fault().unwrap(), "the loss was not finite in epoch 1, step 0 (both from 0)");
    }
}

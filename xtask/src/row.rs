//! Results as rows: one JSON line for each run, complete enough to regenerate every table and figure from.

use crate::config::RunConfig;
use crate::host::Host;
use crate::rows;
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// `toy`, `cifar10`, or `train` for a run of one's own.
    pub experiment: String,
    /// The preset, if the experiment has any.
    pub preset: String,
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
    /// On what the last steps were made.
    pub host: Host,
    /// With which program.
    pub revision: String,
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
    /// [`Watch`](crate::watch::Watch) says.
    pub measures: BTreeMap<String, f64>,
    /// In how many steps a measure was not finite, where it was in any.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub not_finite: BTreeMap<String, usize>,
    /// Trainable scalars.
    pub parameters: usize,
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
    /// Means of what was measured; at epoch 0 `train_accuracy`, the share of training images classified rightly;
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
    /// Seconds of training, without evaluation.
    pub seconds: f64,
    /// Training images a second.
    pub images_per_second: f64,
}

impl Row {
    /// The epochs at whose end a run is evaluated, and 0 where it starts at the end of another.
    fn evaluated(&self) -> Vec<usize> {
        let RunConfig { epochs, evaluate_every, .. } = self.config;
        let start = self.config.start.after_random_labels.map(|_| 0);
        let due = |epoch: &usize| epoch.is_multiple_of(evaluate_every) || *epoch == epochs;
        start.into_iter().chain((1..=epochs).filter(due)).collect()
    }

    /// # Errors
    /// If a run that finished lacks a point of its curve, has one that is not its own, or has no result: it is no row
    /// to make a mean or a picture of.
    pub fn check(&self) -> Result<()> {
        if self.outcome != Ending::Finished {
            return Ok(());
        }
        let (found, due): (Vec<usize>, _) = (self.curve.iter().map(|line| line.epoch).collect(), self.evaluated());
        let named = || format!("the row of {}, seed {}", self.config.rule_label(), self.config.seed);
        if let Some(missing) = due.iter().find(|epoch| !found.contains(epoch)) {
            bail!("{} has no point of its curve at epoch {missing}; expected one at each of {due:?}", named())
        }
        ensure!(found == due, "{} has its curve at the epochs {found:?}; expected {due:?}", named());
        ensure!(self.metrics.test_accuracy.is_some(), "{} has no test accuracy, and its run finished", named());
        Ok(())
    }

    /// How much it holds: a finished run is more than one that is not, a longer curve more than a shorter one.
    fn content(&self) -> (bool, bool, usize) {
        (self.outcome == Ending::Finished, self.metrics.test_accuracy.is_some(), self.curve.len())
    }
}

/// All rows of a file; none if it does not exist.
///
/// # Errors
/// Names the file and the line that is no row, or the row that is not whole.
pub fn read(path: &Path) -> Result<Vec<Row>> {
    let rows: Vec<Row> = rows::read(path, "results")?;
    rows.iter().try_for_each(|row| row.check().with_context(|| path.display().to_string()))?;
    Ok(rows)
}

/// Adds a row to a file, replacing one of the same configuration.
///
/// # Errors
/// If the row that is there holds more: it is kept.
pub fn record(path: &Path, row: &Row) -> Result<()> {
    row.check()?;
    let known = read(path)?;
    if let Some(fuller) = known.iter().find(|known| known.config == row.config && known.content() > row.content()) {
        let (_, _, points) = fuller.content();
        bail!(
            "{} already has a fuller row of this run ({points} points of its curve, revision {}), which is kept; expected \
             another file for this one ({} points)",
            path.display(),
            fuller.revision,
            row.curve.len()
        )
    }
    rows::record(path, known, row.clone(), |known, row| known.config == row.config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::table::tests::row;

    fn with_curve(epochs: &[usize]) -> Row {
        let line = |epoch: &usize| EpochLine {
            epoch: *epoch,
            train_loss: None,
            test_loss: None,
            test_accuracy: 0.5,
            seconds: 1.,
            measures: BTreeMap::new(),
        };
        let row = row("sam", 0, Some(0.5));
        Row { config: RunConfig { epochs: 3, ..row.config }, curve: epochs.iter().map(line).collect(), ..row }
    }

    #[test]
    fn a_curve_with_a_hole_is_no_row() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        with_curve(&[1, 2, 3]).check().unwrap();
        let sparse = with_curve(&[2, 3]);
        Row { config: RunConfig { evaluate_every: 2, ..sparse.config.clone() }, ..sparse.clone() }.check().unwrap();
        for (row, part) in [
            (with_curve(&[1, 3]), "no point of its curve at epoch 2"),
            (with_curve(&[]), "at epoch 1"),
            (with_curve(&[1, 2, 3, 3]), "at the epochs [1, 2, 3, 3]"),
            (Row { metrics: Metrics::default(), ..with_curve(&[1, 2, 3]) }, "no test accuracy"),
        ] {
            let error = row.check().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
            rows::write(&path, &[row]).unwrap();
            let error = format!("{:#}", read(&path).unwrap_err());
            assert!(error.contains("rows.jsonl") && error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_poorer_row_does_not_replace_a_richer_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        let whole = with_curve(&[1, 2, 3]);
        record(&path, &whole).unwrap();
        let fault = Ending::Diverged { epoch: 1, step: 0, what: "the loss".to_owned() };
        let poor = Row { outcome: fault.clone(), ..with_curve(&[1]) };
        assert!(record(&path, &poor).unwrap_err().to_string().contains("fuller row of this run (3 points"));
        assert_eq!(read(&path).unwrap(), std::slice::from_ref(&whole));
        let again = Row { revision: "later".to_owned(), ..whole };
        record(&path, &again).unwrap();
        assert_eq!(read(&path).unwrap(), [again]);
        assert_eq!(fault.fault().unwrap(), "the loss was not finite in epoch 1, step 0 (both from 0)");
    }
}

//! A run's log: a JSON line for each step and epoch, and a CSV of the epochs for spreadsheets.

use crate::jsonl;
use crate::run::outcome::EpochLine;
use anyhow::{Context, Result};
use msharp_core::write_aside;
use msharp_train::{Progress, StepReport};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// A line of `log.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Line {
    Step(StepLine),
    Epoch(EpochLine),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct StepLine {
    epoch: usize,
    step: usize,
    loss: Option<f64>,
    grad_norm: Option<f64>,
    lr: f64,
    seconds: f64,
    #[serde(flatten)]
    measures: BTreeMap<String, f64>,
}

/// An open log.
pub struct Log {
    folder: PathBuf,
    file: File,
    every: usize,
}

impl Log {
    /// Opens the log in `folder` of a run that stands at `progress`, where its curve is `curve`. Steps from after it,
    /// which a run that was killed had written, are dropped; epochs are those of the curve, whatever the log says.
    /// Every `every`-th step is logged.
    pub fn open(folder: &Path, progress: &Progress, curve: &[EpochLine], every: usize) -> Result<Self> {
        let path = folder.join("log.jsonl");
        let old = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        // The last line may be cut off; it is from after the checkpoint then.
        let before = |line: &str| match serde_json::from_str(line) {
            Ok(Line::Step(line)) if (line.epoch, line.step) < (progress.epoch, progress.step) => Some(line),
            _ => None,
        };
        let (mut text, mut epochs) = (String::new(), curve.iter().peekable());
        for step in old.lines().filter_map(before) {
            while let Some(epoch) = epochs.next_if(|line| line.epoch <= step.epoch) {
                text.push_str(&(jsonl::line(&Line::Epoch(epoch.clone()))? + "\n"));
            }
            text.push_str(&(jsonl::line(&Line::Step(step))? + "\n"));
        }
        for epoch in epochs {
            text.push_str(&(jsonl::line(&Line::Epoch(epoch.clone()))? + "\n"));
        }
        write_aside(&path, |file| Ok(file.write_all(text.as_bytes())?))?;
        let file = OpenOptions::new().append(true).open(&path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        let log = Self { folder: folder.to_owned(), file, every: every.max(1) };
        if !curve.is_empty() {
            log.write_csv(curve)?;
        }
        Ok(log)
    }

    /// Logs a step, if it is its turn, or something was measured before it.
    pub fn step(&mut self, report: &StepReport) -> Result<()> {
        if report.observed.is_empty() && !(report.read && report.step.is_multiple_of(self.every)) {
            return Ok(());
        }
        let &StepReport { epoch, step, loss, grad_norm, lr, seconds, .. } = report;
        // What is not finite is counted in the run's tally; a line with it could not be read.
        let all = report.measures.iter().chain(&report.observed).filter(|(_, value)| value.is_finite());
        let measures = all.map(|(name, value)| ((*name).to_owned(), *value)).collect();
        self.write(&Line::Step(StepLine { epoch, step, loss, grad_norm, lr, seconds, measures }))
    }

    /// Logs the last point of the curve, and rewrites `epochs.csv`.
    pub fn epoch(&mut self, curve: &[EpochLine]) -> Result<()> {
        if let Some(line) = curve.last() {
            self.write(&Line::Epoch(line.clone()))?;
        }
        self.file.sync_data().context("cannot flush log.jsonl")?; // no checkpoint is newer than its log
        self.write_csv(curve)
    }

    fn write_csv(&self, curve: &[EpochLine]) -> Result<()> {
        let mut csv = "epoch,train_loss,test_loss,test_accuracy,seconds,m_eff\n".to_owned();
        for line in curve {
            let cell = |value: Option<f64>| value.map_or(String::new(), |v| v.to_string());
            let EpochLine { epoch, train_loss, test_loss, test_accuracy, seconds, measures } = line;
            let (train_loss, test_loss) = (cell(*train_loss), cell(*test_loss));
            let m_eff = cell(measures.get("m_eff").copied());
            csv.push_str(&format!("{epoch},{train_loss},{test_loss},{test_accuracy},{seconds},{m_eff}\n"));
        }
        Ok(write_aside(&self.folder.join("epochs.csv"), |file| Ok(file.write_all(csv.as_bytes())?))?)
    }

    fn write(&mut self, line: &Line) -> Result<()> {
        let text = jsonl::line(line)? + "\n";
        let path = self.folder.join("log.jsonl");
        self.file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
    }
}

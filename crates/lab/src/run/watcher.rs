//! What follows a run step by step: log, screen, evaluation after each epoch, and Ctrl-C.

use super::log::Log;
use super::noise::{self, NoiseMeter};
use super::notes::Notes;
use super::outcome::EpochLine;
use crate::data::ByLabel;
use crate::host::Host;
use crate::screen::Screen;
use crate::shared::lease::Lease;
use crate::{interrupt, jsonl};
use anyhow::Result;
use msharp_core::{BatchLoss, Communicator, DataSource};
use msharp_models::Model;
use msharp_train::{Classifier, Control, Evaluation, Observer, Progress, StepReport, evaluate_over};
use std::collections::BTreeMap;

/// Logs, shows, evaluates after each epoch, and passes Ctrl-C on.
pub struct Watcher<'a> {
    pub classifier: &'a Classifier<Model>,
    pub test: &'a dyn DataSource,
    pub ranks: &'a dyn Communicator,
    /// Where processes share the folder: the run ends with an error before it writes what is another one's.
    pub lease: Option<&'a Lease>,
    /// The training images by their labels, where some of these are wrong.
    pub by_label: Option<&'a ByLabel>,
    /// The training images as they are, where the accuracy on them is measured in the end.
    pub train: Option<&'a dyn DataSource>,
    pub steps: usize,
    /// Epochs between two evaluations.
    pub every: usize,
    pub epochs: usize,
    /// Where there is one: rank 0 writes it.
    pub log: Option<Log>,
    pub notes: Notes,
    pub host: Host,
    pub screen: Screen,
    pub noise: NoiseMeter,
}

fn control() -> Control {
    if interrupt::requested() { Control::Stop } else { Control::Continue }
}

/// What was found on the test images, beside `measures`.
fn point(test: Evaluation, mut measures: BTreeMap<String, f64>) -> EpochLine {
    if test.not_finite > 0 {
        measures.insert("test_not_finite".to_owned(), test.not_finite as f64);
    }
    let test_loss = Some(test.loss).filter(|loss| loss.is_finite());
    EpochLine { epoch: 0, train_loss: None, test_loss, test_accuracy: test.accuracy, seconds: 0., measures }
}

impl Watcher<'_> {
    /// A point of the curve before the first step, for a run that does not start at initial weights. `train` is the
    /// training set as it is.
    pub fn begin(&mut self, train: &dyn DataSource) -> Result<()> {
        let (train, test) = (self.evaluate(train)?, self.evaluate(self.test)?);
        let measures = BTreeMap::from([("train_accuracy".to_owned(), train.accuracy)]);
        let train_loss = Some(train.loss).filter(|loss| loss.is_finite());
        self.point(EpochLine { epoch: 0, train_loss, seconds: 0., ..point(test, measures) })
    }

    fn evaluate(&self, data: &dyn DataSource) -> candle_core::Result<Evaluation> {
        evaluate_over(self.ranks, self.classifier, data)
    }

    /// A point of the curve, for the row and the log.
    fn point(&mut self, line: EpochLine) -> Result<()> {
        self.lease.map_or(Ok(()), Lease::renew)?;
        self.notes.curve.push(line);
        self.log.as_mut().map_or(Ok(()), |log| log.epoch(&self.notes.curve))
    }
}

impl Observer for Watcher<'_> {
    fn before_step(&mut self, loss: BatchLoss, step: usize) -> candle_core::Result<BTreeMap<&'static str, f64>> {
        self.noise.measure(loss, step)
    }

    /// Asked for right before a checkpoint is written.
    fn notes(&self) -> candle_core::Result<String> {
        let renewed = self.lease.map_or(Ok(()), Lease::renew);
        renewed.and_then(|()| jsonl::line(&self.notes)).map_err(|e| candle_core::Error::msg(format!("{e:#}")))
    }

    fn step(&mut self, report: &StepReport) -> candle_core::Result<Control> {
        self.notes.made_a_step(&self.host);
        self.lease
            .filter(|lease| lease.is_lost())
            .map_or(Ok(()), Lease::renew)
            .and_then(|()| self.log.as_mut().map_or(Ok(()), |log| log.step(report)))
            .map_err(|e| candle_core::Error::msg(format!("{e:#}")))?;
        self.screen.step(report);
        Ok(control())
    }

    fn epoch(&mut self, progress: &Progress) -> candle_core::Result<Control> {
        if !progress.epoch.is_multiple_of(self.every) && progress.epoch != self.epochs {
            return Ok(control());
        }
        let (test, tally) = (self.evaluate(self.test)?, &progress.this_epoch);
        let mut measures = noise::means(tally);
        if let Some(images) = self.by_label.filter(|_| progress.epoch == self.epochs) {
            for (name, part) in [("train_accuracy_clean", images.clean()), ("train_accuracy_wrong", images.wrong())] {
                if let Some(part) = part.map_err(|e| candle_core::Error::msg(format!("{e:#}")))? {
                    measures.insert(name.to_owned(), self.evaluate(&*part)?.accuracy);
                }
            }
        }
        if let Some(images) = self.train.filter(|_| progress.epoch == self.epochs) {
            measures.insert("train_accuracy".to_owned(), self.evaluate(images)?.accuracy);
        }
        let (epoch, train_loss, seconds) = (progress.epoch, tally.loss(), tally.seconds);
        let line = EpochLine { epoch, train_loss, seconds, ..point(test, measures) };
        self.screen.epoch(progress, &line, self.steps);
        self.point(line).map_err(|e| candle_core::Error::msg(format!("{e:#}")))?;
        Ok(control())
    }
}

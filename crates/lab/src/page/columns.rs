//! Columns that several tables of rules have.

use super::contest::{Column, LAST, at_end, mean, percent_at_end};
use crate::run::outcome::{EpochLine, RunRow};

/// The radius.
pub const RHO: Column = ("ρ", &|rows| {
    let radius = rows.first().and_then(|row| row.content.config.perturbation.rule.radius());
    radius.map_or("–".to_owned(), |rho| rho.to_string())
});
/// How many of the right labels the network gives to their images in the end.
pub const RIGHT: Column =
    ("train, right labels, %", &|rows| mean(rows, 1, |row| percent_at_end(row, "train_accuracy_clean")));
/// How many of the wrong ones.
pub const WRONG: Column =
    ("train, wrong labels, %", &|rows| mean(rows, 1, |row| percent_at_end(row, "train_accuracy_wrong")));
/// How many of the training images the network classifies rightly in the end.
pub const TRAIN: Column = ("train, %", &|rows| mean(rows, 1, |row| percent_at_end(row, "train_accuracy")));
/// The best test accuracy of the curve, which is no result.
pub const BEST: Column = ("test at its best, %", &|rows| mean(rows, 1, best));
/// The test accuracy.
pub const END: Column = ("test at the end, %", &|rows| mean(rows, 1, LAST.of));
/// The effective size of a weighted batch.
pub const M_EFF: Column = ("m_eff", &|rows| mean(rows, 1, m_eff));
/// The training loss.
pub const LOSS: Column = ("training loss, last epoch", &|rows| mean(rows, 3, |row| row.content.metrics.train_loss));
/// tr V at the end.
pub const TRACE: Column = ("tr V, last quarter", &|rows| mean(rows, 1, |row| at_end(row, trace)));
/// Of the whole run.
pub const SECONDS: Column = ("seconds", &|rows| mean(rows, 1, |row| Some(row.seconds)));

/// In percent, of the best point of the curve.
pub fn best(row: &RunRow) -> Option<f64> {
    let accuracies = row.content.curve.iter().map(|line: &EpochLine| 100. * line.test_accuracy);
    accuracies.max_by(f64::total_cmp)
}

/// The mean m_eff of a run's steps.
pub fn m_eff(row: &RunRow) -> Option<f64> {
    row.content.metrics.measures.get("m_eff").copied()
}

/// tr V, mean over an epoch's measurements.
pub fn trace(line: &EpochLine) -> Option<f64> {
    line.measures.get("noise_trace").copied()
}

/// What explains the columns of training accuracies and of tr V.
pub const OF_TRAINING: &str = "Training accuracies count the label that an image was given, right or wrong, after the \
                               last epoch. tr V is the variance of a sample's gradient, measured on the batch of a \
                               step.";

/// What explains these columns, with the best of a curve.
pub const OF_WRONG_LABELS: &str = "Training accuracies count the label that an image was given, right or wrong, after \
                                   the last epoch: a network that has learnt a wrong label by heart classifies its \
                                   image wrongly. The best of a curve is seen on the test images, so it is no result; \
                                   the end is.";

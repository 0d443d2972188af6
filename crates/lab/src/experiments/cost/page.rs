//! The page of `cost`: the time of a step, and the time up to an accuracy that every run reaches.

use super::about;
use crate::page::columns::{END, RHO};
use crate::page::contest::{Column, LAST, mean, standing};
use crate::page::table::groups;
use crate::page::{Page, Parts, Picture, by_name};
use crate::plot::{Axis, Figure, Series, Style};
use crate::run::outcome::{Ending, RunRow};
use anyhow::{Context, Result};

/// Accuracies that are stated are multiples of it, in percent.
const ROUND: f64 = 5.;

/// The table, and accuracy over seconds, of each network.
pub fn page(rows: &[RunRow]) -> Result<Page> {
    let is_compared =
        |row: &&RunRow| row.content.config.data.validation.is_none() && row.content.outcome == Ending::Finished;
    let compared: Vec<RunRow> = rows.iter().filter(is_compared).cloned().collect();
    let about = about(&compared.first().context("there is no run on the test images")?.content.config);
    let (mut tables, mut pictures) = (Vec::new(), Vec::new());
    for (network, rows) in by_name(&compared, |config| config.model.architecture.to_string()) {
        let stated = reached_by_all(&rows);
        let steps: Column = ("ms a step", &|group| {
            least_seconds(group)
                .map_or("–".to_owned(), |seconds| format!("{:.1}", 1e3 * seconds / steps_an_epoch(group[0])))
        });
        let sgd: Vec<&RunRow> =
            rows.iter().filter(|row| row.content.config.perturbation.rule.name() == "sgd").collect();
        let ratio: Column = ("× SGD", &|group| {
            let ratio = least_seconds(group).zip(least_seconds(&sgd)).map(|(own, sgd)| own / sgd);
            ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.2}"))
        });
        let epochs_name = format!("epochs to {stated} %");
        let epochs: Column = (&epochs_name, &|group| mean(group, 1, |row| epochs_to(row, stated)));
        let seconds_name = format!("s to {stated} %");
        let seconds: Column = (&seconds_name, &|group| {
            let least = least_seconds(group).unwrap_or(f64::NAN);
            mean(group, 1, |row| Some(least * epochs_to(row, stated)?))
        });
        let table = standing(&rows, LAST, &[RHO, steps, ratio, epochs, seconds, END], &["SGD"]);
        tables.push(format!(
            "{stated} % is the highest multiple of {ROUND} % that every run of {network} reaches.\n\n{table}"
        ));
        pictures.push(over_seconds(&network, &rows));
    }
    let (body, table) = (tables.join("\n"), tables.join("\n"));
    let (claims, findings) = (Vec::new(), Vec::new());
    Ok(Parts { about, measure: LAST.name, claims, body, table, findings, pictures }.page("cost", rows))
}

/// Of an epoch, the least of some runs.
fn least_seconds(rows: &[&RunRow]) -> Option<f64> {
    let all = rows.iter().flat_map(|row| &row.content.curve).map(|line| line.seconds);
    all.filter(|seconds| *seconds > 0.).reduce(f64::min)
}

fn steps_an_epoch(row: &RunRow) -> f64 {
    row.content.cost.steps as f64 / row.content.config.optimisation.epochs as f64
}

/// The first epoch that was evaluated at which a run reached an accuracy, in percent.
fn epochs_to(row: &RunRow, accuracy: f64) -> Option<f64> {
    let first = row.content.curve.iter().find(|line| 100. * line.test_accuracy >= accuracy)?;
    Some(first.epoch as f64)
}

/// The highest round accuracy that every run reaches, in percent.
fn reached_by_all(rows: &[RunRow]) -> f64 {
    let best = |row: &RunRow| row.content.curve.iter().map(|line| 100. * line.test_accuracy).fold(0., f64::max);
    let least = rows.iter().map(best).fold(100., f64::min);
    (least / ROUND).floor() * ROUND
}

/// The mean accuracy over the time, a line for each rule.
fn over_seconds(network: &str, rows: &[RunRow]) -> Picture {
    let line = |group: &Vec<&RunRow>| {
        let seconds = least_seconds(group).unwrap_or(0.);
        let at = |index: usize| {
            let of = |row: &&RunRow| row.content.curve.get(index).map(|line| (line.epoch, 100. * line.test_accuracy));
            let points: Vec<(usize, f64)> = group.iter().filter_map(of).collect();
            let y = points.iter().map(|(_, accuracy)| accuracy).sum::<f64>() / points.len() as f64;
            points.first().map(|(epoch, _)| (seconds * *epoch as f64, y))
        };
        let longest = group.iter().map(|row| row.content.curve.len()).max().unwrap_or(0);
        Series::new(&group[0].content.config.rule_label(), Style::Line, (0..longest).filter_map(at).collect::<Vec<_>>())
    };
    let figure = Figure {
        title: format!("Test accuracy against time, {network}"),
        x: Axis::linear("seconds of training"),
        y: Axis::linear("test accuracy, %"),
        series: groups(rows).iter().map(line).collect(),
        slopes: Vec::new(),
    };
    let alt = format!("Test accuracy of {network} against seconds of training, a line for each rule");
    Picture { file: format!("{network}.svg"), alt, figure }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiments::Preset;
    use crate::experiments::cost::Cost;
    use crate::experiments::{Experiment, Given};
    use crate::page::table::tests::row;
    use crate::run::outcome::EpochLine;

    /// SAM takes twice as long and reaches 60 % in half of the epochs.
    #[test]
    fn time_is_up_to_an_accuracy_that_all_reach() {
        let of = |config: crate::config::RunConfig| {
            let is_sgd = config.perturbation.rule.name() == "sgd";
            let epochs = config.optimisation.epochs;
            let mut row = row("sgd", config.optimisation.seed, Some(0.62));
            let line = |epoch: usize, test_accuracy| EpochLine {
                epoch,
                train_loss: None,
                test_loss: None,
                test_accuracy,
                seconds: if is_sgd { 1. } else { 2. },
                measures: [].into(),
            };
            let early = if is_sgd { 0.5 } else { 0.6 };
            row.content.curve = vec![line(epochs / 4, 0.3), line(epochs / 2, early), line(epochs, 0.62)];
            row.content.cost.steps = 10 * epochs;
            row.content.config = config;
            row
        };
        let jobs = Cost.jobs(Preset::Laptop, &Given::of(crate::config::DataName::Cifar10)).unwrap();
        let rows: Vec<RunRow> = jobs.into_iter().map(of).collect();
        let page = page(&rows).unwrap();
        let epochs = rows[0].content.config.optimisation.epochs as f64;
        for said in [
            "60 % is the highest multiple of 5 % that every run of resnet8 reaches.".to_owned(),
            format!("| SGD | – | 100.0 | 1.00 | {epochs:.1} ± 0.0 | {epochs:.1} ± 0.0 |"),
            format!("| 200.0 | 2.00 | {:.1} ± 0.0 | {epochs:.1} ± 0.0 |", epochs / 2.),
        ] {
            assert!(page.text.contains(&said), "{said} in {}", page.text);
        }
        assert!(page.pictures[0].figure.svg().unwrap().contains("seconds of training"));
    }
}

//! The page of `cost`: the time of a step, and the time up to an accuracy that every run reaches.

use super::about;
use crate::experiments::Family;
use crate::experiments::cifar10::is_compared;
use crate::page::columns::{END, RHO, least_seconds};
use crate::page::contest::{Column, LAST, mean, standing};
use crate::page::curves::{ACCURACY, Curves, Over};
use crate::page::table::groups;
use crate::page::{Page, Parts, Picture, by_name, configs};
use crate::run::outcome::{Ending, RunRow};
use crate::statistics::summarise;
use anyhow::Result;

/// Accuracies that are stated are multiples of it, in percent.
const ROUND: f64 = 5.;

/// The table, and accuracy over seconds, of each network.
pub fn page(rows: &[RunRow]) -> Result<Page> {
    let compared: Vec<RunRow> = rows.iter().filter(|row| is_compared(&row.content.config)).cloned().collect();
    let (mut tables, mut pictures, mut findings) = (Vec::new(), Vec::new(), Vec::new());
    for (network, rows) in by_name(&compared, |config| config.model.architecture.to_string()) {
        let stated = reached_by_all(&rows);
        let or_none =
            |value: Option<f64>, decimals: usize| value.map_or("–".to_owned(), |v| format!("{v:.decimals$}"));
        let steps: Column = ("ms a step", &|group| {
            let of_step = |seconds: f64| Some(1e3 * seconds / steps_an_epoch(group.first()?));
            or_none(least_seconds(group).and_then(of_step), 1)
        });
        let sgd: Vec<&RunRow> = rows.iter().filter(|row| Family::of_row(row) == Family::Sgd).collect();
        let ratio: Column =
            ("× SGD", &|group| or_none(least_seconds(group).zip(least_seconds(&sgd)).map(|(own, sgd)| own / sgd), 2));
        let epochs_name = format!("epochs to {stated} %");
        let epochs: Column = (&epochs_name, &|group| mean(group, 1, |row| epochs_to(row, stated)));
        let seconds_name = format!("s to {stated} %");
        let seconds: Column =
            (&seconds_name, &|group| summarise(&seconds_to(group, stated)).map_or("–".to_owned(), |all| all.text(1)));
        let table = standing(&rows, LAST, &[RHO, steps, ratio, epochs, seconds, END], &["SGD"]);
        tables.push(format!(
            "{stated} % is the highest multiple of {ROUND} % that every run of {network} reaches. It counts as reached at \
             the first epoch after which the run was evaluated and had it.\n\n{table}"
        ));
        findings.extend(times(&network, &rows, stated));
        let curves = Curves { title: "Test accuracy against time", over: Over::Seconds, ..ACCURACY };
        let alt = format!("Test accuracy of {network} against seconds of training, a line for each rule");
        pictures.push(Picture { file: format!("{network}.svg"), alt, figure: curves.figure(&rows) });
    }
    let about = about(&configs(rows));
    let (body, table) = (tables.join("\n"), tables.join("\n"));
    Ok(Parts { about, measure: LAST.name, claims: Vec::new(), body, table, findings, pictures }.page("cost", rows))
}

fn steps_an_epoch(row: &RunRow) -> f64 {
    row.content.cost.steps as f64 / row.content.config.optimisation.epochs as f64
}

/// The first epoch that was evaluated at which a run reached an accuracy, in percent.
fn epochs_to(row: &RunRow, accuracy: f64) -> Option<f64> {
    let first = row.content.curve.iter().find(|line| 100. * line.test_accuracy >= accuracy)?;
    Some(first.epoch as f64)
}

/// The seconds up to an accuracy of each run of a rule, without the time that other work on the machine took.
fn seconds_to(group: &[&RunRow], accuracy: f64) -> Vec<f64> {
    let Some(least) = least_seconds(group) else { return Vec::new() };
    group.iter().filter_map(|row| Some(least * epochs_to(row, accuracy)?)).collect()
}

/// How long SGD takes to an accuracy, and the others as multiples of it; none without both.
fn times(network: &str, rows: &[RunRow], accuracy: f64) -> Option<String> {
    let groups = groups(rows);
    let mean_of = |group: &[&RunRow]| summarise(&seconds_to(group, accuracy)).map(|all| all.mean);
    let sgd = groups.iter().find(|group| Family::of_row(group[0]) == Family::Sgd).and_then(|group| mean_of(group))?;
    let others: Vec<String> = groups
        .iter()
        .filter(|group| Family::of_row(group[0]) != Family::Sgd)
        .filter_map(|group| Some(format!("{} {:.2} ×", group[0].content.config.rule_label(), mean_of(group)? / sgd)))
        .collect();
    if others.is_empty() {
        return None;
    }
    Some(format!("{network}: SGD is at {accuracy} % after {sgd:.0} s, on average; {} that time.", others.join(", ")))
}

/// The highest round accuracy that every run reaches that did not diverge, in percent.
fn reached_by_all(rows: &[RunRow]) -> f64 {
    let best = |row: &RunRow| row.content.curve.iter().map(|line| 100. * line.test_accuracy).fold(0., f64::max);
    let finished = rows.iter().filter(|row| row.content.outcome == Ending::Finished);
    let least = finished.map(best).fold(100., f64::min);
    (least / ROUND).floor() * ROUND
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiments::Preset;
    use crate::experiments::cost::COST;
    use crate::experiments::{Experiment, Given};
    use crate::page::table::tests::{point, row_of};
    use crate::run::outcome::EpochLine;

    /// SAM takes twice as long and reaches 60 % in half of the epochs.
    #[test]
    fn time_is_up_to_an_accuracy_that_all_reach() {
        let of = |config: crate::config::RunConfig| {
            let is_sgd = config.perturbation.rule.name() == "sgd";
            let epochs = config.optimisation.epochs;
            let mut row = row_of(config, 0.62, &[]);
            let line = |epoch, accuracy| {
                let seconds = if is_sgd { 1. } else { 2. };
                EpochLine { seconds, ..point(epoch, accuracy, &[]) }
            };
            let early = if is_sgd { 0.5 } else { 0.6 };
            row.content.curve = vec![line(epochs / 4, 0.3), line(epochs / 2, early), line(epochs, 0.62)];
            row.content.cost.steps = 10 * epochs;
            row
        };
        let jobs = COST.jobs(Preset::Laptop, &Given::of(crate::config::DataName::Cifar10)).unwrap();
        let rows: Vec<RunRow> = jobs.into_iter().map(of).collect();
        let page = page(&rows).unwrap();
        let epochs = rows[0].content.config.optimisation.epochs as f64;
        for said in [
            "60 % is the highest multiple of 5 % that every run of resnet8 reaches.".to_owned(),
            format!("- resnet8: SGD is at 60 % after {epochs:.0} s, on average; m-SGD (m = 16) 1.00 ×, "),
            "SAM 1.00 ×, m-SAM (m = 16) 1.00 ×, m-SAM (m = 4) 1.00 ×, RW-SAM (m_eff = 16) 1.00 × that time.".to_owned(),
            format!("| SGD | – | 100.0 | 1.00 | {epochs:.1} ± 0.0 | {epochs:.1} ± 0.0 |"),
            format!("| 200.0 | 2.00 | {:.1} ± 0.0 | {epochs:.1} ± 0.0 |", epochs / 2.),
        ] {
            assert!(page.text.contains(&said), "{said} in {}", page.text);
        }
        assert!(page.pictures[0].figure.svg().unwrap().contains("seconds of training"));
        let is_sgd = |row: &RunRow| Family::of_row(row) == Family::Sgd;
        let (alone, others): (Vec<RunRow>, Vec<RunRow>) = rows.into_iter().partition(is_sgd);
        assert!(super::page(&alone).unwrap().findings.is_empty() && super::page(&others).unwrap().findings.is_empty());
    }
}

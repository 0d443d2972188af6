//! The page of `cost`: the time of a step, and the time up to an accuracy that every run reaches.

use super::about;
use crate::experiments::Family;
use crate::experiments::cifar10::{M, is_compared};
use crate::page::columns::{END, RHO};
use crate::page::contest::{Claim, Column, LAST, Says, Scale, by_seed, mean, standing};
use crate::page::curves::{ACCURACY, Curves, Over};
use crate::page::machine::Machine;
use crate::page::table::groups;
use crate::page::{Page, Parts, Picture, by_name, configs};
use crate::run::outcome::{Ending, RunRow};
use crate::statistics::paired::{BySeed, difference};
use crate::statistics::summarise;
use anyhow::Result;

/// Accuracies that are stated are multiples of it, in percent.
const ROUND: f64 = 5.;

/// The table, and accuracy over seconds, of each network.
pub fn page(rows: &[RunRow]) -> Result<Page> {
    let compared: Vec<RunRow> = rows.iter().filter(|row| is_compared(&row.content.config)).cloned().collect();
    let (mut tables, mut pictures, mut claims) = (Vec::new(), Vec::new(), Vec::new());
    for (network, rows) in by_name(&compared, |config| config.model.architecture.to_string()) {
        let (stated, machine) = (reached_by_all(&rows), Machine::of(&rows));
        let least_seconds = |group: &[&RunRow]| machine.least_seconds(group);
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
        let seconds: Column = (&seconds_name, &|group| {
            let all: Vec<f64> = seconds_to(group, &machine, stated).into_values().collect();
            summarise(&all).map_or("–".to_owned(), |all| all.text(1))
        });
        let table = standing(&rows, LAST, &[RHO, steps, ratio, epochs, seconds, END], &["SGD"]);
        tables.push(format!("{network}, to {stated} %:\n\n{table}"));
        claims.extend(times(&rows, &machine, stated).into_iter().map(|claim| claim.of_runs(&network)));
        let curves = Curves { title: "Test accuracy against time", over: Over::Seconds, ..ACCURACY };
        let alt = format!("Test accuracy of {network} against seconds of training, a line for each rule");
        pictures.push(Picture { file: format!("{network}.svg"), alt, figure: curves.figure(&rows) });
    }
    let about = about(&configs(rows));
    let explained = format!(
        "The accuracy that times are compared at is the highest multiple of {ROUND} % that every run of a network \
         reaches. It counts as reached at the first evaluation at which the run has it, even if a later one is below; \
         the learning rate falls all the while, so that another accuracy, or a shorter schedule, can have another \
         order."
    );
    let (body, table) = (format!("{explained}\n\n{}", tables.join("\n")), tables.join("\n"));
    let (measure, findings) = ("the time up to an accuracy that every run reaches", Vec::new());
    Ok(Parts { about, measure, claims, body, table, findings, pictures }.page("cost", rows))
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
fn seconds_to(group: &[&RunRow], machine: &Machine, accuracy: f64) -> BySeed {
    let least = machine.least_seconds(group);
    by_seed(group.iter().copied(), |row| Some(least? * epochs_to(row, accuracy)?))
}

/// The time up to an accuracy of each rule beside SGD's, and of RW-SAM beside that of m-SAM, whose gain the paper wants
/// at a lower cost; it means an m-SAM that computes one micro-batch after another, and here they are computed at once.
fn times(rows: &[RunRow], machine: &Machine, accuracy: f64) -> Vec<Claim> {
    let groups = groups(rows);
    let families: Vec<Family> = groups.iter().map(|group| Family::of_row(group[0])).collect();
    let of = |family: Family| groups.iter().find(|group| Family::of_row(group[0]) == family);
    let claim = |(one, than): (Family, Family)| {
        let (one, than) = (of(one)?, of(than)?);
        let logarithms = |group| -> BySeed {
            seconds_to(group, machine, accuracy).into_iter().map(|(seed, seconds)| (seed, seconds.ln())).collect()
        };
        let [own, others] = [one, than].map(|group| logarithms(group));
        let factor = difference(&own, &others)?;
        let [rule, of_than] = [one, than].map(|group| group[0].content.config.rule_label());
        Some(Claim::of(format!("to {accuracy} %, {rule} against {of_than}"), &factor, Scale::Factor, Says::Nothing))
    };
    let beside_sgd = families.iter().filter(|family| **family != Family::Sgd).map(|one| (*one, Family::Sgd));
    let is_weighted = |family: &&Family| matches!(family, Family::Reweighted(_));
    let beside_m_sam = families.iter().filter(is_weighted).map(|one| (*one, Family::Sam(M)));
    let sam = Family::Sam(rows.first().map_or(0, |row| row.content.config.optimisation.batch_size));
    let is_m_sam = |family: &&Family| matches!(family, Family::Sam(_)) && **family != sam;
    let beside_sam = families.iter().filter(is_m_sam).map(|one| (*one, sam));
    beside_sgd.chain(beside_sam).chain(beside_m_sam).filter_map(claim).collect()
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
            "is the highest multiple of 5 % that every run of a network reaches.".to_owned(),
            "resnet8, to 60 %:\n\n| rule |".to_owned(),
            "- resnet8: to 60 %, m-SAM (m = 16) against SAM: × 1.00 (1.00 to 1.00)".to_owned(),
            "- resnet8: to 60 %, SAM against SGD: × 1.00 (1.00 to 1.00), not significant at 95 %.".to_owned(),
            "- resnet20: to 60 %, RW-SAM (m_eff = 16) against m-SAM (m = 16): × 1.00 (1.00 to 1.00)".to_owned(),
            format!("| SGD | – | 100.0 | 1.00 | {epochs:.1} ± 0.0 | {epochs:.1} ± 0.0 |"),
            format!("| 200.0 | 2.00 | {:.1} ± 0.0 | {epochs:.1} ± 0.0 |", epochs / 2.),
        ] {
            assert!(page.text.contains(&said), "{said} in {}", page.text);
        }
        assert!(page.pictures[0].figure.svg().unwrap().contains("seconds of training"));
        let is_sgd = |row: &RunRow| Family::of_row(row) == Family::Sgd;
        let (alone, others): (Vec<RunRow>, Vec<RunRow>) = rows.into_iter().partition(is_sgd);
        let claims = |rows: &[RunRow]| super::page(rows).unwrap().text.matches(" %, RW-SAM ").count();
        assert_eq!((claims(&alone), claims(&others)), (0, 2), "beside m-SAM, with each network");
    }
}

//! The page of `escape`: who leaves the poor minimum, and how fast.

use crate::page::columns::M_EFF;
use crate::page::contest::{Claim, Column, Contest, Measure, Says, Scale, labels, mean, standing};
use crate::page::curves::{ACCURACY, Curves, Over};
use crate::page::{Page, Parts, Picture, with_more_seeds};
use crate::run::outcome::{EpochLine, RunRow};
use anyhow::Result;

/// Chosen before any run of the table was made: the area under the curve, over the length of the run, counts how early
/// a rule gets away and how far, and scatters less than the accuracy after one epoch.
const SPEED: Measure = Measure {
    name: "the test accuracy, mean over all epochs of the run",
    of: |row| {
        let after: Vec<f64> =
            row.content.curve.iter().filter(|line| line.epoch > 0).map(|line| line.test_accuracy).collect();
        (!after.is_empty()).then(|| 100. * after.iter().sum::<f64>() / after.len() as f64)
    },
    scale: Scale::Points,
};

/// Of so many seeds the results had been seen when more were added: five had been meant, and there was time.
pub const SEEN: u64 = 3;

/// Which rule leaves the minimum faster, where the intervals allow to say it.
fn claims(rows: &[RunRow]) -> Vec<Claim> {
    contests(rows, Says::Higher).iter().filter_map(|contest| contest.claim(rows, SPEED)).collect()
}

/// Claims, the table, and test accuracy by step.
pub fn page(about: String, rows: &[RunRow]) -> Result<Page> {
    let at_start = |row: &RunRow, of: fn(&EpochLine) -> Option<f64>| {
        row.content.curve.iter().find(|line| line.epoch == 0).and_then(of).map(|share| 100. * share)
    };
    let all: Vec<&RunRow> = rows.iter().filter(|row| row.content.config.perturbation.rule.name() == "sgd").collect();
    let start = format!(
        "At the start the training accuracy is {} % and the test accuracy {} % (mean over the seeds ± standard \
         deviation).\n\nCompared is {}, in points. The first step of a rule leaves the \
         minimum, and what it loses there counts in the mean over the run.\n\n",
        mean(&all, 1, |row| at_start(row, |line| line.measures.get("train_accuracy").copied())),
        mean(&all, 1, |row| at_start(row, |line| Some(line.test_accuracy))),
        SPEED.name
    );
    let columns: [Column; 4] = [
        ("after the first epoch, %", &|rows| {
            mean(rows, 2, |row| Some(100. * row.content.curve.iter().find(|line| line.epoch == 1)?.test_accuracy))
        }),
        ("mean over the run, %", &|rows| mean(rows, 2, SPEED.of)),
        ("at the end, %", &|rows| mean(rows, 2, |row| Some(100. * row.content.metrics.test_accuracy?))),
        M_EFF,
    ];
    let table = standing(rows, SPEED, &columns, &["SGD", "SAM"]);
    let again = with_more_seeds(rows, SEEN, |rows| Ok(claims(rows)))?;
    let picture = Picture {
        file: "accuracy.svg".to_owned(),
        alt: "Test accuracy by step under each rule, from the same poor minimum".to_owned(),
        figure: Curves { title: "From a poor minimum", over: Over::Steps, ..ACCURACY }.figure(rows),
    };
    let body = format!("{start}{table}{again}");
    let (measure, claims, pictures) = (SPEED.name, claims(rows), vec![picture]);
    Ok(Parts { about, measure, claims, body, table, findings: Vec::new(), pictures }.page("escape", rows))
}

/// What the paper's Figures 1 and 2 say, of rules in the order of how much of the samples' noise is in their
/// perturbation: `more` is on which side of a rule the one after it lies.
pub fn contests(rows: &[RunRow], more: Says) -> Vec<Contest> {
    let all = labels(rows);
    let of = |fits: &dyn Fn(&RunRow) -> bool| -> Vec<String> {
        let of_rule: Vec<RunRow> = rows.iter().filter(|row| fits(row)).cloned().collect();
        labels(&of_rule)
    };
    let micro = of(&|row| {
        row.content.config.perturbation.rule.name() == "sam" && row.content.config.perturbation.micro_batch.is_some()
    });
    let reweighted = of(&|row| row.content.config.perturbation.rule.name() == "rw-sam");
    let mut contests = Vec::new();
    if all.iter().any(|label| label == "n-SAM") {
        contests.push(Contest::new("SAM", "n-SAM", more));
    }
    // Nothing that we know of says on which side of SGD a rule leaves, which stays where it is.
    contests.push(Contest::new("SAM", "SGD", Says::Nothing));
    contests.extend(micro.iter().map(|label| Contest::new(label, "SAM", more)));
    contests.extend(micro.windows(2).map(|pair| Contest::new(&pair[1], &pair[0], more)));
    contests.extend(reweighted.iter().map(|label| Contest::new(label, "SAM", more)));
    contests.extend(micro.iter().zip(&reweighted).map(|(same_m, label)| Contest::new(label, same_m, Says::Same)));
    contests
}

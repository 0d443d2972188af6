//! The page of `toy`: what each rule has learnt of the right and of the wrong labels, and what it costs on test images.

use super::runs::about;
use crate::page::columns::{BEST, END, M_EFF, OF_WRONG_LABELS, RHO, RIGHT, SECONDS, WRONG, best};
use crate::page::contest::{
    Claim, Column, Contest, LAST, Measure, Says, Scale, difference, labels, mean, percent_at_end, standing,
};
use crate::page::curves::ACCURACY;
use crate::page::{Page, Parts, Picture};
use crate::run::outcome::RunRow;
use crate::statistics::paired::Side;
use anyhow::Result;

/// The rules against SGD, of which the paper says that they generalise better under label noise (its Table 4); m-SAM
/// and RW-SAM against SAM; m-SAM against SGD in the same micro-batches, and not against SGD, for what the paper says.
fn claims(rows: &[RunRow]) -> Vec<Claim> {
    let all = labels(rows);
    let has_control = all.iter().any(|label| label.starts_with("m-SGD"));
    let says = |rule: &str, than: &str| match (rule, than) {
        (rule, _) if rule.starts_with("m-SGD") => Says::Nothing,
        (rule, "SGD") if rule.starts_with("m-SAM") && has_control => Says::Nothing,
        _ => Says::Higher,
    };
    let against = |than: &str, skip: usize| -> Vec<Claim> {
        let contest = |rule: &String| Contest::new(rule, than, says(rule, than)).claim(rows, LAST);
        all.iter().skip(skip).filter_map(contest).collect()
    };
    let of = |start: &str| all.iter().find(|label| label.starts_with(start));
    let control = of("m-SAM").zip(of("m-SGD")).map(|(rule, than)| Contest::new(rule, than, Says::Higher));
    let control = control.and_then(|contest| contest.claim(rows, LAST));
    [against("SGD", 1), against("SAM", 2 + usize::from(has_control)), control.into_iter().collect()].concat()
}

/// Three sentences: what SGD did, what the others did about it, what that took.
fn findings(rows: &[RunRow]) -> Vec<String> {
    let all = labels(rows);
    let of =
        |label: &str| -> Vec<&RunRow> { rows.iter().filter(|row| row.content.config.rule_label() == label).collect() };
    let sgd = of("SGD");
    let lost = mean(&sgd, 1, |row| Some(best(row)? - (LAST.of)(row)?));
    let first = format!(
        "SGD fits {} % of the wrong labels and ends at {} % on test images, {lost} points below the best of its curve.",
        mean(&sgd, 0, |row| percent_at_end(row, "train_accuracy_wrong")),
        mean(&sgd, 1, LAST.of),
    );
    let mut beside: Vec<String> = Vec::new();
    let mut times: Vec<String> = Vec::new();
    for label in all.iter().filter(|label| *label != "SGD") {
        let rule = of(label);
        let Some(gain) = difference(rows, label, "SGD", LAST) else { continue };
        let clear = if gain.side() == Side::Around { ", not significant at 95 %" } else { "" };
        let fitted = mean(&rule, 0, |row| percent_at_end(row, "train_accuracy_wrong"));
        beside.push(format!("{label} {:+.1} points (it fits {fitted} % of the wrong labels{clear})", gain.mean));
        let ratio = difference(rows, label, "SGD", TIME).map_or(f64::NAN, |ratio| ratio.mean.exp());
        times.push(format!("{label} {ratio:.1} ×"));
    }
    let second = format!("Against SGD at the end: {}.", beside.join("; "));
    let third = format!("The time of a run, against SGD's: {}.", times.join(", "));
    vec![first, second, third]
}

const TIME: Measure = Measure { name: "time", of: |row| Some(row.seconds.ln()), scale: Scale::Factor };

/// Findings, claims, the table, and test accuracy by epoch.
pub fn page(rows: &[RunRow]) -> Result<Page> {
    let fitted: Column =
        ("wrong labels fitted, %", &|rows| mean(rows, 0, |row| percent_at_end(row, "train_accuracy_wrong")));
    let short = [RHO, fitted, END, SECONDS];
    let columns = [RHO, RIGHT, WRONG, BEST, END, M_EFF, SECONDS];
    let (table, whole) = (standing(rows, LAST, &short, &["SGD"]), standing(rows, LAST, &columns, &["SGD", "SAM"]));
    let body = format!("{OF_WRONG_LABELS}\n\n{whole}");
    let picture = Picture {
        file: "accuracy.svg".to_owned(),
        alt: "Test accuracy by epoch under each rule, with wrong labels among the training images".to_owned(),
        figure: ACCURACY.figure(rows),
    };
    let (about, measure, claims) = (about(&rows[0].content.config), LAST.name, claims(rows));
    let (findings, pictures) = (findings(rows), vec![picture]);
    Ok(Parts { about, measure, claims, body, table, findings, pictures }.page("toy", rows))
}

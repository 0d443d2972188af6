//! The page of `m-sharpness`: accuracy against m and m_eff, and whether informative weights matter.

use crate::experiments::Family;
use crate::experiments::escape::SEEN;
use crate::experiments::family::{Norms, Reweighted};
use crate::page::columns::{LOSS, M_EFF, m_eff};
use crate::page::contest::{Claim, Column, Contest, Measure, Says, Scale, at_end, labels, mean, standing};
use crate::page::table::groups;
use crate::page::{Page, Parts, Picture, with_more_seeds};
use crate::plot::{Axis, Figure, Point, Series, Style};
use crate::run::outcome::{Ending, RunRow};
use crate::statistics::summarise;
use anyhow::Result;

/// At a constant learning rate the accuracy after one epoch scatters, so the last epochs count. Chosen before the
/// controls were run; of the rules that `escape` shares one seed had been seen.
const ACCURACY: Measure = Measure {
    name: "the test accuracy, mean over the last quarter of the run's epochs",
    of: |row| at_end(row, |line| Some(100. * line.test_accuracy)),
    scale: Scale::Points,
};

/// Claims, the table, and accuracy over m and m_eff.
pub fn page(about: String, rows: &[RunRow]) -> Result<Page> {
    let columns: [Column; 3] = [("test accuracy, %", &|rows| mean(rows, 2, ACCURACY.of)), M_EFF, LOSS];
    let table = standing(rows, ACCURACY, &columns, &["SGD", "SAM"]);
    let again = with_more_seeds(rows, SEEN, |rows| Ok(claims(rows)))?;
    let figure = Figure {
        title: "Accuracy against m and m_eff".to_owned(),
        x: Axis::log2("m, or m_eff"),
        y: Axis::linear("test accuracy, %"),
        series: series(rows),
        slopes: Vec::new(),
    };
    let picture = Picture {
        file: "accuracy.svg".to_owned(),
        alt: "Test accuracy against m for m-SAM and against m_eff for RW-SAM, with controls".to_owned(),
        figure,
    };
    let body = format!("{table}{again}");
    let (measure, claims, pictures) = (ACCURACY.name, claims(rows), vec![picture]);
    Ok(Parts { about, measure, claims, body, table, findings: Vec::new(), pictures }.page("m-sharpness", rows))
}

fn claims(rows: &[RunRow]) -> Vec<Claim> {
    contests(rows).iter().filter_map(|contest| contest.claim(rows, ACCURACY)).collect()
}

/// The paper's norms.
const PROBE: Norms = Norms::Probes(1);

/// Where the weights of RW-SAM are from, and whether they are shuffled.
fn weights(family: Family) -> Option<(Norms, bool)> {
    match family {
        Family::Reweighted(Reweighted { norms, shuffled, .. }) => Some((norms, shuffled)),
        _ => None,
    }
}

/// The label of the first run whose family fits.
fn label(rows: &[RunRow], fits: impl Fn(Family) -> bool) -> Option<String> {
    rows.iter().find(|row| fits(Family::of_row(row))).map(|row| row.content.config.rule_label())
}

fn contests(rows: &[RunRow]) -> Vec<Contest> {
    let labels_of = |fits: &dyn Fn(Family) -> bool| {
        labels(&rows.iter().filter(|row| fits(Family::of_row(row))).cloned().collect::<Vec<_>>())
    };
    let sam = labels_of(&|family| matches!(family, Family::Sam(_)));
    let probe = labels_of(&|family| weights(family) == Some((PROBE, false)));
    let mut contests = vec![Contest::new("SAM", "SGD", Says::Higher)];
    contests.extend(sam.iter().skip(1).map(|label| Contest::new(label, "SAM", Says::Higher)));
    contests.extend(probe.iter().map(|label| Contest::new(label, "SAM", Says::Higher)));
    // RW-SAM at m_eff beside m-SAM at the same m.
    for row in rows {
        let Family::Reweighted(Reweighted { size, norms: PROBE, shuffled: false, .. }) = Family::of_row(row) else {
            continue;
        };
        let same_m = Family::Sam(size).label(rows);
        let rule = row.content.config.rule_label();
        if let Some(than) =
            same_m.filter(|_| !contests.iter().any(|c: &Contest| c.rule == rule && c.says == Says::Same))
        {
            contests.push(Contest::new(rule, than, Says::Same));
        }
    }
    // The controls at their m_eff. The paper's reason for RW-SAM is that its weights are larger where gradients are
    // longer.
    let of = |norms, is_shuffled| label(rows, |family| weights(family) == Some((norms, is_shuffled)));
    let shuffled = rows.iter().map(Family::of_row).find(|family| weights(*family) == Some((PROBE, true)));
    let one = match shuffled {
        Some(Family::Reweighted(Reweighted { size, .. })) => Family::probe(size).label(rows),
        _ => None,
    };
    let (exact, random) = (of(Norms::Exact, false), of(Norms::Random, false));
    let pairs = [
        (&exact, &of(Norms::Exact, true), Says::Reason),
        (&exact, &random, Says::Reason),
        (&one, &of(PROBE, true), Says::Reason),
        (&one, &random, Says::Reason),
        (&exact, &one, Says::Nothing),
        (&random, &Some("SAM".to_owned()), Says::Nothing),
    ];
    for (rule, than, says) in pairs {
        if let (Some(rule), Some(than)) = (rule, than) {
            contests.push(Contest::new(rule, than, says));
        }
    }
    contests
}

fn series(rows: &[RunRow]) -> Vec<Series> {
    let of = |name: &str, style: Style, fits: &dyn Fn(Family) -> bool| {
        let mut points = Vec::new();
        for group in groups(rows).iter().filter(|group| fits(Family::of_row(group[0]))) {
            let finished = group.iter().filter(|row| row.content.outcome == Ending::Finished);
            let values: Vec<f64> = finished.clone().filter_map(|row| (ACCURACY.of)(row)).collect();
            let reached = finished.filter_map(|row| m_eff(row));
            let size = match Family::of_row(group[0]) {
                Family::Sgd => Some(1.), // a level: anywhere
                Family::Sam(m) => Some(m as f64),
                _ => summarise(&reached.collect::<Vec<_>>()).map(|m_eff| m_eff.mean),
            };
            points.extend(size.and_then(|size| Point::of_mean(size, &values)));
        }
        (!points.is_empty()).then(|| Series::new(name, style, points))
    };
    let all = [
        of("SGD", Style::Level, &|family| family == Family::Sgd),
        of("m-SAM", Style::Both, &|family| matches!(family, Family::Sam(_))),
        of("RW-SAM, one probe", Style::Both, &|family| weights(family) == Some((PROBE, false))),
        of("exact norms", Style::Marks, &|family| weights(family) == Some((Norms::Exact, false))),
        of("exact norms, shuffled", Style::Marks, &|family| weights(family) == Some((Norms::Exact, true))),
        of("one probe, shuffled", Style::Marks, &|family| weights(family) == Some((PROBE, true))),
        of("random weights", Style::Marks, &|family| weights(family) == Some((Norms::Random, false))),
    ];
    all.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DataName, RunConfig};
    use crate::experiments::m_sharpness::MSharpness;
    use crate::experiments::{Experiment, Given, Preset};
    use crate::page::table::tests::{point, row};

    /// A row for each run of the laptop preset; RW-SAM with exact norms is 5 points above its shuffled self, on every
    /// seed.
    fn rows() -> Vec<RunRow> {
        let configs = MSharpness.jobs(Preset::Laptop, &Given::of(DataName::Synthetic)).unwrap();
        let of = |config: RunConfig| {
            let gain = if weights(Family::of(&config)) == Some((Norms::Exact, true)) { -0.05 } else { 0. };
            let accuracy = 0.4 + 0.02 * config.optimisation.seed as f64 + gain;
            let mut row = row("sgd", config.optimisation.seed, Some(accuracy));
            let late = |epoch: usize| 4 * epoch > 3 * config.optimisation.epochs;
            let line = |epoch| point(epoch, if late(epoch) { accuracy } else { 0.1 }, &[]);
            row.content.curve = (0..=config.optimisation.epochs).map(line).collect();
            if config.perturbation.rule.name() == "rw-sam" {
                row.content.metrics.measures.insert("m_eff".to_owned(), config.perturbation.rule.number("lambda"));
            }
            row.content.config = config;
            row
        };
        configs.into_iter().map(of).collect()
    }

    #[test]
    fn every_kind_is_in_the_preset_and_each_control_is_compared() {
        let rows = rows();
        let (claims, Page { table, pictures, .. }) = (claims(&rows), page(String::new(), &rows).unwrap());
        let found = |rule: &str, than: &str| {
            let start = format!("{rule} against {than}: ");
            claims
                .iter()
                .map(Claim::text)
                .find(|text| text.starts_with(&start))
                .unwrap_or_else(|| panic!("{start} in {claims:#?}"))
        };
        let control = rows
            .iter()
            .find(|row| weights(Family::of_row(row)) == Some((Norms::Exact, false)))
            .unwrap()
            .content
            .config
            .perturbation
            .rule
            .number("lambda");
        let rw = |more: &str| format!("RW-SAM (m_eff = {control}{more})");
        assert!(found(&rw(", exact norms"), &rw(", exact norms, shuffle-weights")).contains("+5.00"));
        assert!(found(&rw(""), &rw(", shuffle-weights")).contains("not significant at 95 %"));
        assert!(found(&rw(""), &rw(", random weights")).contains("+0.00"));
        assert!(found(&rw(""), &format!("m-SAM (m = {control})")).contains("does not prove"));
        found("SAM", "SGD");
        assert_eq!(table.lines().filter(|line| line.starts_with("| ")).count(), 1 + groups(&rows).len());
        assert_eq!(series(&rows).len(), 7, "SGD, m-SAM, RW-SAM and four controls");
        assert!(pictures[0].figure.svg().unwrap().contains("one probe, shuffled"));
    }

    #[test]
    fn m_stands_at_its_size_and_rw_sam_where_it_was_measured() {
        let mut rows = rows();
        for row in rows.iter_mut().filter(|row| weights(Family::of_row(row)) == Some((PROBE, false))) {
            row.content.metrics.measures.insert("m_eff".to_owned(), 5.5);
        }
        let sizes = |name: &str| -> Vec<f64> {
            let all = series(&rows);
            all.iter().find(|series| series.name == name).unwrap().points.iter().map(|point| point.x).collect()
        };
        assert!(sizes("RW-SAM, one probe").iter().all(|size| (size - 5.5).abs() < 1e-9));
        assert!(sizes("m-SAM").contains(&(rows[0].content.config.optimisation.batch_size as f64)));
        assert_eq!(series(&rows)[0].style, Style::Level, "SGD has no m");
    }
}

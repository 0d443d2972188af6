//! The view of `m-sharpness`: accuracy against m and m_eff, and whether it is the weights' knowledge that counts.

use super::contest::{Column, Contest, Measure, Says, Scale, at_end, labels, mean, standing};
use super::points::{Point, Series, draw};
use super::table::groups;
use super::view::{Picture, View};
use crate::config::{EstimatorName, RunConfig};
use crate::row::{Ending, Row};
use crate::statistics::summarise;
use anyhow::Result;

/// At a constant learning rate the accuracy after one epoch scatters, so the last epochs count. Chosen before the
/// controls were run; of the rules that `escape` shares one seed had been seen.
const ACCURACY: Measure = Measure {
    name: "the test accuracy, mean over the last quarter of the run's epochs",
    of: |row| at_end(row, |line| Some(100. * line.test_accuracy)),
    scale: Scale::Points,
};

/// What a run is in this experiment.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Sgd,
    /// With m, the batch for SAM.
    Sam(usize),
    /// With m_eff, one probe.
    Probe(f64),
    Exact,
    ShuffledProbe,
    ShuffledExact,
    Random,
}

fn kind(config: &RunConfig) -> Kind {
    match (config.rule.name(), config.estimator, config.changes.shuffle_weights) {
        ("sgd", ..) => Kind::Sgd,
        ("rw-sam", EstimatorName::FiniteDifference, false) => Kind::Probe(config.rule.number("lambda")),
        ("rw-sam", EstimatorName::FiniteDifference, true) => Kind::ShuffledProbe,
        ("rw-sam", EstimatorName::Random, _) => Kind::Random,
        ("rw-sam", _, false) => Kind::Exact,
        ("rw-sam", _, true) => Kind::ShuffledExact,
        _ => Kind::Sam(config.micro_batch.unwrap_or(config.batch_size)),
    }
}

/// Claims, the table, and accuracy over m and m_eff.
pub fn view(rows: &[Row]) -> Result<View> {
    let about = format!(
        "Compared is {}, in points; ± is the standard deviation over the seeds, and an interval is Student's for the \
         differences paired by seed.\n\n",
        ACCURACY.name
    );
    let columns: [Column; 3] = [
        ("test accuracy, %", &|rows| mean(rows, 2, ACCURACY.of)),
        ("m_eff", &|rows| mean(rows, 1, |row| row.metrics.measures.get("m_eff").copied())),
        ("training loss, last epoch", &|rows| mean(rows, 3, |row| row.metrics.train_loss)),
    ];
    let text = about + &standing(rows, ACCURACY, &columns, &["SGD", "SAM"]);
    let picture = Picture {
        file: "accuracy.svg".to_owned(),
        alt: "Test accuracy against m for m-SAM and against m_eff for RW-SAM, with controls".to_owned(),
        svg: draw("Accuracy against m and m_eff", "m, or m_eff", "test accuracy, %", &series(rows))?,
    };
    let claims = contests(rows).iter().filter_map(|contest| contest.claim(rows, ACCURACY)).collect();
    Ok(View { measure: ACCURACY.name, claims, text, pictures: vec![picture] })
}

/// The label of the first run whose kind fits.
fn label(rows: &[Row], fits: impl Fn(Kind) -> bool) -> Option<String> {
    rows.iter().find(|row| fits(kind(&row.config))).map(|row| row.config.rule_label())
}

fn contests(rows: &[Row]) -> Vec<Contest> {
    let labels_of = |fits: &dyn Fn(Kind) -> bool| {
        labels(&rows.iter().filter(|row| fits(kind(&row.config))).cloned().collect::<Vec<_>>())
    };
    let sam = labels_of(&|kind| matches!(kind, Kind::Sam(_)));
    let probe = labels_of(&|kind| matches!(kind, Kind::Probe(_)));
    let mut contests = vec![Contest::new("SAM", "SGD", Says::Higher)];
    contests.extend(sam.iter().skip(1).map(|label| Contest::new(label, "SAM", Says::Higher)));
    contests.extend(probe.iter().map(|label| Contest::new(label, "SAM", Says::Higher)));
    // RW-SAM at m_eff beside m-SAM at the same m.
    for row in rows {
        let Kind::Probe(m_eff) = kind(&row.config) else { continue };
        let same_m = label(rows, |kind| matches!(kind, Kind::Sam(m) if m as f64 == m_eff));
        let rule = row.config.rule_label();
        if let Some(than) =
            same_m.filter(|_| !contests.iter().any(|c: &Contest| c.rule == rule && c.says == Says::Same))
        {
            contests.push(Contest::new(rule, than, Says::Same));
        }
    }
    // The controls at their m_eff. The paper's reason for RW-SAM is that its weights are larger where gradients are
    // longer.
    let at = rows.iter().find(|row| kind(&row.config) == Kind::Exact).map(|row| row.config.rule.number("lambda"));
    let of = |wanted: Kind| label(rows, |kind| kind == wanted);
    let one = at.and_then(|m_eff| of(Kind::Probe(m_eff)));
    let (exact, random) = (of(Kind::Exact), of(Kind::Random));
    let pairs = [
        (&exact, &of(Kind::ShuffledExact), Says::Reason),
        (&exact, &random, Says::Reason),
        (&one, &of(Kind::ShuffledProbe), Says::Reason),
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

fn series(rows: &[Row]) -> Vec<Series> {
    let of = |name: &str, line: bool, fits: &dyn Fn(Kind) -> bool| {
        let mut points = Vec::new();
        for group in groups(rows).iter().filter(|group| fits(kind(&group[0].config))) {
            let finished = group.iter().filter(|row| row.outcome == Ending::Finished);
            let values: Vec<f64> = finished.clone().filter_map(|row| (ACCURACY.of)(row)).collect();
            let reached: Vec<f64> = finished.filter_map(|row| row.metrics.measures.get("m_eff").copied()).collect();
            let size = match kind(&group[0].config) {
                Kind::Sgd => None,
                Kind::Sam(m) => Some(m as f64),
                _ => summarise(&reached).map(|m_eff| m_eff.mean),
            };
            let Some(summary) = summarise(&values) else { continue };
            let error = summary.std.map_or(0., |std| std / (summary.n as f64).sqrt());
            points.push(Point { size, mean: summary.mean, error });
        }
        (!points.is_empty()).then(|| Series { name: name.to_owned(), points, line })
    };
    let all = [
        of("SGD", false, &|kind| kind == Kind::Sgd),
        of("m-SAM", true, &|kind| matches!(kind, Kind::Sam(_))),
        of("RW-SAM, one probe", true, &|kind| matches!(kind, Kind::Probe(_))),
        of("exact norms", false, &|kind| kind == Kind::Exact),
        of("exact norms, shuffled", false, &|kind| kind == Kind::ShuffledExact),
        of("one probe, shuffled", false, &|kind| kind == Kind::ShuffledProbe),
        of("random weights", false, &|kind| kind == Kind::Random),
    ];
    all.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DataName;
    use crate::experiments::{Experiment, Preset};
    use crate::report::table::tests::row;
    use crate::row::EpochLine;
    use std::collections::BTreeMap;

    /// A row for each run of the laptop preset; RW-SAM with exact norms is 5 points above its shuffled self, on every
    /// seed.
    fn rows() -> Vec<Row> {
        let configs = Experiment::MSharpness.configs(Preset::Laptop, DataName::Synthetic);
        let of = |config: RunConfig| {
            let gain = if kind(&config) == Kind::ShuffledExact { -0.05 } else { 0. };
            let accuracy = 0.4 + 0.02 * config.seed as f64 + gain;
            let mut row = row("sgd", config.seed, Some(accuracy));
            let line = |epoch: usize| EpochLine {
                epoch,
                train_loss: None,
                test_loss: None,
                test_accuracy: if 4 * epoch > 3 * config.epochs { accuracy } else { 0.1 },
                seconds: 1.,
                measures: BTreeMap::new(),
            };
            row.curve = (0..=config.epochs).map(line).collect();
            if config.rule.name() == "rw-sam" {
                row.metrics.measures.insert("m_eff".to_owned(), config.rule.number("lambda"));
            }
            Row { config, ..row }
        };
        configs.into_iter().map(of).collect()
    }

    #[test]
    fn every_kind_is_in_the_preset_and_each_control_is_compared() {
        let rows = rows();
        let View { claims, text, pictures, .. } = view(&rows).unwrap();
        let found = |rule: &str, than: &str| {
            let start = format!("{rule} against {than}: ");
            claims
                .iter()
                .map(|claim| &claim.text)
                .find(|text| text.starts_with(&start))
                .unwrap_or_else(|| panic!("{start} in {claims:#?}"))
        };
        let control = rows.iter().find(|row| kind(&row.config) == Kind::Exact).unwrap().config.rule.number("lambda");
        let rw = |more: &str| format!("RW-SAM (m_eff = {control}{more})");
        assert!(found(&rw(", exact norms"), &rw(", exact norms, shuffle-weights")).contains("+5.00"));
        assert!(found(&rw(""), &rw(", shuffle-weights")).contains("not significant at 95 %"));
        assert!(found(&rw(""), &rw(", random weights")).contains("+0.00"));
        assert!(found(&rw(""), &format!("m-SAM (m = {control})")).contains("does not prove"));
        found("SAM", "SGD");
        assert_eq!(text.lines().filter(|line| line.starts_with("| ")).count(), 1 + groups(&rows).len());
        assert_eq!(series(&rows).len(), 7, "SGD, m-SAM, RW-SAM and four controls");
        assert!(pictures[0].svg.contains("one probe, shuffled"));
    }

    #[test]
    fn m_stands_at_its_size_and_rw_sam_where_it_was_measured() {
        let mut rows = rows();
        for row in rows.iter_mut().filter(|row| matches!(kind(&row.config), Kind::Probe(_))) {
            row.metrics.measures.insert("m_eff".to_owned(), 5.5);
        }
        let sizes = |name: &str| -> Vec<Option<f64>> {
            let all = series(&rows);
            all.iter().find(|series| series.name == name).unwrap().points.iter().map(|point| point.size).collect()
        };
        assert!(sizes("RW-SAM, one probe").iter().all(|size| (size.unwrap() - 5.5).abs() < 1e-9));
        assert!(sizes("m-SAM").contains(&Some(rows[0].config.batch_size as f64)));
        assert_eq!(sizes("SGD"), [None]);
    }
}

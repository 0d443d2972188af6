//! Two rules compared on the same seeds, and the statement that the interval of their difference allows.

use super::columns::trace;
use super::markdown::table;
use super::table::groups;
use crate::run::outcome::{Ending, EpochLine, RunRow};
use crate::statistics::paired::{self, BySeed, CONFIDENCE, Paired, Side};
use crate::statistics::summarise;

/// What runs are compared by.
#[derive(Clone, Copy)]
pub struct Measure {
    /// As a sentence calls it.
    pub name: &'static str,
    /// Its value; of a run that diverged there is none.
    pub of: fn(&RunRow) -> Option<f64>,
    /// What a difference of values is.
    pub scale: Scale,
}

/// Test accuracy where the training ends, since nobody stops it at a best that only the test set shows.
pub const LAST: Measure = Measure {
    name: "the test accuracy after the last epoch, in points",
    of: |row| Some(100. * row.content.metrics.test_accuracy?),
    scale: Scale::Points,
};

/// tr V at the end, as a logarithm, since it moves by powers of ten.
pub const NOISE: Measure = Measure {
    name: "tr V, mean over the evaluated epochs in the last quarter of the run",
    of: |row| at_end(row, trace).map(f64::ln),
    scale: Scale::Factor,
};

/// What a difference of values is.
#[derive(Clone, Copy, PartialEq)]
pub enum Scale {
    /// Percentage points.
    Points,
    /// The logarithm of a factor.
    Factor,
}

/// What is expected of one rule beside another.
#[derive(Clone, Copy, PartialEq)]
pub enum Says {
    /// The paper says that it is higher.
    Higher,
    /// The paper says that it is lower.
    Lower,
    /// The paper says nothing of it, but it is higher if the paper's reason is the reason.
    Reason,
    /// Both would be the same if m_eff were to RW-SAM what m is to m-SAM.
    Same,
    /// Neither says anything.
    Nothing,
}

/// What a contest says.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// Which rules are compared, and where.
    pub what: String,
    /// Their difference and its interval, and what it means.
    pub said: String,
    /// The p of no difference; none where there are too few seeds for an interval.
    pub p: Option<f64>,
}

/// One rule beside another, by their labels.
pub struct Contest {
    /// The label of the one.
    pub rule: String,
    /// And of the other.
    pub than: String,
    /// What is expected of the one.
    pub says: Says,
}

impl Claim {
    /// What a difference says.
    pub fn of(what: String, difference: &Paired, scale: Scale, says: Says) -> Self {
        let verdict = match difference.p {
            Some(_) => says.verdict(difference.side()),
            None => "too few seeds for an interval",
        };
        Self { what, said: format!("{}, {verdict}", scale.show(difference)), p: difference.p }
    }

    /// The same of some runs, which are named first.
    pub fn of_runs(self, runs: &str) -> Self {
        Self { what: format!("{runs}: {}", self.what), ..self }
    }

    /// The sentence.
    pub fn text(&self) -> String {
        format!("{}: {}.", self.what, self.said)
    }

    /// Whether the interval excludes no difference; none where there is none.
    pub fn decided(&self) -> Option<bool> {
        self.p.map(|p| p < 1. - CONFIDENCE)
    }
}

impl Contest {
    /// Of labels.
    pub fn new(rule: impl Into<String>, than: impl Into<String>, says: Says) -> Self {
        Self { rule: rule.into(), than: than.into(), says }
    }

    /// What the rows say; none if either rule has no run that finished on a seed of the other.
    pub fn claim(&self, rows: &[RunRow], measure: Measure) -> Option<Claim> {
        let Self { rule, than, says } = self;
        let difference = difference(rows, rule, than, measure)?;
        let seeds = |label: &str| rows.iter().filter(|row| row.content.config.rule_label() == label).count();
        let on = match seeds(rule).max(seeds(than)) {
            all if all > difference.n => format!(", on {} of {all} seeds", difference.n),
            _ => String::new(),
        };
        Some(Claim::of(format!("{rule} against {than}{on}"), &difference, measure.scale, *says))
    }
}

impl Says {
    /// What an interval on this side of 0 says to it.
    pub fn verdict(self, side: Side) -> &'static str {
        match (side, self) {
            (Side::Around, Says::Same) => "not significant at 95 %, which does not prove that there is no difference",
            (Side::Around, _) => "not significant at 95 %",
            (Side::Above, Says::Higher) | (Side::Below, Says::Lower) => "**as the paper says**",
            (Side::Below, Says::Higher) | (Side::Above, Says::Lower) => "**this contradicts the paper**",
            (Side::Above, Says::Reason) => "**as it is for the paper's reason**",
            (Side::Below, Says::Reason) => "**this contradicts the paper's reason**",
            (_, Says::Same) => "**they differ: m_eff is not m**",
            (_, Says::Nothing) => "**they differ**",
        }
    }
}

impl Scale {
    /// `+1.20 (+0.40 to +2.00)`, or `× 0.60 (0.50 to 0.72)`.
    pub fn show(self, difference: &Paired) -> String {
        let one = |value: f64| match self {
            Scale::Points => format!("{value:+.2}"),
            Scale::Factor => format!("{:.2}", value.exp()),
        };
        let times = if self == Scale::Factor { "× " } else { "" };
        match difference.interval() {
            Some((low, high)) => format!("{times}{} ({} to {})", one(difference.mean), one(low), one(high)),
            None => format!("{times}{}", one(difference.mean)),
        }
    }
}

/// A value of the runs that finished.
pub fn by_seed<'a>(rows: impl IntoIterator<Item = &'a RunRow>, of: impl Fn(&RunRow) -> Option<f64>) -> BySeed {
    let finished = rows.into_iter().filter(|row| row.content.outcome == Ending::Finished);
    finished.filter_map(|row| Some((row.content.config.optimisation.seed, of(row)?))).collect()
}

/// The rule called `rule` less the one called `than`, over the seeds on which both finished.
pub fn difference(rows: &[RunRow], rule: &str, than: &str, measure: Measure) -> Option<Paired> {
    let of = |label: &str| {
        let fits = |row: &&RunRow| row.content.config.rule_label() == label;
        by_seed(rows.iter().filter(fits), measure.of)
    };
    paired::difference(&of(rule), &of(than))
}

/// The labels of the rules, in order of appearance.
pub fn labels(rows: &[RunRow]) -> Vec<String> {
    groups(rows).iter().map(|group| group[0].content.config.rule_label()).collect()
}

/// A column of a [`standing`]: its head, and what stands in it for the finished runs of a rule.
pub type Column<'a> = (&'a str, &'a dyn Fn(&[&RunRow]) -> String);

/// A line for each rule: `columns`, how many runs there are, and the differences of `measure` to the rules of
/// `against`.
pub fn standing(rows: &[RunRow], measure: Measure, columns: &[Column], against: &[&str]) -> String {
    let (sign, interval) = (if measure.scale == Scale::Factor { "÷" } else { "−" }, "(95 %)");
    let mut head = vec!["rule".to_owned()];
    head.extend(columns.iter().map(|(name, _)| (*name).to_owned()));
    head.push("seeds".to_owned());
    head.extend(against.iter().map(|than| format!("{sign} {than} {interval}")));
    let line = |group: &Vec<&RunRow>| {
        let finished: Vec<&RunRow> =
            group.iter().copied().filter(|row| row.content.outcome == Ending::Finished).collect();
        let label = group[0].content.config.rule_label();
        let mut cells = vec![label.clone()];
        cells.extend(columns.iter().map(|(_, cell)| cell(&finished)));
        cells.push(match group.len() - finished.len() {
            0 => finished.len().to_string(),
            diverged => format!("{} ({diverged} diverged)", finished.len()),
        });
        cells.extend(against.iter().map(|than| match difference(rows, &label, than, measure) {
            Some(difference) if *than != label => measure.scale.show(&difference),
            _ => "–".to_owned(),
        }));
        cells
    };
    table(&head, groups(rows).iter().map(line))
}

/// The mean of what `of` says of the epochs in the last quarter of a run; none if it says nothing.
pub fn at_end(row: &RunRow, of: impl Fn(&EpochLine) -> Option<f64>) -> Option<f64> {
    let from = 0.75 * row.content.config.optimisation.epochs as f64;
    let last: Vec<f64> = row.content.curve.iter().filter(|line| line.epoch as f64 > from).filter_map(of).collect();
    summarise(&last).map(|summary| summary.mean)
}

/// What was measured after the last epoch, in percent, of a measure that is a share.
pub fn percent_at_end(row: &RunRow, name: &str) -> Option<f64> {
    row.content.curve.last()?.measures.get(name).map(|share| 100. * share)
}

/// `61.23 ± 0.45` of what `of` says of each run; – if it says nothing.
pub fn mean(rows: &[&RunRow], decimals: usize, of: impl Fn(&RunRow) -> Option<f64>) -> String {
    let values: Vec<f64> = rows.iter().filter_map(|row| of(row)).collect();
    summarise(&values).map_or("–".to_owned(), |summary| summary.text(decimals))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::table::tests::row;

    fn rows(sgd: [f64; 3], sam: [f64; 3]) -> Vec<RunRow> {
        let of = |rule, values: [f64; 3]| (0..3).map(move |seed| row(rule, seed, Some(values[seed as usize])));
        of("sgd", sgd).chain(of("sam", sam)).collect()
    }

    #[test]
    fn a_claim_is_made_only_where_the_interval_excludes_0() {
        let contest = |says| Contest::new("SAM", "SGD", says);
        let clear = rows([0.5, 0.6, 0.4], [0.52, 0.621, 0.419]);
        let said = |says| contest(says).claim(&clear, LAST).unwrap();
        assert_eq!(said(Says::Higher).text(), "SAM against SGD: +2.00 (+1.75 to +2.25), **as the paper says**.");
        assert_eq!(said(Says::Higher).decided(), Some(true));
        assert!(said(Says::Lower).said.contains("contradicts the paper"));
        assert!(said(Says::Reason).said.contains("as it is for the paper's reason"));
        let worse = Contest::new("SGD", "SAM", Says::Reason).claim(&clear, LAST).unwrap();
        assert!(worse.said.contains("-2.00") && worse.said.contains("contradicts the paper's reason"));
        assert!(said(Says::Same).said.contains("m_eff is not m"));
        assert!(said(Says::Nothing).said.contains("they differ"));
        let unclear = rows([0.5, 0.6, 0.4], [0.52, 0.6, 0.43]);
        for says in [Says::Higher, Says::Lower, Says::Reason, Says::Same, Says::Nothing] {
            let claim = contest(says).claim(&unclear, LAST).unwrap();
            assert!(claim.said.contains("not significant at 95 %") && claim.decided() == Some(false));
        }
        assert!(Contest::new("SAM", "none", Says::Higher).claim(&clear, LAST).is_none());
    }

    #[test]
    fn differences_are_of_the_same_seed_and_a_diverged_run_has_none() {
        let mut rows = rows([0.5, 0.6, 0.4], [0.7, 0.8, 0.6]);
        rows.swap(0, 2);
        let found = difference(&rows, "SAM", "SGD", LAST).unwrap();
        assert!((found.mean - 20.).abs() < 1e-9 && found.half.unwrap() < 1e-9);
        rows[0].content.outcome = Ending::Diverged { epoch: 0, step: 0, what: String::new() };
        assert_eq!(difference(&rows, "SAM", "SGD", LAST).unwrap().n, 2);
        assert!(standing(&rows, LAST, &[], &["SGD"]).contains("| SGD | 2 (1 diverged) | – |"));
        let claim = Contest::new("SAM", "SGD", Says::Higher).claim(&rows, LAST).unwrap();
        assert_eq!(claim.what, "SAM against SGD, on 2 of 3 seeds");
    }

    #[test]
    fn factors_are_shown_as_factors() {
        let half = paired::paired(&[0.5f64.ln(); 3]).unwrap();
        assert_eq!(Scale::Factor.show(&half), "× 0.50 (0.50 to 0.50)");
    }
}

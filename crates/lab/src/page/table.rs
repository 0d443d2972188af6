//! Rows as a Markdown table: one line for each network and rule, over the seeds.

use super::columns::m_eff;
use super::contest::{Scale, by_seed};
use super::machine::Machine;
use crate::config::{RuleConfig, RunConfig, named};
use crate::run::outcome::{Ending, RunRow};
use crate::statistics::paired::difference;
use crate::statistics::summarise;
use msharp_models::Architecture;

/// A value that the paper reports, for the table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Published {
    /// The network.
    pub model: Architecture,
    /// The data set; none for that of the experiment, wherever it lies.
    pub data: Option<&'static str>,
    /// The rule.
    pub rule: &'static str,
    /// Test accuracy in percent, the mean, and the deviation where it is known.
    pub accuracy: (f64, Option<f64>),
}

/// A Markdown table of `rows`, with the paper's values beside ours where it has any.
///
/// The difference to the optimizer alone, SGD or AdamW, is paired by seed, with its interval. Time is the least of an
/// epoch, relative to its, on one [`Machine`]. A run that diverged is counted, and enters no mean.
pub fn table(rows: &[RunRow], published: &[Published]) -> String {
    let is_published = |row: &RunRow| published_value(&row.content.config, published).is_some();
    let published = if rows.iter().any(is_published) { published } else { &[] };
    let paper = if published.is_empty() { ("", "") } else { (" paper, % |", "---|") };
    let alone = rows.first().map_or("SGD".to_owned(), |row| sgd(&row.content.config).rule_label());
    let mut text = format!(
        "| network | rule | test accuracy, % | n |{} − {alone}, points (95 %) | m_eff | passes forward + backward | \
         time / {alone} |\n|---|---|---|---|{}---|---|---|---|\n",
        paper.0, paper.1
    );
    let machine = Machine::of(rows);
    for group in groups(rows) {
        let config = &group[0].content.config;
        let finished: Vec<&RunRow> =
            group.iter().copied().filter(|row| row.content.outcome == Ending::Finished).collect();
        let accuracies: Vec<f64> = finished.iter().filter_map(|row| accuracy(row)).collect();
        let accuracy_text = summarise(&accuracies).map_or("–".to_owned(), |summary| summary.text(2));
        let diverged = group.len() - finished.len();
        let n = match diverged {
            0 => finished.len().to_string(),
            _ => format!("{} ({diverged} diverged)", finished.len()),
        };
        let paper = match (published.is_empty(), published_value(config, published)) {
            (true, _) => String::new(),
            (false, Some((mean, Some(std)))) => format!(" {mean:.2} ± {std:.2} |"),
            (false, Some((mean, None))) => format!(" {mean:.2} |"),
            (false, None) => " – |".to_owned(),
        };
        let of_baseline: Vec<&RunRow> =
            rows.iter().filter(|other| is_baseline(&without_seed(other), &without_seed(group[0]))).collect();
        let is_alone = same_rule(config, &sgd(config));
        let [own, alone] = [&group, &of_baseline].map(|rows| by_seed(rows.iter().copied(), accuracy));
        let difference = difference(&own, &alone).filter(|_| !is_alone);
        let difference = difference.map_or("–".to_owned(), |difference| Scale::Points.show(&difference));
        let m_eff: Vec<f64> = finished.iter().filter_map(|row| m_eff(row)).collect();
        let m_eff = summarise(&m_eff).map_or("–".to_owned(), |summary| format!("{:.1}", summary.mean));
        let mean = |value: &dyn Fn(&RunRow) -> f64| {
            let values: Vec<f64> = finished.iter().map(|row| value(row)).collect();
            summarise(&values).map_or("–".to_owned(), |summary| format!("{:.2}", summary.mean))
        };
        let (forward, backward) = (mean(&|row| row.content.cost.forward), mean(&|row| row.content.cost.backward));
        let times = machine.least_seconds(&group).zip(machine.least_seconds(&of_baseline));
        let time = times.map_or("–".to_owned(), |(own, alone)| format!("{:.2}", own / alone));
        text.push_str(&format!(
            "| {} | {} | {accuracy_text} | {n} |{paper} {difference} | {m_eff} | {forward} + {backward} | {time} |\n",
            config.network_label(),
            config.rule_label(),
        ));
    }
    text
}

fn accuracy(row: &RunRow) -> Option<f64> {
    row.content.metrics.test_accuracy.map(|accuracy| 100. * accuracy)
}

/// The rows that differ in nothing but the seed, in order of appearance.
pub fn groups(rows: &[RunRow]) -> Vec<Vec<&RunRow>> {
    let mut groups: Vec<Vec<&RunRow>> = Vec::new();
    for row in rows {
        match groups.iter_mut().find(|group| without_seed(group[0]) == without_seed(row)) {
            Some(group) => group.push(row),
            None => groups.push(vec![row]),
        }
    }
    groups
}

fn without_seed(row: &RunRow) -> RunConfig {
    row.content.config.clone().with(|c| c.optimisation.seed = 0)
}

/// The configuration that a run is compared with: the optimizer alone, the same in all but the rule.
fn sgd(config: &RunConfig) -> RunConfig {
    config.clone().with(|c| {
        c.perturbation = RuleConfig { rule: named("sgd"), ..RunConfig::defaults().perturbation };
        c.weighting.shuffle_weights = false;
    })
}

fn same_rule(a: &RunConfig, b: &RunConfig) -> bool {
    a.perturbation == b.perturbation && a.weighting.shuffle_weights == b.weighting.shuffle_weights
}

/// Whether `other` is SGD on what `config` is on, whatever it says of the perturbation that SGD does not have.
fn is_baseline(other: &RunConfig, config: &RunConfig) -> bool {
    *other == sgd(config).with(|c| c.weighting = other.weighting.clone())
}

/// What the paper has for the rule and the network of a run: mean and deviation.
pub fn published_value(config: &RunConfig, published: &[Published]) -> Option<(f64, Option<f64>)> {
    let fits = |p: &&Published| {
        p.model == config.model.architecture
            && p.data.is_none_or(|data| data == config.data.set.to_string())
            && p.rule == config.perturbation.rule.name()
            && config.perturbation.micro_batch.is_none()
    };
    published.iter().find(fits).map(|p| p.accuracy)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::config::{DataName, MicroPathName};
    use crate::experiments::standard;
    use crate::host::Host;
    use crate::row::Row;
    use crate::run::outcome::{Cost, EpochLine, Metrics, Run};
    use msharp_models::Norm;

    pub fn row(rule: &str, seed: u64, accuracy: Option<f64>) -> RunRow {
        let base = standard(Architecture::ResNet18, Norm::Batch, DataName::Cifar10);
        let diverged = Ending::Diverged { epoch: 0, step: 0, what: String::new() };
        let outcome = accuracy.map_or(diverged, |_| Ending::Finished);
        let passes = if rule == "sgd" { 1. } else { 2. };
        let steps = if accuracy.is_some() { 10 } else { 0 };
        let config = base.with(|c| (c.perturbation.rule, c.optimisation.seed) = (named(rule), seed));
        let cost = Cost { steps, forward: passes, backward: passes, images_per_second: 1. };
        let metrics = Metrics { test_accuracy: accuracy, ..Metrics::default() };
        let content = Run { config, outcome, metrics, curve: Vec::new(), cost, earlier: Vec::new() };
        let host = Host {
            cpu: "any".to_owned(),
            cores: 2,
            threads: 2,
            memory_gib: 1,
            os: "any".to_owned(),
            gpu: None,
            amx: false,
            ranks: None,
            sync_batch_norm: false,
        };
        let (experiment, preset, revision) = ("cifar10".to_owned(), "paper".to_owned(), "any".to_owned());
        Row { experiment, preset, revision, ..Row::new(host, steps as f64 * passes, content) }
    }

    /// A point of a curve, after an epoch of a second.
    pub fn point(epoch: usize, test_accuracy: f64, measures: &[(&str, f64)]) -> EpochLine {
        let measures = measures.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        EpochLine { epoch, train_loss: None, test_loss: None, test_accuracy, seconds: 1., measures }
    }

    /// A run of a configuration that finished and was evaluated in the end alone.
    pub fn row_of(config: RunConfig, accuracy: f64, measures: &[(&str, f64)]) -> RunRow {
        let mut row = row("sgd", config.optimisation.seed, Some(accuracy));
        row.content.curve.push(point(config.optimisation.epochs, accuracy, measures));
        row.content.config = config;
        row
    }

    fn lines(rows: &[RunRow]) -> Vec<String> {
        let timed = |row: &RunRow| {
            let mut row = row.clone();
            let line = EpochLine { seconds: row.content.cost.forward, ..point(1, 0.5, &[]) };
            row.content.curve.extend((row.content.outcome == Ending::Finished).then_some(line));
            row
        };
        let rows: Vec<RunRow> = rows.iter().map(timed).collect();
        let sgd = Published { model: Architecture::ResNet18, data: None, rule: "sgd", accuracy: (95.62, Some(0.03)) };
        table(&rows, &[sgd]).lines().skip(2).map(str::to_owned).collect()
    }

    #[test]
    fn differences_are_paired_by_seed_and_the_papers_value_stands_beside_ours() {
        let (sgd, sam) = ("sgd", "sam");
        let found = lines(&[
            row(sgd, 0, Some(0.90)),
            row(sgd, 1, Some(0.92)),
            row(sam, 0, Some(0.91)),
            row(sam, 1, Some(0.95)),
        ]);
        let expected = [
            "| resnet18 (batch) | SGD | 91.00 ± 1.41 | 2 | 95.62 ± 0.03 | – | – | 1.00 + 1.00 | 1.00 |",
            "| resnet18 (batch) | SAM | 93.00 ± 2.83 | 2 | – | +2.00 | – | 2.00 + 2.00 | 2.00 |",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn whatever_changes_the_perturbation_has_the_same_baseline() {
        let mut sam = row("sam", 0, Some(0.91));
        (sam.content.config.perturbation.micro_batch, sam.content.config.perturbation.micro_path) =
            (Some(8), MicroPathName::Sequential);
        let found = lines(&[row("sgd", 0, Some(0.90)), sam]);
        assert!(found[1].contains("| 91.00 | 1 | – | +1.00 |"), "{}", found[1]);
    }

    #[test]
    fn a_run_that_diverged_is_counted_and_enters_no_mean() {
        let (sgd, sam) = ("sgd", "sam");
        let rows = [row(sgd, 0, None), row(sgd, 1, Some(0.92)), row(sam, 0, Some(0.91)), row(sam, 1, Some(0.95))];
        let found = lines(&rows);
        assert!(found[0].contains("| 92.00 | 1 (1 diverged) |"), "{}", found[0]);
        assert!(found[1].contains("| 93.00 ± 2.83 | 2 | – | +3.00 | – | 2.00 + 2.00 | 2.00 |"), "{}", found[1]);
        assert!(lines(&rows[..1])[0].contains("| – | 0 (1 diverged) |"));
    }
}

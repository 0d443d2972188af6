//! Rows as a Markdown table: one line for each network and rule, over the seeds.

use crate::config::RunConfig;
use crate::experiments::Published;
use crate::row::{Ending, Row};
use crate::statistics::summarise;

/// A Markdown table of `rows`, with the paper's values beside ours where it has any.
///
/// The difference to SGD is paired by seed. Time is that of a training step relative to SGD's on the same host.
pub fn table(rows: &[Row], published: &[Published]) -> String {
    let paper = if published.is_empty() { ("", "") } else { (" paper, % |", "---|") };
    let mut text = format!(
        "| network | rule | test accuracy, % | n |{} minus SGD, points | m_eff | passes forward + backward | time / SGD |\n\
         |---|---|---|---|{}---|---|---|---|\n",
        paper.0, paper.1
    );
    for group in groups(rows) {
        let config = &group[0].config;
        let finished: Vec<&Row> = group.iter().copied().filter(|row| row.outcome == Ending::Finished).collect();
        let accuracies: Vec<f64> = finished.iter().filter_map(|row| accuracy(row)).collect();
        let accuracy_text = summarise(&accuracies).map_or("–".to_owned(), |summary| summary.text(2));
        let diverged = group.len() - finished.len();
        let n =
            if diverged == 0 { format!("{}", group.len()) } else { format!("{} ({diverged} diverged)", group.len()) };
        let paper = match (published.is_empty(), published_value(config, published)) {
            (true, _) => String::new(),
            (false, Some((mean, std))) => format!(" {mean:.2} ± {std:.2} |"),
            (false, None) => " – |".to_owned(),
        };
        let baseline = |row: &Row| rows.iter().find(|other| is_baseline(&other.config, &row.config));
        let pairs: Vec<f64> = finished
            .iter()
            .filter(|row| !same_rule(&row.config, &sgd(&row.config)))
            .filter_map(|row| Some(accuracy(row)? - accuracy(baseline(row)?)?))
            .collect();
        let difference = summarise(&pairs).map_or("–".to_owned(), |s| {
            let sign = if s.mean >= 0. { "+" } else { "" };
            format!("{sign}{}", s.text(2))
        });
        let m_eff: Vec<f64> = finished.iter().filter_map(|row| row.metrics.measures.get("m_eff").copied()).collect();
        let m_eff = summarise(&m_eff).map_or("–".to_owned(), |summary| format!("{:.1}", summary.mean));
        let mean = |value: &dyn Fn(&Row) -> f64| group.iter().map(|row| value(row)).sum::<f64>() / group.len() as f64;
        let (forward, backward) = (mean(&|row| row.cost.forward), mean(&|row| row.cost.backward));
        let times: Vec<f64> =
            finished.iter().filter_map(|row| Some(seconds_a_step(row) / seconds_a_step(baseline(row)?))).collect();
        let time = summarise(&times).map_or("–".to_owned(), |summary| format!("{:.2}", summary.mean));
        text.push_str(&format!(
            "| {} ({}) | {} | {accuracy_text} | {n} |{paper} {difference} | {m_eff} | {forward:.2} + {backward:.2} | {time} |\n",
            config.model,
            config.norm,
            config.rule_label(),
        ));
    }
    text
}

fn accuracy(row: &Row) -> Option<f64> {
    row.metrics.test_accuracy.map(|accuracy| 100. * accuracy)
}

fn seconds_a_step(row: &Row) -> f64 {
    row.cost.seconds / row.cost.steps as f64
}

/// The rows that differ in nothing but the seed, in order of appearance.
pub fn groups(rows: &[Row]) -> Vec<Vec<&Row>> {
    let without_seed = |row: &Row| RunConfig { seed: 0, ..row.config.clone() };
    let mut groups: Vec<Vec<&Row>> = Vec::new();
    for row in rows {
        match groups.iter_mut().find(|group| without_seed(group[0]) == without_seed(row)) {
            Some(group) => group.push(row),
            None => groups.push(vec![row]),
        }
    }
    groups
}

/// The configuration of SGD that a run is compared with: the same in all but the rule.
fn sgd(config: &RunConfig) -> RunConfig {
    RunConfig { rule: crate::config::RuleName::Sgd, micro_batch: None, ..config.clone() }
}

fn same_rule(a: &RunConfig, b: &RunConfig) -> bool {
    a.rule == b.rule && a.micro_batch == b.micro_batch
}

/// Whether `other` is SGD on what `config` is on, whatever it says of the perturbation that SGD does not have.
fn is_baseline(other: &RunConfig, config: &RunConfig) -> bool {
    let RunConfig { rho, lambda, temperature, estimator, probes, delta, .. } = other.clone();
    *other == RunConfig { rho, lambda, temperature, estimator, probes, delta, ..sgd(config) }
}

fn published_value(config: &RunConfig, published: &[Published]) -> Option<(f64, f64)> {
    let fits = |p: &&Published| p.model == config.model && p.rule == config.rule && config.micro_batch.is_none();
    published.iter().find(fits).map(|p| p.accuracy)
}

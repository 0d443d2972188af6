//! The page that lets a user choose an estimator, K and δ: made from the rows of `bench estimators`, its text too.

use super::comparison::{Comparison, Entry, Figures};
use super::figures::Mean;
use super::measure::EXACT;
use super::{answers, pictures};
use crate::page::markdown::table;
use crate::page::{GENERATED, Page, colophon};
use crate::row::Row;
use crate::screen::duration;

const ABOUT: &str = "\
`cargo xtask reproduce estimators` makes the rows.

A cell is a network in a state of training on a few images, which are also those that it is measured on: at its
initialisation, early, and late, after going over them many times; the loss below says how well it fits them by then.
The truth is the norm of every sample's gradient, one backward pass each. Weights are RW-SAM's, p ∝ exp(λs), with the
λ for which 1/Σp² = m_eff = b/4, unless a column says *λ = 1 relative*. ± is a standard error, and an interval holds
95 %: both over the draws of probes on the batches that were measured, so they say nothing of other batches or
networks.
";

const COLUMNS: &str = "\
*Spearman*: rank correlation with the true norms. *error*: relative RMS error of the norms; *scaled*: what is left of
it after the best common factor, to which weights with m_eff or a relative λ are indifferent. *TV*: total variation
between the weights and the exact ones. *m_eff*: that of the weights at λ = 1 relative. *cosine*: between the weighted
gradient g̃ and the exactly weighted one; the next three columns are that cosine less the cosine of a control: the
*same weights shuffled* over the batch, *random weights* of the same m_eff, and the *plain mean*. *forwards*: the time
of an estimate, in forwards without a graph; the forward with a graph that an ascent needs anyway is part of it.
*refused*: estimates that ended in an error.
";

/// The page.
pub fn page(envelopes: &[Row<Comparison>]) -> Page {
    let rows: Vec<Comparison> = envelopes.iter().map(|row| row.content.clone()).collect();
    let findings = answers::all(&rows);
    let mut text = format!("# Choosing an estimator of ‖∇ℓᵢ‖\n\n{GENERATED} {ABOUT}\n## In short\n\n");
    findings.iter().for_each(|answer| text.push_str(&format!("- {answer}\n")));
    text.push_str(&format!("\n## The cells\n\n{}", cells(&rows)));
    text.push_str(&format!("\n## Does one probe carry information?\n\n{}", controls(&rows)));
    text.push_str("\n## How many probes?\n\n");
    text.push_str("Spearman's rank correlation with the true norms, one-sided Rademacher probes.\n\n");
    text.push_str(&ranks(&rows));
    let pictures = pictures::all(&rows);
    let drawn = |kind: &str| -> String {
        let of_kind = pictures.iter().filter(|picture| picture.file.starts_with(kind));
        of_kind.map(|picture| format!("\n{}\n", picture.markdown())).collect()
    };
    text.push_str(&drawn("probes"));
    text.push_str(&format!("\n## Which δ?\n\n{}{}", steps(&rows), drawn("step")));
    text.push_str(&format!("\n## Every estimator\n\n{COLUMNS}"));
    for row in &rows {
        text.push_str(&format!("\n### {}\n\n{}", row.setting.label(), everything(row)));
    }
    let sum = |which: usize| duration(rows.iter().map(|row| row.seconds[which]).sum());
    text.push_str(&format!("\n{} of measuring and {} of training.\n{}", sum(0), sum(1), colophon(envelopes)));
    Page { text, table: summary(&rows), findings, pictures }
}

/// `0.31 ± 0.02`.
fn show(mean: &Mean) -> String {
    match mean.error {
        Some(error) => format!("{:.2} ± {error:.2}", mean.mean),
        None => format!("{:.2}", mean.mean),
    }
}

/// `+0.12 (+0.08 to +0.16)`.
fn gain(mean: &Mean) -> String {
    match mean.interval() {
        Some((low, high)) => format!("{:+.3} ({low:+.3} to {high:+.3})", mean.mean),
        None => format!("{:+.3}", mean.mean),
    }
}

/// `0.024`, `367`, `1e6`.
fn number(value: f64) -> String {
    match value {
        v if v >= 1e3 => format!("{v:.0e}"),
        v if v >= 10. => format!("{v:.0}"),
        v => format!("{v:.3}"),
    }
}

fn cells(rows: &[Comparison]) -> String {
    let head = [
        "cell",
        "parameters",
        "data",
        "steps",
        "batch",
        "batches × draws",
        "loss",
        "norms: q10, median, q90",
        "tr V",
        "noise scale",
        "m_eff, λ = 1 relative",
        "forward, ms",
    ];
    let line = |row: &Comparison| {
        let s = &row.setting;
        vec![
            s.label(),
            row.parameters.to_string(),
            format!("{} of {}", s.images, s.data),
            s.steps.to_string(),
            s.batch.to_string(),
            format!("{} × {}", s.batches, s.draws),
            format!("{:.2e}", row.loss),
            row.norms.map(|norm| format!("{norm:.3}")).join(", "),
            format!("{:.3e}", row.trace),
            row.noise_scale.map_or("∞".to_owned(), |scale| format!("{scale:.1}")),
            format!("{:.1}", row.m_eff),
            format!("{:.1}", row.forward_ms),
        ]
    };
    table(&head, rows.iter().map(line))
}

fn controls(rows: &[Comparison]) -> String {
    let head =
        ["cell", "K", "cosine", "minus the same weights shuffled", "minus random weights", "minus the plain mean"];
    let mut lines = Vec::new();
    for row in rows {
        for entry in answers::rademacher(row) {
            let (Some(figures), Some(k)) = (&entry.figures, entry.probes) else { continue };
            lines.push(vec![
                row.setting.label(),
                k.to_string(),
                show(&figures.cosine),
                gain(&figures.minus_shuffled),
                gain(&figures.minus_random),
                gain(&figures.minus_plain),
            ]);
        }
    }
    table(&head, lines)
}

fn ranks(rows: &[Comparison]) -> String {
    let mut all: Vec<usize> = rows.iter().flat_map(answers::rademacher).filter_map(|entry| entry.probes).collect();
    all.sort_unstable();
    all.dedup();
    let names: Vec<String> = all.iter().map(|k| format!("K = {k}")).collect();
    let head: Vec<&str> = ["cell"].into_iter().chain(names.iter().map(String::as_str)).chain(["last layer"]).collect();
    let spearman = |entry: Option<&Entry>| {
        entry.and_then(|entry| entry.figures.as_ref()).map_or("–".to_owned(), |figures| show(&figures.spearman))
    };
    let line = |row: &Comparison| {
        let of = |k: usize| spearman(answers::rademacher(row).find(|entry| entry.probes == Some(k)));
        let last = spearman(row.estimators.iter().find(|entry| entry.name == "last layer"));
        [row.setting.label()].into_iter().chain(all.iter().map(|k| of(*k))).chain([last]).collect()
    };
    table(&head, rows.iter().map(line))
}

fn steps(rows: &[Comparison]) -> String {
    let mut deltas: Vec<f64> = rows.iter().flat_map(|row| row.sweep.iter().map(|point| point.delta)).collect();
    deltas.sort_by(f64::total_cmp);
    deltas.dedup();
    let names: Vec<String> = deltas.iter().map(|delta| format!("δ = {delta:.0e}")).collect();
    let head: Vec<&str> = ["cell", "‖δz‖/‖x‖ ÷ δ"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let line = |row: &Comparison| {
        let of = |delta: &f64| match row.sweep.iter().find(|point| point.delta == *delta) {
            None => "–".to_owned(),
            Some(point) => {
                let error = point.error.map_or("–".to_owned(), |error| format!("{:.3}", error.mean));
                let refused = point.refused.as_ref().map_or(String::new(), |why| format!(", **{why}**"));
                let noise = point.noise.map_or("–".to_owned(), number);
                format!("{error} ({noise}{refused})")
            }
        };
        let scale = row.sweep.first().map_or("–".to_owned(), |point| format!("{:.0}", point.ratio / point.delta));
        [row.setting.label(), scale].into_iter().chain(deltas.iter().map(of)).collect()
    };
    let about = "Relative RMS error of the slopes of one one-sided Rademacher probe against the exact ⟨z, ∇ℓᵢ⟩; in \
                 brackets the noise to signal that a check measures without knowing the truth, and **what it says** \
                 where it refuses.";
    format!("{about}\n\n{}", table(&head, rows.iter().map(line)))
}

fn everything(row: &Comparison) -> String {
    let head = [
        "estimator",
        "K",
        "Spearman",
        "error",
        "scaled",
        "TV",
        "TV, λ = 1 relative",
        "m_eff",
        "cosine",
        "− shuffled",
        "− random",
        "− plain",
        "‖δz‖/‖x‖",
        "forwards",
        "refused",
    ];
    let line = |entry: &Entry| {
        let k = entry.probes.map_or("–".to_owned(), |k| k.to_string());
        let mut cells = vec![entry.name.clone(), k];
        match &entry.figures {
            Some(f) => {
                let means = [f.spearman, f.error, f.scaled_error, f.variation, f.variation_relative];
                cells.extend(means.iter().map(show));
                cells.push(format!("{:.1}", f.m_eff.mean));
                cells.push(show(&f.cosine));
                cells
                    .extend([f.minus_shuffled, f.minus_random, f.minus_plain].map(|mean| format!("{:+.3}", mean.mean)));
                cells.push(f.ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.1e}")));
            }
            None if entry.name == EXACT => {
                cells.extend(["1", "0", "0", "0", "0"].map(str::to_owned));
                cells.push(format!("{:.1}", row.m_eff));
                cells.extend(["1", "–", "–"].map(str::to_owned));
                cells.extend([format!("{:+.3}", 1. - row.plain.mean), "–".to_owned()]);
            }
            None => cells.extend(std::iter::repeat_n("–".to_owned(), 11)),
        }
        cells.extend([format!("{:.1}", entry.forwards), entry.refused.to_string()]);
        cells
    };
    table(&head, row.estimators.iter().map(line))
}

/// A line for each estimator, figures from the lowest cell to the highest.
pub fn summary(rows: &[Comparison]) -> String {
    let mut kinds: Vec<(&str, Option<usize>)> = Vec::new();
    for entry in rows.iter().flat_map(|row| &row.estimators) {
        if !kinds.contains(&(entry.name.as_str(), entry.probes)) {
            kinds.push((entry.name.as_str(), entry.probes));
        }
    }
    let line = |(name, probes): (&str, Option<usize>)| {
        let entries: Vec<&Entry> = rows
            .iter()
            .filter_map(|row| row.estimators.iter().find(|entry| entry.name == name && entry.probes == probes))
            .collect();
        let of = |figure: &dyn Fn(&Figures) -> f64| {
            range(entries.iter().filter_map(|entry| entry.figures.as_ref()).map(figure), 2)
        };
        let exact = name == EXACT;
        let or = |text: String, truth: &str| if exact { truth.to_owned() } else { text };
        vec![
            name.to_owned(),
            probes.map_or("–".to_owned(), |k| k.to_string()),
            range(entries.iter().map(|entry| entry.forwards), 1),
            or(of(&|figures| figures.spearman.mean), "1"),
            or(of(&|figures| figures.scaled_error.mean), "0"),
            or(of(&|figures| figures.cosine.mean), "1"),
        ]
    };
    let head = ["estimator", "K", "cost, forwards", "rank correlation", "error after scaling", "cosine of g̃"];
    let networks = pictures::networks(rows).join(", ");
    let about = format!(
        "Measured on {networks}, each at its initialisation, early and late in training; the lowest cell to the \
         highest. Cost is the time of an estimate, with the forward that an ascent needs anyway, in forwards without a \
         graph; the error is the relative RMS error after the best common factor; g̃ is the weighted gradient at m_eff \
         = b/4, against the exactly weighted one."
    );
    format!("{about}\n\n{}", table(&head, kinds.into_iter().map(line)))
}

/// `0.12 to 0.95`.
fn range(values: impl Iterator<Item = f64>, digits: usize) -> String {
    let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
    values.for_each(|value| (least, most) = (least.min(value), most.max(value)));
    let (least, most) = (format!("{least:.digits$}"), format!("{most:.digits$}"));
    match (least == most, least.as_str()) {
        (_, "inf") => "–".to_owned(),
        (true, _) => least,
        (false, _) => format!("{least} to {most}"),
    }
}

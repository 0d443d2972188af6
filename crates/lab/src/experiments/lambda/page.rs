//! The page of `lambda`: accuracy against λ and against the m_eff that it led to.

use super::runs::{Kind, M, Temperature, about};
use crate::experiments::Family;
use crate::experiments::family::Norms::{Exact, Probes};
use crate::experiments::family::Reweighted;
use crate::page::columns::{RHO, m_eff};
use crate::page::contest::{Claim, LAST, Says, mean, percent_at_end};
use crate::page::markdown::table;
use crate::page::table::groups;
use crate::page::{Page, Parts, Picture};
use crate::plot::{Axis, Figure, Point, Series, Style};
use crate::run::outcome::{Ending, RunRow};
use crate::statistics::summarise;
use anyhow::Result;

/// Claims, the table, and accuracy over the measured m_eff.
pub fn page(rows: &[RunRow]) -> Result<Page> {
    let table = lines(rows);
    let body = format!(
        "Test accuracy in percent at the end, mean over the seeds; m_eff is the mean over the steps; *learnt* is \
         the share of the wrongly labelled images for which the network predicts that label in the end.\n\n{table}"
    );
    let (about, pictures, findings) = (about(&rows[0].content.config), vec![picture(rows)], Vec::new());
    Ok(Parts { about, measure: LAST.name, claims: claims(rows), body, table, findings, pictures }.page("lambda", rows))
}

/// For each m_eff RW-SAM beside SAM, and better estimates beside one probe; without what `radius` and `reweighting` say
/// of the same runs. Their ρ were not chosen for them, so that a difference from SAM says nothing of the paper.
fn claims(rows: &[RunRow]) -> Vec<Claim> {
    let sam = Family::Sam(rows[0].content.config.optimisation.batch_size);
    let mut sizes: Vec<usize> = Vec::new();
    for row in rows {
        if let Family::Reweighted(Reweighted { size, .. }) = Family::of_row(row)
            && !sizes.contains(&size)
        {
            sizes.push(size);
        }
    }
    let pairs = |size: usize| {
        let [one, six, exact] = [Probes(1), Probes(6), Exact].map(|norms| Family::reweighted(size, norms));
        let own = [(one, sam, Says::Nothing), (exact, sam, Says::Nothing), (exact, one, Says::Nothing)];
        let own = own.into_iter().filter(move |_| size != M);
        own.chain([(six, one, Says::Nothing)])
    };
    let all = sizes.into_iter().flat_map(pairs);
    all.filter_map(|(one, than, says)| one.against(than, says, rows, LAST)).collect()
}

/// What a kind is called.
fn name(kind: Kind) -> String {
    let norms = |norms| match norms {
        Probes(1) => "one probe".to_owned(),
        Probes(n) => format!("{n} probes"),
        Exact => "exact norms".to_owned(),
        _ => "random weights".to_owned(),
    };
    match kind {
        Kind::Over(of, Temperature::Size) => format!("RW-SAM, {}, λ by m_eff", norms(of)),
        Kind::Over(of, Temperature::Raw) => format!("RW-SAM, {}, λ fixed", norms(of)),
        Kind::Level(Family::Sgd) => "SGD".to_owned(),
        Kind::Level(_) => "SAM".to_owned(),
    }
}

fn finished<'a>(group: &[&'a RunRow]) -> Vec<&'a RunRow> {
    group.iter().copied().filter(|row| row.content.outcome == Ending::Finished).collect()
}

/// A line for each kind and number.
fn lines(rows: &[RunRow]) -> String {
    let head = ["rule", "λ", "ρ", "m_eff", "test accuracy, %", "learnt, %", "seeds"].map(str::to_owned);
    let line = |group: &Vec<&RunRow>| {
        let (kind, number) = Kind::of(&group[0].content.config);
        let lambda = match kind {
            Kind::Over(_, Temperature::Raw) => number.to_string(),
            Kind::Over(_, Temperature::Size) => format!("for m_eff = {number}"),
            Kind::Level(_) => "–".to_owned(),
        };
        let runs = finished(group);
        let learnt = mean(&runs, 1, |row| percent_at_end(row, "train_accuracy_wrong"));
        let rho = RHO.1(group);
        [name(kind), lambda, rho, mean(&runs, 1, m_eff), mean(&runs, 1, LAST.of), learnt, runs.len().to_string()]
            .to_vec()
    };
    table(&head, groups(rows).iter().map(line))
}

/// Accuracy over the m_eff that was measured, a line for each kind.
fn picture(rows: &[RunRow]) -> Picture {
    let mut series: Vec<(Kind, Vec<Point>)> = Vec::new();
    for group in groups(rows) {
        let (kind, _) = Kind::of(&group[0].content.config);
        let runs = finished(&group);
        let of = |value: fn(&RunRow) -> Option<f64>| runs.iter().filter_map(|row| value(row)).collect::<Vec<_>>();
        // A level is anywhere.
        let batch = group[0].content.config.optimisation.batch_size as f64;
        let x = summarise(&of(m_eff)).map_or(batch / 2., |summary| summary.mean);
        let Some(point) = Point::of_mean(x, &of(LAST.of)) else { continue };
        match series.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, points)) => points.push(point),
            None => series.push((kind, vec![point])),
        }
    }
    let of = |(kind, mut points): (Kind, Vec<Point>)| {
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        Series::new(&name(kind), if matches!(kind, Kind::Level(_)) { Style::Level } else { Style::Both }, points)
    };
    let figure = Figure {
        title: "Accuracy against m_eff".to_owned(),
        x: Axis::log2("m_eff").measured(),
        y: Axis::linear("test accuracy, %"),
        series: series.into_iter().map(of).collect(),
        slopes: Vec::new(),
    };
    let alt = "Test accuracy against the m_eff that was measured, a line for each estimate of the norms".to_owned();
    Picture { file: "accuracy.svg".to_owned(), alt, figure }
}

#[cfg(test)]
mod tests {
    use super::super::runs::configs;
    use super::*;
    use crate::config::RunConfig;
    use crate::experiments::Preset;
    use crate::page::table::tests::row_of;

    /// m_eff = 16 is best, and exact norms bring a point; a raw λ leads to an m_eff of 64/(1 + λ).
    #[test]
    fn each_estimate_is_at_its_best_and_stands_where_it_was_measured() {
        let of = |config: RunConfig| {
            let (kind, number) = Kind::of(&config);
            let (m_eff, gain) = match kind {
                Kind::Over(norms, Temperature::Size) => (Some(number), if norms == Exact { 0.01 } else { 0. }),
                Kind::Over(norms, Temperature::Raw) => {
                    (Some(64. / (1. + number)), if norms == Exact { 0.01 } else { 0. })
                }
                Kind::Level(_) => (None, 0.),
            };
            let loss = m_eff.map_or(0.02, |m_eff: f64| 0.01 * (m_eff / 16.).log2().abs());
            let accuracy = 0.5 + 0.01 * config.optimisation.seed as f64 + gain - loss;
            let mut row = row_of(config, accuracy, &[]);
            row.content.metrics.measures.extend(m_eff.map(|m_eff| ("m_eff".to_owned(), m_eff)));
            row
        };
        let rows: Vec<RunRow> = configs(Preset::Laptop).into_iter().map(of).collect();
        let page = page(&rows).unwrap();
        for said in [
            "- RW-SAM (m_eff = 32) against SAM: +1.00 (+1.00 to +1.00), **they differ**.",
            "- RW-SAM (m_eff = 4, exact norms) against SAM: +1.00",
            "- RW-SAM (m_eff = 4, exact norms) against RW-SAM (m_eff = 4): +1.00",
            "- RW-SAM (m_eff = 16, 6 probes) against RW-SAM (m_eff = 16): +0.00",
            "| RW-SAM, one probe, λ fixed | 3 | 0.24 | 16.0 ± 0.0 | 61.0 ± 1.0 |",
        ] {
            assert!(page.text.contains(said), "{said} in {}", page.text);
        }
        assert!(page.pictures[0].figure.svg().unwrap().contains("RW-SAM, 6 probes"));
    }
}

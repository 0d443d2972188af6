//! The page of `radius`: curves over ρ and over ρ√(b/m), and what is left where each rule has its best radius.

use super::best::{BySeed, Curve, curves, difference};
use super::runs::{Family, about};
use crate::page::contest::{Claim, Says, Scale, percent_at_end};
use crate::page::markdown::{capital, table};
use crate::page::{Page, Parts, Picture, by_name};
use crate::plot::{Axis, Figure, Point, Series, Style};
use crate::run::outcome::RunRow;
use crate::statistics::paired::Side;
use crate::statistics::summarise;
use anyhow::Result;

/// What claims compare.
const MEASURE: &str = "the test accuracy at the end, in points";

/// Claims, a table and two pictures for each share of wrong labels.
pub fn page(rows: &[RunRow]) -> Result<Page> {
    let shares = by_name(rows, |config| match config.data.label_noise {
        0. => "true labels".to_owned(),
        share => format!("{:.0} % wrong labels", 100. * share),
    });
    let (mut claims, mut body, mut tables, mut pictures) = (Vec::new(), String::new(), String::new(), Vec::new());
    for (share, rows) in &shares {
        let learnt = curves(rows, |row| percent_at_end(row, "train_accuracy_wrong"));
        let seconds = curves(rows, |row| Some(row.content.curve.last()?.seconds));
        let curves = curves(rows, |row| Some(100. * row.content.metrics.test_accuracy?));
        let on = |claim: Claim| Claim { text: format!("{}: {}", capital(share), claim.text), ..claim };
        claims.extend(claims_of(&curves).into_iter().map(on));
        let table = table_of(&curves, &learnt, &seconds);
        body.push_str(&format!("### {}\n\n{table}\n{}\n", capital(share), at_ends(&curves)));
        tables.push_str(&format!("{share}\n{table}\n"));
        pictures.extend(pictures_of(share, &curves, &seconds));
    }
    let explained = "Test accuracy in percent at the end, mean ± deviation over seeds, in the column of ρ√(b/m). *At its \
                     best ρ*: each seed at the ρ that is best on the other seeds; in brackets the one that is best on all, \
                     at which *learnt* is the share of the wrong labels that the network gives in the end. *s an epoch*: \
                     the least time that an epoch of its runs took, with its micro-batches all at once. \
                     The last column is the difference to SAM at its best ρ, paired by seed, with its 95 % \
                     interval.\n\n";
    let about = about(&rows[0].content.config);
    let (body, findings) = (format!("{explained}{body}"), Vec::new());
    Ok(Parts { about, measure: MEASURE, claims, body, table: tables, findings, pictures }.page("radius", rows))
}

/// That of SAM at the batch, if there is one.
fn sam(curves: &[Curve]) -> Option<&Curve> {
    curves.iter().find(|curve| matches!(curve.family, Family::Sam(_)) && curve.factor == 1.)
}

/// Each curve beside SAM's: at equal ρ, each at its best, and over all ρ at equal ρ√(b/m).
fn claims_of(curves: &[Curve]) -> Vec<Claim> {
    let Some(sam) = sam(curves) else { return Vec::new() };
    let claim = |what: String, one: &BySeed, than: &BySeed, says: Says| {
        let difference = difference(one, than)?;
        let (shown, verdict) = (Scale::Points.show(&difference), says.verdict(difference.side()));
        Some(Claim { text: format!("{what}: {shown}, {verdict}."), decided: difference.side() != Side::Around })
    };
    let mut claims = Vec::new();
    for curve in curves.iter().filter(|curve| curve.family != sam.family) {
        let label = &curve.label;
        if curve.family == Family::Sgd {
            let what = "SAM at its best ρ against SGD".to_owned();
            claims.push(claim(what, &sam.at_best(), &curve.at_best(), Says::Higher));
            continue;
        }
        for (rho, by_seed) in &curve.points {
            if let Some(of_sam) = sam.at(*rho, 1.) {
                claims.push(claim(format!("{label} against SAM at ρ = {rho}"), by_seed, of_sam, Says::Higher));
            }
        }
        let what = format!("{label} against SAM, each at its best ρ");
        claims.push(claim(what, &curve.at_best(), &sam.at_best(), Says::Higher));
        if curve.factor != 1. {
            let what = format!("{label} against SAM at equal ρ√(b/m), mean over the grid");
            claims.push(claim(what, &curve.mean_over_radii(), &sam.mean_over_radii(), Says::Nothing));
        }
    }
    claims.into_iter().flatten().collect()
}

/// A line for each family, a column for each ρ√(b/m).
fn table_of(curves: &[Curve], learnt: &[Curve], seconds: &[Curve]) -> String {
    let mut radii: Vec<f64> = sam(curves).into_iter().flat_map(|sam| sam.points.iter().map(|(rho, _)| *rho)).collect();
    radii.sort_by(f64::total_cmp);
    let mut head = vec!["rule".to_owned()];
    head.extend(radii.iter().map(|radius| format!("{radius}")));
    head.extend(["at its best ρ", "learnt", "s an epoch", "− SAM at its best (95 %)"].map(str::to_owned));
    let text = |by_seed: &BySeed| {
        let values: Vec<f64> = by_seed.values().copied().collect();
        summarise(&values).map_or("–".to_owned(), |summary| summary.text(1))
    };
    let line = |curve: &Curve| {
        let mut cells = vec![curve.label.clone()];
        cells.extend(radii.iter().map(|radius| curve.at(*radius, curve.factor).map_or("–".to_owned(), text)));
        let own = curve.at_best();
        let best = curve.best().filter(|_| curve.has_choice()).map_or(String::new(), |rho| format!(" ({rho})"));
        cells.push(format!("{}{best}", text(&own)));
        let learnt = learnt.iter().find(|learnt| learnt.family == curve.family);
        let at_best = learnt.and_then(|learnt| learnt.at(curve.best()?, 1.)).filter(|by_seed| !by_seed.is_empty());
        cells.push(at_best.map_or("–".to_owned(), text));
        cells.push(least(seconds, curve.family).map_or("–".to_owned(), |least| format!("{least:.2}")));
        let than = sam(curves).filter(|sam| sam.family != curve.family).map(Curve::at_best);
        let shown = than.and_then(|than| difference(&own, &than)).map(|found| Scale::Points.show(&found));
        cells.push(shown.unwrap_or("–".to_owned()));
        cells
    };
    table(&head, curves.iter().map(line))
}

/// The least value of a family: other work on a machine makes times longer and never shorter.
fn least(curves: &[Curve], family: Family) -> Option<f64> {
    let of_family = curves.iter().filter(|curve| curve.family == family);
    of_family.flat_map(|curve| &curve.points).flat_map(|(_, by_seed)| by_seed.values()).copied().reduce(f64::min)
}

/// Whose grid should go on.
fn at_ends(curves: &[Curve]) -> String {
    let open: Vec<&str> =
        curves.iter().filter(|curve| curve.is_best_at_an_end()).map(|curve| curve.label.as_str()).collect();
    match open.is_empty() {
        true => "No best ρ is at an end of its grid.\n".to_owned(),
        false => format!("The best ρ is at an end of the grid for {}: a wider one may be better.\n", open.join(", ")),
    }
}

/// Accuracy over ρ, and over ρ√(b/m); and that at the best ρ over the time of an epoch.
fn pictures_of(share: &str, curves: &[Curve], seconds: &[Curve]) -> [Picture; 3] {
    let named = |file: &str| format!("{file}-{}.svg", share.replace(" %", "").replace(' ', "-"));
    let with_error = |x: f64, by_seed: &BySeed| {
        let summary = summarise(&by_seed.values().copied().collect::<Vec<_>>())?;
        let error = summary.std.map_or(0., |std| std / (summary.n as f64).sqrt());
        Some(Point { x, y: summary.mean, error })
    };
    let picture = |file: &str, x: &str, scaled: bool| {
        let of = |curve: &Curve| {
            let style = if curve.family == Family::Sgd { Style::Level } else { Style::Both };
            let factor = if scaled { curve.factor } else { 1. };
            let point = |(rho, by_seed): &(f64, BySeed)| {
                // SGD has no radius, and its level is drawn at any.
                with_error(if curve.family == Family::Sgd { 0.1 } else { rho * factor }, by_seed)
            };
            Series::new(&curve.label, style, curve.points.iter().filter_map(point))
        };
        let figure = Figure {
            title: format!("Accuracy against {x}, {share}"),
            x: Axis::log2(x),
            y: Axis::linear("test accuracy, %"),
            series: curves.iter().map(of).collect(),
            slopes: Vec::new(),
        };
        let alt = format!("Test accuracy against {x} with {share}: a curve for each m and for RW-SAM");
        Picture { file: named(file), alt, figure }
    };
    let mark = |curve: &Curve| {
        let point = least(seconds, curve.family).and_then(|seconds| with_error(seconds, &curve.at_best()));
        Series::new(&curve.label, Style::Marks, point)
    };
    let figure = Figure {
        title: format!("Accuracy at the best ρ against time, {share}"),
        x: Axis::linear("seconds an epoch").with(0., 0.),
        y: Axis::linear("test accuracy, %"),
        series: curves.iter().map(mark).collect(),
        slopes: Vec::new(),
    };
    let alt = format!("Test accuracy at the best ρ against the time of an epoch with {share}: a mark for each rule");
    let against_time = Picture { file: named("time"), alt, figure };
    [picture("equal-radius", "ρ", false), picture("scaled-radius", "ρ√(b/m)", true), against_time]
}

#[cfg(test)]
mod tests {
    use super::super::runs::configs;
    use super::*;
    use crate::experiments::Preset;
    use crate::page::table::tests::row;
    use crate::run::outcome::EpochLine;

    /// Accuracy is a function of ρ√(b/m) alone, but for `gain` where m is 4.
    fn rows(gain: f64) -> Vec<RunRow> {
        let of = |config: crate::config::RunConfig| {
            let family = Family::of(&config);
            let radius = config.perturbation.rule.radius().unwrap_or(0.) * family.factor(64);
            let gain = if family == Family::Sam(4) { gain } else { 0. };
            let accuracy = 0.4 + 0.01 * config.optimisation.seed as f64 - (radius - 0.2).powi(2) + gain;
            let mut row = row("sgd", config.optimisation.seed, Some(accuracy));
            row.content.curve.push(EpochLine {
                epoch: config.optimisation.epochs,
                train_loss: None,
                test_loss: None,
                test_accuracy: accuracy,
                seconds: if family == Family::Sgd { 1. } else { 2. },
                measures: [("train_accuracy_wrong".to_owned(), radius)].into(),
            });
            row.content.config = config;
            row
        };
        configs(Preset::Laptop).into_iter().map(of).collect()
    }

    #[test]
    fn what_only_moves_the_curve_is_no_difference_at_the_best_radius() {
        let page = page(&rows(0.)).unwrap();
        let line = |start: &str| {
            let found = page.text.lines().find(|line| line.starts_with(start));
            found.unwrap_or_else(|| panic!("{start} in {}", page.text)).to_owned()
        };
        let of = |m: usize, what: &str| line(&format!("- 40 % wrong labels: m-SAM (m = {m}) against SAM{what}"));
        assert!(of(4, ", each at its best ρ").contains("+0.00"));
        assert!(of(4, " at equal ρ√(b/m)").contains("+0.00"));
        assert!(of(16, " at ρ = 0.1:").contains("as the paper says"), "nearer to its best at that ρ");
        let of_4 = line("| m-SAM (m = 4) ");
        assert!(of_4.contains("(0.05) | 20.0 ± 0.0 | 2.00 |"), "{of_4}");
        assert!(page.text.contains("No best ρ is at an end of its grid."));
        assert_eq!(page.pictures.len(), 6);
        page.pictures.iter().for_each(|picture| assert!(picture.figure.svg().is_ok()));
    }

    #[test]
    fn what_is_left_at_the_best_radius_is_claimed() {
        let text = page(&rows(0.02)).unwrap().text;
        let start = "- 40 % wrong labels: m-SAM (m = 4) against SAM, each at its best ρ: +2.00";
        let line = text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{text}"));
        assert!(line.contains("as the paper says"), "{line}");
    }
}

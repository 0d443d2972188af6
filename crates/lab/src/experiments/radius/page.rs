//! The page of `radius`: each rule at its best radius on seeds that had no part in its choice, and the curves over ρ
//! and over the equivalent ρ from which it was chosen.

use super::runs::{about, at_best, is_compared};
use crate::experiments::Family;
use crate::page::columns::{END, OF_TRAINING, RHO, RIGHT, TRACE, WRONG};
use crate::page::contest::{Claim, Column, LAST, Says, Scale, standing};
use crate::page::grid::{Curve, Grid, OF_GRIDS, claim, file, over_seeds, rounded};
use crate::page::machine::Machine;
use crate::page::markdown::{capital, table};
use crate::page::table::groups;
use crate::page::{Page, Parts, Picture, by_name};
use crate::plot::{Axis, Figure, Point, Series, Style};
use crate::run::outcome::RunRow;
use crate::statistics::paired::{BySeed, difference};
use anyhow::Result;

/// Claims, tables and pictures of SAM for each share of wrong labels, and of USAM where there is any.
pub fn page(rows: &[RunRow]) -> Result<Page> {
    let (mut claims, mut findings, mut pictures, mut times) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut tested, mut grids) = (String::new(), String::new());
    for (of, reference, rows) in sections(rows) {
        let (compared, on_grid): (Vec<RunRow>, Vec<RunRow>) =
            rows.into_iter().partition(|row| is_compared(&row.content.config));
        if compared.iter().any(|row| Family::of_row(row) == reference) {
            let own: Vec<RunRow> = compared.iter().filter(|row| is_at_best(row)).cloned().collect();
            let curves = by_rho(&compared).accuracy;
            let said = claims_of(&own, &curves, reference);
            claims.extend(said.into_iter().map(|claim| claim.of_runs(&capital(&of))));
            let machine = Machine::of(&own);
            let seconds: Column = ("s an epoch", &|rows| machine.seconds_an_epoch(rows));
            let than = reference.label(&own);
            let table = standing(&own, LAST, &[RHO, RIGHT, WRONG, END, TRACE, seconds], than.as_deref().as_slice());
            tested.push_str(&format!(
                "### {}, each rule at its chosen ρ\n\n{table}\n{}\n\n{}",
                capital(&of),
                machine.explained(),
                around(&own, &curves, reference)
            ));
            times.push(over_time(&own, &machine, &of));
        }
        if !on_grid.is_empty() {
            let grid = by_rho(&on_grid);
            grids.push_str(&format!("### {}, grid of ρ\n\n{}\n{}\n", capital(&of), grid.table(), grid.open_ends()));
            pictures.extend(grid.pictures(&of));
            findings.extend(grid.best().map(|best| format!("{}. {best}", capital(&of))));
        }
    }
    let explained = format!(
        "An interval is given these radii and these test images: that another choice of ρ could have been made is not \
         in it. Differences at a ρ beside the best have no verdict, and are not among the comparisons that are \
         counted. {OF_TRAINING} m-SAM has its micro-batches all at once.\n\n"
    );
    let about = about(&rows[0].content.config);
    let (body, table) = (format!("{explained}{tested}{OF_GRIDS}\n\n{grids}"), format!("{tested}{grids}"));
    pictures.extend(times);
    Ok(Parts { about, measure: LAST.name, claims, body, table, findings, pictures }.page("radius", rows))
}

/// Accuracy against the time of an epoch, a mark for each rule.
fn over_time(rows: &[RunRow], machine: &Machine, of: &str) -> Picture {
    let mark = |group: &Vec<&RunRow>| {
        let values: Vec<f64> = group.iter().filter_map(|row| (LAST.of)(row)).collect();
        let point = machine.least_seconds(group).and_then(|seconds| Point::of_mean(seconds, &values));
        Series::new(&group[0].content.config.rule_label(), Style::Marks, point)
    };
    let figure = Figure {
        title: format!("Accuracy at the best ρ against time, {of}"),
        x: Axis::linear("seconds an epoch").with(0., 0.).measured(),
        y: Axis::linear("test accuracy, %"),
        series: groups(rows).iter().map(mark).collect(),
        slopes: Vec::new(),
    };
    let alt = format!("Test accuracy at the best ρ against the time of an epoch with {of}, a mark for each rule");
    Picture { file: file("time", of), alt, figure }
}

/// By share of wrong labels, and whether perturbations are normalised: what is said of it, the rule at the batch, and
/// its rows with those of SGD.
fn sections(rows: &[RunRow]) -> Vec<(String, Family, Vec<RunRow>)> {
    let shares = by_name(rows, |config| match config.data.label_noise {
        0. => "true labels".to_owned(),
        share => format!("{:.0} % wrong labels", 100. * share),
    });
    let is_usam = |family: Family| matches!(family, Family::Usam(_));
    let batch = rows[0].content.config.optimisation.batch_size;
    let of = |(share, rows): (String, Vec<RunRow>)| {
        [(share.clone(), Family::Sam(batch)), (format!("{share}, USAM"), Family::Usam(batch))].map(
            |(title, reference)| {
                let fits = |row: &&RunRow| {
                    Family::of_row(row) == Family::Sgd || is_usam(Family::of_row(row)) == is_usam(reference)
                };
                (title, reference, rows.iter().filter(fits).cloned().collect::<Vec<_>>())
            },
        )
    };
    let all = shares.into_iter().flat_map(of);
    all.filter(|(_, reference, rows)| rows.iter().any(|row| Family::of_row(row) == *reference)).collect()
}

/// Whether a run has the ρ that was best for its rule, and not one beside it or that of another rule.
fn is_at_best(row: &RunRow) -> bool {
    let config = &row.content.config;
    config.perturbation.rule == at_best(Family::of(config), config).perturbation.rule
}

/// Each rule over ρ.
pub fn by_rho(rows: &[RunRow]) -> Grid<Family> {
    Grid::of(rows, Family::place, ["ρ", "equivalent ρ"])
}

/// The values of a rule at its best ρ.
fn at_its_best<'a>(family: Family, own: &[RunRow], curves: &'a [Curve<Family>]) -> Option<&'a BySeed> {
    let rho = at_best(family, &own.first()?.content.config).perturbation.rule.radius()?;
    curves.iter().find(|curve| curve.kind == family)?.at(rho, 1.)
}

/// The rules that were compared at several ρ, at each of them beside the one at the batch, which is at its best.
fn around(own: &[RunRow], curves: &[Curve<Family>], reference: Family) -> String {
    let than = at_its_best(reference, own, curves).filter(|_| curves.iter().any(Curve::has_choice));
    let Some(than) = than else { return String::new() };
    let name = reference.label(own).unwrap_or_default();
    let head = ["rule", "ρ", "equivalent ρ", "test at the end, %", &format!("− {name} at its best ρ (95 %)")]
        .map(str::to_owned);
    let line = |curve: &Curve<Family>, (rho, by_seed): &(f64, BySeed)| {
        let shown = difference(by_seed, than).map(|difference| Scale::Points.show(&difference));
        let accuracy = over_seeds(by_seed).map(|summary| summary.text(1));
        let [accuracy, shown] =
            [accuracy, shown.filter(|_| !std::ptr::eq(by_seed, than))].map(|cell| cell.unwrap_or("–".to_owned()));
        vec![curve.label.clone(), rho.to_string(), rounded(rho * curve.factor).to_string(), accuracy, shown]
    };
    let chosen = curves.iter().filter(|curve| curve.has_choice());
    let lines = chosen.flat_map(|curve| curve.points.iter().map(move |point| line(curve, point)));
    format!("On the same seeds, at the ρ beside the best as well:\n\n{}\n", table(&head, lines))
}

/// Each rule beside the one at the batch: at the best ρ of each, with what it would have been at the ρ beside the best,
/// and at every ρ at which both have run. `own` are the runs at the best ρ, `curves` those at any.
fn claims_of(own: &[RunRow], curves: &[Curve<Family>], reference: Family) -> Vec<Claim> {
    let mut claims = vec![reference.against(Family::Sgd, Says::Higher, own, LAST)];
    let families = groups(own).into_iter().map(|group| Family::of_row(group[0]));
    let beside: Vec<Family> = families.filter(|family| ![Family::Sgd, reference].contains(family)).collect();
    let of = |family| curves.iter().find(|curve| curve.kind == family);
    let (than, name) = (at_its_best(reference, own, curves), reference.label(own).unwrap_or_default());
    claims.extend(beside.iter().map(|family| {
        let mut claim = family.against(reference, Says::Higher, own, LAST)?;
        let elsewhere = of(*family).zip(than).zip(at_its_best(*family, own, curves));
        claim.said.push_str(
            &elsewhere.map_or(String::new(), |((curve, than), best)| at_other_rho(curve, best, (than, &name))),
        );
        Some(claim)
    }));
    if let Some(than) = of(reference).filter(|than| than.has_choice()) {
        claims.extend(beside.into_iter().filter_map(of).flat_map(|curve| at_one_rho(curve, than)));
    }
    claims.into_iter().flatten().collect()
}

/// What a rule's difference is at every ρ but its best: `; at ρ = 0.085, with SAM at its best, +0.37 (-1.87 to +2.61)`.
fn at_other_rho(curve: &Curve<Family>, best: &BySeed, (than, name): (&BySeed, &str)) -> String {
    let others = curve.points.iter().filter(|(_, by_seed)| !std::ptr::eq(by_seed, best));
    let shown = |(rho, by_seed): &(f64, BySeed)| {
        Some(format!("; at ρ = {rho}, with {name} at its best, {}", Scale::Points.show(&difference(by_seed, than)?)))
    };
    others.filter_map(shown).collect()
}

/// A rule beside another at each ρ that both have: what the choice of one ρ for all rules would have said.
fn at_one_rho(curve: &Curve<Family>, than: &Curve<Family>) -> Vec<Option<Claim>> {
    let at = |(rho, one): &(f64, BySeed)| {
        let what = format!("{} against {} at the same ρ, {rho}", curve.label, than.label);
        claim(what, one, than.at(*rho, 1.)?, Says::Higher)
    };
    curve.points.iter().map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::super::runs::configs;
    use super::*;
    use crate::config::RunConfig;
    use crate::experiments::Preset;
    use crate::page::table::tests::row_of;

    /// On the grid accuracy is a function of ρ√(b/m) alone. Where rules are compared m = 4 has `gain`, and a rule
    /// that has not its best ρ has lost three points.
    fn rows(gain: f64) -> Vec<RunRow> {
        let of = |config: RunConfig| {
            let (family, rho, factor) = Family::place(&config);
            let is_at_best = config.perturbation.rule == at_best(family, &config).perturbation.rule;
            let change = match is_compared(&config) {
                true if !is_at_best => -0.03,
                true if family == Family::Sam(4) => gain,
                true => 0.,
                false => -(rho * factor - 0.2).powi(2),
            };
            let accuracy = 0.4 + 0.01 * config.optimisation.seed as f64 + change;
            let mut row = row_of(config, accuracy, &[("train_accuracy_wrong", rho * factor)]);
            row.content.curve[0].seconds = if family == Family::Sgd { 1. } else { 2. };
            row
        };
        configs(Preset::Laptop).into_iter().map(of).collect()
    }

    fn line(page: &Page, start: &str) -> String {
        let found = page.text.lines().find(|line| line.starts_with(start));
        found.unwrap_or_else(|| panic!("{start} in {}", page.text)).to_owned()
    }

    #[test]
    fn what_only_moves_the_curve_is_no_difference_at_the_best_radius() {
        let page = page(&rows(0.)).unwrap();
        let of = |m: usize, what: &str| line(&page, &format!("- 40 % wrong labels: m-SAM (m = {m}) against SAM{what}"));
        assert!(of(4, ": ").contains("+0.00"));
        assert!(of(16, " at the same ρ, 0.1: ").contains("+3.00 (+3.00 to +3.00), **as the paper says**"));
        assert!(of(16, ": ").contains("; at ρ = 0.085, with SAM at its best, -3.00 (-3.00 to -3.00); at ρ = 0.12, "));
        assert!(of(4, ": ").ends_with("not significant at 95 %."), "it was compared at its best ρ alone");
        assert!(of(16, " at the same ρ, 0.12: ").contains("+0.00"), "neither is at its best");
        assert!(!page.text.contains("m-SAM (m = 4) against SAM at"), "it was compared at one ρ");
        assert!(line(&page, "- 40 % wrong labels, USAM: m-USAM (m = 16) against USAM: ").contains("+0.00"));
        let of_4 = page.text.lines().filter(|line| line.starts_with("| m-SAM (m = 4) ")).collect::<Vec<_>>();
        let around = line(&page, "| m-SAM (m = 16) | 0.085 | 0.17 | 49.5 ± 1.9 | -3.00 (-3.00 to -3.00) |");
        assert!(page.text.contains(&format!("{around}\n| m-SAM (m = 16) | 0.1 | 0.2 | 52.5 ± 1.9 | +0.00 ")));
        assert!(page.text.contains("| SAM | 0.14 | 0.14 | 52.5 ± 1.9 | – |"));
        assert!(of_4[0].contains(" | 6 | +0.00 (+0.00 to +0.00) |"), "{of_4:?}");
        assert!(of_4[1].contains("| 0.035 |"), "of true labels: {of_4:?}");
        assert!(of_4[2].contains(" at 0.05 (0.2) | 20.0 ± 0.0 |"), "{of_4:?}");
        assert!(page.text.contains("No best ρ is at an end of its grid."));
        let best = line(&page, "- 40 % wrong labels. The best ρ, and in brackets the equivalent ρ: ");
        assert!(best.contains("0.2 (0.2) of SAM, 0.1 (0.2) of m-SAM (m = 16), 0.05 (0.2) of m-SAM (m = 4)"), "{best}");
        assert_eq!(page.pictures.len(), 12);
        page.pictures.iter().for_each(|picture| assert!(picture.figure.svg().is_ok()));
    }

    #[test]
    fn what_is_left_at_the_best_radius_is_claimed() {
        let line = line(&page(&rows(0.02)).unwrap(), "- 40 % wrong labels: m-SAM (m = 4) against SAM: +2.00");
        assert!(line.contains("as the paper says"), "{line}");
    }
}

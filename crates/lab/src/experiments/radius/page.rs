//! The page of `radius`: each rule at its best radius on seeds that had no part in its choice, and the curves over ρ
//! and over the equivalent ρ from which it was chosen.

use super::runs::{about, at_best, is_compared};
use crate::experiments::Family;
use crate::page::columns::{END, RHO, RIGHT, SECONDS_AN_EPOCH, TRACE, WRONG, least_seconds};
use crate::page::contest::{Claim, LAST, Says, standing};
use crate::page::grid::{Curve, Grid, OF_GRIDS, claim, file};
use crate::page::markdown::capital;
use crate::page::table::groups;
use crate::page::{Page, Parts, Picture, by_name};
use crate::plot::{Axis, Figure, Point, Series, Style};
use crate::run::outcome::RunRow;
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
            let mut around = by_rho(&compared);
            let said = claims_of(&own, &around.accuracy, reference);
            claims.extend(said.into_iter().map(|claim| claim.of_runs(&capital(&of))));
            let columns = [RHO, RIGHT, WRONG, END, TRACE, SECONDS_AN_EPOCH];
            let than = reference.label(&own);
            let table = standing(&own, LAST, &columns, than.as_deref().as_slice());
            tested.push_str(&format!("### {}, each rule at its best ρ\n\n{table}\n", capital(&of)));
            around.accuracy.retain(Curve::has_choice);
            if !around.accuracy.is_empty() {
                let what = "On the same seeds, around the best ρ of the grid; a column is an equivalent ρ:";
                tested.push_str(&format!("{what}\n\n{}\n", around.table()));
            }
            times.push(over_time(&own, &of));
        }
        if !on_grid.is_empty() {
            let grid = by_rho(&on_grid);
            grids.push_str(&format!("### {}, grid of ρ\n\n{}\n{}\n", capital(&of), grid.table(), grid.open_ends()));
            pictures.extend(grid.pictures(&of));
            findings.extend(grid.best().map(|best| format!("{}. {best}", capital(&of))));
        }
    }
    let explained = "± is the standard deviation over the seeds, an interval is Student's for the differences paired by \
                     seed, given these radii and these test images: that another choice of ρ could have been made is not in \
                     it. Training accuracies count the label that an image was given, right or wrong, after the last \
                     epoch. tr V is the variance of a sample's gradient, measured once an epoch on the batch of a step. \
                     *s an epoch* is the least time that an epoch took, with its micro-batches all at once.\n\n";
    let about = about(&rows[0].content.config);
    let (body, table) = (format!("{explained}{tested}{OF_GRIDS}\n\n{grids}"), format!("{tested}{grids}"));
    pictures.extend(times);
    Ok(Parts { about, measure: LAST.name, claims, body, table, findings, pictures }.page("radius", rows))
}

/// Accuracy against the time of an epoch, a mark for each rule.
fn over_time(rows: &[RunRow], of: &str) -> Picture {
    let mark = |group: &Vec<&RunRow>| {
        let values: Vec<f64> = group.iter().filter_map(|row| (LAST.of)(row)).collect();
        let point = least_seconds(group).and_then(|seconds| Point::of_mean(seconds, &values));
        Series::new(&group[0].content.config.rule_label(), Style::Marks, point)
    };
    let figure = Figure {
        title: format!("Accuracy at the best ρ against time, {of}"),
        x: Axis::linear("seconds an epoch").with(0., 0.),
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

/// Each rule beside the one at the batch: at the best ρ of each; at one ρ, where the one at the batch has run there;
/// and at the ρ that is best on the seeds of the comparison, where both have run at several. `own` are the runs at the
/// best ρ, `curves` those at any.
fn claims_of(own: &[RunRow], curves: &[Curve<Family>], reference: Family) -> Vec<Claim> {
    let mut claims = vec![reference.against(Family::Sgd, Says::Higher, own, LAST)];
    let families = groups(own).into_iter().map(|group| Family::of_row(group[0]));
    let beside: Vec<Family> = families.filter(|family| ![Family::Sgd, reference].contains(family)).collect();
    claims.extend(beside.iter().map(|family| family.against(reference, Says::Higher, own, LAST)));
    let of = |family| curves.iter().find(|curve| curve.kind == family);
    if let Some(than) = of(reference).filter(|than| than.has_choice()) {
        let beside: Vec<&Curve<Family>> = beside.into_iter().filter_map(of).collect();
        claims.extend(beside.iter().map(|curve| at_one_rho(curve, than, own)));
        claims.extend(beside.iter().filter(|curve| curve.has_choice()).map(|curve| at_best_here(curve, than)));
    }
    claims.into_iter().flatten().collect()
}

/// A rule at its best ρ beside another at the same.
fn at_one_rho(curve: &Curve<Family>, than: &Curve<Family>, own: &[RunRow]) -> Option<Claim> {
    let row = own.iter().find(|row| Family::of_row(row) == curve.kind)?;
    let rho = row.content.config.perturbation.rule.radius()?;
    let what = format!("{} against {} at the same ρ, {rho}", curve.label, than.label);
    claim(what, curve.at(rho, 1.)?, than.at(rho, 1.)?, Says::Higher)
}

/// Two rules, each at the ρ that turns out best where they are compared.
fn at_best_here(curve: &Curve<Family>, than: &Curve<Family>) -> Option<Claim> {
    let ((rho, one), (of_than, other)) = (curve.best()?, than.best()?);
    let what = format!(
        "{} against {}, each at the ρ that is best on these seeds, {rho} and {of_than}",
        curve.label, than.label
    );
    claim(what, one, other, Says::Higher)
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
        assert!(of(16, " at the same ρ, 0.").contains("+3.00 (+3.00 to +3.00), **as the paper says**"));
        assert!(of(16, ", each at the ρ that is best on these seeds, 0.1 and 0.14: ").contains("+0.00"));
        assert!(!page.text.contains("m-SAM (m = 4) against SAM, each"), "it was compared at one ρ");
        assert!(line(&page, "- 40 % wrong labels, USAM: m-USAM (m = 16) against USAM: ").contains("+0.00"));
        let of_4 = page.text.lines().filter(|line| line.starts_with("| m-SAM (m = 4) ")).collect::<Vec<_>>();
        let around = line(&page, "| m-SAM (m = 16) | – | – | – | ");
        assert!(around.ends_with(" | 52.5 ± 1.9 (0.1) | 20.0 ± 0.0 |"), "at .17, .2 and .24: {around}");
        assert!(of_4[0].contains(" | 6 | +0.00 (+0.00 to +0.00) |"), "{of_4:?}");
        assert!(of_4[1].contains("| 0.035 |"), "of true labels: {of_4:?}");
        assert!(of_4[2].contains(" (0.05) | 20.0 ± 0.0 |"), "{of_4:?}");
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

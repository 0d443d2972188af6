//! The page of `radius`: curves over ρ and over ρ√(b/m), and what is left where each rule has its best radius.

use super::runs::about;
use crate::experiments::Family;
use crate::page::contest::{Claim, LAST, Says};
use crate::page::grid::{Grid, claim};
use crate::page::markdown::capital;
use crate::page::{Page, Parts, by_name};
use crate::run::outcome::RunRow;
use anyhow::Result;

/// Claims, a table and pictures of SAM for each share of wrong labels, and of USAM where there is any.
pub fn page(rows: &[RunRow]) -> Result<Page> {
    let shares = by_name(rows, |config| match config.data.label_noise {
        0. => "true labels".to_owned(),
        share => format!("{:.0} % wrong labels", 100. * share),
    });
    let (mut claims, mut body, mut tables, mut pictures) = (Vec::new(), String::new(), String::new(), Vec::new());
    for (share, rows) in &shares {
        for (at_batch, title) in
            [(Family::Sam as fn(usize) -> Family, share.clone()), (Family::Usam, format!("{share}, USAM"))]
        {
            let reference = at_batch(rows[0].content.config.optimisation.batch_size);
            let Some(grid) = section(rows, reference) else { continue };
            let on = |claim: Claim| Claim { text: format!("{}: {}", capital(&title), claim.text), ..claim };
            claims.extend(claims_of(&grid, reference).into_iter().map(on));
            let table = grid.table(reference);
            body.push_str(&format!("### {}\n\n{table}\n{}\n", capital(&title), grid.open_ends()));
            tables.push_str(&format!("{title}\n{table}\n"));
            pictures.extend(grid.pictures(&title));
        }
    }
    let explained = "Test accuracy in percent at the end, mean ± deviation over seeds, in the column of ρ√(b/m), and of \
                     ρb/m for USAM. *At its best ρ*: each seed at the ρ that is best on the other seeds; in brackets the \
                     one that is best on all, at which *learnt* is the share of the wrong labels that the network gives \
                     in the end. *s an epoch*: the least time that an epoch of its runs took, with its micro-batches all \
                     at once. The last column is a difference paired by seed, with its 95 % interval.\n\n";
    let about = about(&rows[0].content.config);
    let (body, findings) = (format!("{explained}{body}"), Vec::new());
    Ok(Parts { about, measure: LAST.name, claims, body, table: tables, findings, pictures }.page("radius", rows))
}

/// SGD and the rules that are USAM or are not, as `reference` is; none if there is no run of the reference.
fn section(rows: &[RunRow], reference: Family) -> Option<Grid<Family>> {
    let is_usam = |family: Family| matches!(family, Family::Usam(_));
    let family = |row: &RunRow| Family::of(&row.content.config);
    let fits = |row: &&RunRow| family(row) == Family::Sgd || is_usam(family(row)) == is_usam(reference);
    let own: Vec<RunRow> = rows.iter().filter(fits).cloned().collect();
    let names = if is_usam(reference) { ["ρ", "ρb/m"] } else { ["ρ", "ρ√(b/m)"] };
    own.iter().any(|row| family(row) == reference).then(|| Grid::of(&own, Family::place, names))
}

/// Each curve beside the rule at the batch: at equal ρ, each at its best, and over the grid at equal effective ρ.
fn claims_of(grid: &Grid<Family>, reference: Family) -> Vec<Claim> {
    let Some(than) = grid.curve(reference) else { return Vec::new() };
    let mut claims = vec![grid.at_best(reference, Family::Sgd, Says::Higher)];
    for curve in grid.accuracy.iter().filter(|curve| ![Family::Sgd, reference].contains(&curve.kind)) {
        let what = |rest: &str| format!("{} against {}{rest}", curve.label, than.label);
        for (rho, by_seed) in &curve.points {
            if let Some(of_batch) = than.at(*rho, 1.) {
                claims.push(claim(what(&format!(" at ρ = {rho}")), by_seed, of_batch, Says::Higher));
            }
        }
        claims.push(grid.at_best(curve.kind, reference, Says::Higher));
        if curve.factor != 1. {
            let what = what(" at equal effective ρ, mean over the grid");
            claims.push(claim(what, &curve.mean_over_grid(), &than.mean_over_grid(), Says::Nothing));
        }
    }
    claims.into_iter().flatten().collect()
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
        assert!(of(4, " at equal effective ρ").contains("+0.00"));
        assert!(of(16, " at ρ = 0.1:").contains("as the paper says"), "nearer to its best at that ρ");
        let of_4 = line("| m-SAM (m = 4) ");
        assert!(of_4.contains("(0.05) | 20.0 ± 0.0 | 2.00 |"), "{of_4}");
        assert!(page.text.contains("No best ρ is at an end of its grid."));
        assert!(
            page.text.contains("- 40 % wrong labels, USAM: m-USAM (m = 16) against USAM, each at its best ρ: +0.00")
        );
        assert_eq!(page.pictures.len(), 9);
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

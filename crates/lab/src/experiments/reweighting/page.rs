//! The page of `reweighting`: what stands between RW-SAM and m-SAM, each at its best radius.

use super::runs::{M, RANDOM, SMALL, about, exact};
use crate::experiments::Family;
use crate::experiments::radius::{by_rho, is_compared};
use crate::page::columns::{END, M_EFF, OF_TRAINING, RHO, RIGHT, TRACE, WRONG};
use crate::page::contest::{Claim, Column, LAST, Says, standing};
use crate::page::grid::OF_GRIDS;
use crate::page::machine::Machine;
use crate::page::{Page, Parts};
use crate::run::outcome::RunRow;
use anyhow::Result;

/// Claims, the table, the grids, and their pictures.
pub fn page(rows: &[RunRow]) -> Result<Page> {
    let config = &rows[0].content.config;
    let sam = Family::Sam(config.optimisation.batch_size);
    let (compared, on_grid): (Vec<RunRow>, Vec<RunRow>) =
        rows.iter().cloned().partition(|row| is_compared(&row.content.config));
    let machine = Machine::of(&compared);
    let seconds: Column = ("s an epoch", &|rows| machine.seconds_an_epoch(rows));
    let table = standing(&compared, LAST, &[RHO, RIGHT, WRONG, END, M_EFF, TRACE, seconds], &["SGD", "SAM"]);
    let mut body = String::new();
    if !compared.is_empty() {
        body.push_str(&format!("{OF_TRAINING} {}\n\n{table}\n", machine.explained()));
    }
    let mut pictures = Vec::new();
    if !on_grid.is_empty() {
        let grid = by_rho(&on_grid);
        body.push_str(&format!("### Grid of ρ\n\n{OF_GRIDS}\n\n{}\n{}\n", grid.table(), grid.open_ends()));
        // Rules that descend the weighted loss are at much smaller ρ.
        let is_small = |row: &RunRow| matches!(Family::of_row(row), Family::Reweighted(rule) if rule.descended);
        let drawn: Vec<RunRow> = on_grid.into_iter().filter(|row| !is_small(row)).collect();
        pictures = by_rho(&drawn).pictures(&format!("{:.0} % wrong labels", 100. * config.data.label_noise));
    }
    let (about, claims, findings) = (about(config), claims(&compared, sam), Vec::new());
    Ok(Parts { about, measure: LAST.name, claims, body, table, findings, pictures }.page("reweighting", rows))
}

/// What `radius` does not say of the same runs.
fn claims(rows: &[RunRow], sam: Family) -> Vec<Claim> {
    let (m_sam, ascent, probe) = (Family::Sam(M), Family::Ascent(M), Family::probe(M));
    let pairs = [
        (m_sam, ascent, Says::Reason),
        (ascent, sam, Says::Nothing),
        (exact(SMALL), sam, Says::Higher),
        (exact(M), probe, Says::Nothing),
        (exact(M).descended(), exact(M), Says::Nothing),
        (exact(M).descended(), RANDOM, Says::Nothing),
        (exact(M).descended(), sam, Says::Nothing),
        (RANDOM, sam, Says::Nothing),
        (Family::Delta, sam, Says::Nothing),
        (probe, m_sam, Says::Same),
        (exact(M), m_sam, Says::Same),
        (exact(M).descended(), m_sam, Says::Same),
    ];
    pairs.into_iter().filter_map(|(one, than, says)| one.against(than, says, rows, LAST)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::runs::configs;
    use super::*;
    use crate::config::RunConfig;
    use crate::experiments::Preset;
    use crate::page::table::tests::row_of;

    /// Accuracy is a function of the effective radius, and exact norms bring two points.
    #[test]
    fn what_is_between_two_rules_is_told() {
        let of = |config: RunConfig| {
            let (family, rho, factor) = Family::place(&config);
            let gain = if [exact(M), exact(M).descended()].contains(&family) { 0.02 } else { 0. };
            let lost = if is_compared(&config) { 0. } else { (rho * factor - 0.2).powi(2) };
            let accuracy = 0.4 + 0.01 * config.optimisation.seed as f64 - lost + gain;
            row_of(config, accuracy, &[])
        };
        let rows: Vec<RunRow> = configs(Preset::Laptop).into_iter().map(of).collect();
        let page = page(&rows).unwrap();
        for said in [
            "- RW-SAM (m_eff = 16, exact norms) against RW-SAM (m_eff = 16): +2.00 (+2.00 to +2.00), **they differ**",
            "- m-SAM (m = 16) against m-SAM, shared descent (m = 16): +0.00",
            "**they differ: m_eff is not m**",
        ] {
            assert!(page.text.contains(said), "{said} in {}", page.text);
        }
        assert_eq!(page.text.lines().filter(|line| line.starts_with("- ") && line.contains(" against ")).count(), 12);
        assert_eq!(page.pictures.len(), 2, "none of labels learnt, which these rows do not have");
        page.pictures.iter().for_each(|picture| assert!(picture.figure.svg().is_ok()));
    }
}

//! The page of `reweighting`: what stands between RW-SAM and m-SAM, each at its best radius.

use super::runs::{M, SMALL, about, exact};
use crate::experiments::Family;
use crate::page::contest::{Claim, LAST, Says};
use crate::page::grid::Grid;
use crate::page::{Page, Parts};
use crate::run::outcome::RunRow;
use anyhow::Result;

/// Claims, a table and pictures.
pub fn page(rows: &[RunRow]) -> Result<Page> {
    let config = &rows[0].content.config;
    let sam = Family::Sam(config.optimisation.batch_size);
    let grid = Grid::of(rows, Family::place, ["ρ", "ρ√(b/m)"]);
    let table = grid.table(sam);
    let body = format!(
        "Test accuracy in percent at the end, mean ± deviation over seeds, in the column of ρ√(b/m). *At its best ρ*: \
         each seed at the ρ that is best on the other seeds; in brackets the one that is best on all, at which *learnt* \
         is the share of the wrong labels that the network gives in the end. *s an epoch*: the least time that an epoch \
         of its runs took. The last column is paired by seed, with its 95 % interval.\n\n{table}\n{}\n",
        grid.open_ends()
    );
    let of = format!("{:.0} % wrong labels", 100. * config.data.label_noise);
    let (claims, pictures, findings) = (claims(&grid, sam), grid.pictures(&of), Vec::new());
    Ok(Parts { about: about(config), measure: LAST.name, claims, body, table, findings, pictures }
        .page("reweighting", rows))
}

/// Each at its best ρ.
fn claims(grid: &Grid<Family>, sam: Family) -> Vec<Claim> {
    let (m_sam, ascent, probe) = (Family::Sam(M), Family::Ascent(M), Family::probe(M));
    let pairs = [
        (m_sam, sam, Says::Higher),
        (m_sam, ascent, Says::Reason),
        (ascent, sam, Says::Nothing),
        (probe, sam, Says::Higher),
        (exact(M), sam, Says::Higher),
        (exact(SMALL), sam, Says::Higher),
        (exact(M), probe, Says::Nothing),
        (probe.descended(), probe, Says::Nothing),
        (exact(M).descended(), exact(M), Says::Nothing),
        (exact(M).descended(), sam, Says::Nothing),
        (probe, m_sam, Says::Same),
        (exact(M), m_sam, Says::Same),
        (exact(M).descended(), m_sam, Says::Same),
    ];
    pairs.into_iter().filter_map(|(one, than, says)| grid.at_best(one, than, says)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::runs::configs;
    use super::*;
    use crate::config::RunConfig;
    use crate::experiments::Preset;
    use crate::page::table::tests::row;

    /// Accuracy is a function of the effective radius, and exact norms bring two points.
    #[test]
    fn what_is_between_two_rules_is_told() {
        let of = |config: RunConfig| {
            let (family, rho, factor) = Family::place(&config);
            let gain = if [exact(M), exact(M).descended()].contains(&family) { 0.02 } else { 0. };
            let accuracy = 0.4 + 0.01 * config.optimisation.seed as f64 - (rho * factor - 0.2).powi(2) + gain;
            let mut row = row("sgd", config.optimisation.seed, Some(accuracy));
            row.content.config = config;
            row
        };
        let rows: Vec<RunRow> = configs(Preset::Laptop).into_iter().map(of).collect();
        let page = page(&rows).unwrap();
        for said in [
            "- RW-SAM (m_eff = 16, exact norms) against RW-SAM (m_eff = 16), each at its best ρ: +2.00 (+2.00 to +2.00), **they differ**",
            "- m-SAM (m = 16) against m-SAM (shared descent) (m = 16), each at its best ρ: +0.00",
            "**they differ: m_eff is not m**",
        ] {
            assert!(page.text.contains(said), "{said} in {}", page.text);
        }
        assert_eq!(page.text.lines().filter(|line| line.contains("each at its best ρ")).count(), 13);
        assert_eq!(page.pictures.len(), 3);
        page.pictures.iter().for_each(|picture| assert!(picture.figure.svg().is_ok()));
    }
}

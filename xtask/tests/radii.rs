//! Rules are compared at radii that are written in the code: those that the committed grids say are best.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use msharp_lab::config::RunConfig;
use msharp_lab::experiments::{Family, cifar10, radius};
use msharp_lab::page::grid::Grid;
use msharp_lab::run::outcome::{Run, RunRow};
use msharp_lab::{paths, row};

/// In which runs of an experiment rules are compared, and not tried on a grid.
type IsCompared = fn(&RunConfig) -> bool;

#[test]
fn the_radii_at_which_rules_are_compared_are_the_best_of_the_committed_grids() {
    let experiments: [(&str, IsCompared); 4] = [
        ("radius", radius::is_compared),
        ("reweighting", radius::is_compared),
        ("cifar10", cifar10::is_compared),
        ("cifar100", cifar10::is_compared),
    ];
    let mut checked = 0;
    for (experiment, is_compared) in experiments {
        let path = paths::results().join(format!("{experiment}-laptop/rows.jsonl"));
        let rows: Vec<RunRow> = row::read::<Run>(&path).unwrap(); // none where nothing is committed
        let mut shares: Vec<f64> = rows.iter().map(|row| row.content.config.data.label_noise).collect();
        shares.sort_by(f64::total_cmp);
        shares.dedup();
        for share in shares {
            let of_share = rows.iter().filter(|row| row.content.config.data.label_noise == share).cloned();
            let (compared, tried): (Vec<RunRow>, Vec<RunRow>) =
                of_share.partition(|row| is_compared(&row.content.config));
            let grid = Grid::of(&tried, Family::place, ["ρ", "ρ"]).accuracy;
            if !experiment.starts_with("cifar") {
                // Before anything is compared, too.
                for curve in grid.iter().filter(|curve| curve.has_choice()) {
                    let of_family = tried.iter().find(|row| Family::of_row(row) == curve.kind).unwrap();
                    let taken = radius::at_best(curve.kind, &of_family.content.config).perturbation.rule.radius();
                    assert_eq!(taken, curve.best().map(|(best, _)| *best), "{experiment}: {}, {share}", curve.label);
                }
            }
            for row in &compared {
                let (config, family) = (&row.content.config, Family::of_row(row));
                let Some(rho) = config.perturbation.rule.radius() else { continue };
                let curve = grid.iter().find(|curve| curve.kind == family);
                let curve = curve.unwrap_or_else(|| panic!("{experiment}: no grid of {family:?} at {share}"));
                let best = curve.best().map(|(best, _)| *best);
                // Some rules are also compared beside their best ρ, and at that of another rule.
                let is_another = experiment == "radius" && radius::AROUND.contains(&family);
                let at_own = |other: &&RunRow| {
                    Family::of_row(other) == family && other.content.config.perturbation.rule.radius() == best
                };
                let is_right = Some(rho) == best || is_another && compared.iter().any(|other| at_own(&other));
                assert!(is_right, "{experiment}: {} at {rho}, and best at {best:?}, {share}", curve.label);
                checked += 1;
            }
        }
    }
    assert!(checked > 0, "nothing was compared");
}

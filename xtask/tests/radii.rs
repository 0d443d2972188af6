//! Rules are compared at radii that are written in the code: those that the committed grids say are best.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use msharp_lab::experiments::{Family, radius};
use msharp_lab::page::grid::Grid;
use msharp_lab::run::outcome::{Run, RunRow};
use msharp_lab::{paths, row};

#[test]
fn the_radii_at_which_rules_are_compared_are_the_best_of_the_committed_grids() {
    for experiment in ["radius", "reweighting"] {
        let path = paths::results().join(format!("{experiment}-laptop/rows.jsonl"));
        let rows: Vec<RunRow> = row::read::<Run>(&path).unwrap();
        let on_grid = |row: &&RunRow| {
            let config = &row.content.config;
            config.data.label_noise > 0. && !radius::is_compared(config)
        };
        let grid: Vec<RunRow> = rows.iter().filter(on_grid).cloned().collect();
        let of_family = |family: Family| rows.iter().map(|row| &row.content.config).find(|c| Family::of(c) == family);
        for curve in Grid::of(&grid, Family::place, ["ρ", "ρ"]).accuracy.iter().filter(|curve| curve.has_choice()) {
            let taken = radius::at_best(curve.kind, of_family(curve.kind).unwrap()).perturbation.rule.radius();
            assert_eq!(taken, curve.best().map(|(best, _)| *best), "{experiment}: {}", curve.label);
        }
    }
}

//! A value of runs against a number that was varied, as ρ, and where that number is best.

use crate::statistics::paired::BySeed;
use crate::statistics::{Summary, summarise};

/// The runs of rules that differ in one number alone.
#[derive(Clone, Debug)]
pub struct Curve<K> {
    /// Which rules they are.
    pub kind: K,
    /// What they are called.
    pub label: String,
    /// What the number is multiplied by to be compared with that of another curve, as √(b/m).
    pub factor: f64,
    /// By the number, ascending; that of a rule without one is 0.
    pub points: Vec<(f64, BySeed)>,
    /// The numbers at which a run diverged.
    pub diverged: Vec<f64>,
}

impl<K> Curve<K> {
    /// The points at which no run diverged.
    fn sound(&self) -> impl Iterator<Item = &(f64, BySeed)> {
        self.points.iter().filter(|(number, _)| !self.diverged.contains(number))
    }

    /// The seeds of which there is a run at each of these points: while runs are still to be made, one that has only
    /// some would choose by these.
    fn seeds(&self) -> Vec<u64> {
        let Some((_, first)) = self.sound().next() else { return Vec::new() };
        let everywhere = |seed: &u64| self.sound().all(|(_, by_seed)| by_seed.contains_key(seed));
        first.keys().copied().filter(everywhere).collect()
    }

    /// Whether it has no number, as SGD has no ρ.
    pub fn is_level(&self) -> bool {
        self.points.iter().all(|(number, _)| *number == 0.)
    }

    /// Whether more than one number was tried.
    pub fn has_choice(&self) -> bool {
        self.points.len() > 1
    }

    /// The number with the highest mean over the seeds that have all numbers, and the values there; of several the
    /// largest.
    pub fn best(&self) -> Option<&(f64, BySeed)> {
        self.all_best().pop()
    }

    /// All that share the highest mean, which accuracies of few images often do.
    pub fn all_best(&self) -> Vec<&(f64, BySeed)> {
        let seeds = self.seeds();
        let sum = |by_seed: &BySeed| seeds.iter().map(|seed| by_seed.get(seed)).sum::<Option<f64>>();
        let known: Vec<_> = self.sound().filter_map(|point| Some((sum(&point.1)?, point))).collect();
        let highest = known.iter().map(|(sum, _)| *sum).fold(f64::NEG_INFINITY, f64::max);
        let is_highest = |(sum, _): &(f64, _)| !seeds.is_empty() && highest - sum <= 1e-9 * highest.abs();
        known.into_iter().filter(is_highest).map(|(_, point)| point).collect()
    }

    /// Whether the best number is the smallest or the largest that was tried.
    pub fn is_best_at_an_end(&self) -> bool {
        let ends = [self.points.first(), self.points.last()];
        let best = self.best().map(|(number, _)| *number);
        self.has_choice() && ends.into_iter().flatten().any(|(number, _)| Some(*number) == best)
    }

    /// The values at a number, or at a number times its factor where `factor` is that of the curve.
    pub fn at(&self, wanted: f64, factor: f64) -> Option<&BySeed> {
        let near = |number: f64| (number * factor - wanted).abs() <= 1e-4 * wanted;
        self.points.iter().find(|(number, _)| near(*number)).map(|(_, by_seed)| by_seed)
    }
}

/// The values alone.
pub fn values(by_seed: &BySeed) -> Vec<f64> {
    by_seed.values().copied().collect()
}

/// Mean and deviation over the seeds.
pub fn over_seeds(by_seed: &BySeed) -> Option<Summary> {
    summarise(&values(by_seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(points: &[(f64, &[f64])]) -> Curve<()> {
        let by_seed = |values: &[f64]| (0..).zip(values.iter().copied()).collect();
        let points = points.iter().map(|(rho, values)| (*rho, by_seed(values))).collect();
        Curve { kind: (), label: "m-SAM (m = 4)".to_owned(), factor: 4., points, diverged: Vec::new() }
    }

    #[test]
    fn the_best_has_the_highest_mean() {
        let curve = curve(&[(0.1, &[10., 50., 41.]), (0.2, &[60., 40., 52.])]);
        assert_eq!(curve.best().unwrap().0, 0.2);
        assert!(curve.is_best_at_an_end());
    }

    #[test]
    fn of_equal_means_the_larger_number_is_taken_and_all_are_known() {
        let curve = curve(&[(0.1, &[31.9, 35.2]), (0.2, &[31.7, 35.4]), (0.3, &[31.7, 35.3])]);
        assert_eq!(curve.best().unwrap().0, 0.2);
        assert_eq!(curve.all_best().iter().map(|point| point.0).collect::<Vec<_>>(), [0.1, 0.2]);
    }

    #[test]
    fn a_radius_at_which_a_run_diverged_is_not_chosen() {
        let mut curve = curve(&[(0.1, &[10., 20., 30.]), (0.2, &[60., 40., 52.])]);
        curve.points[1].1.remove(&2);
        curve.diverged.push(0.2);
        assert_eq!(curve.best().unwrap().0, 0.1);
        assert!(curve.at(0.4, 4.).is_some_and(|at| at[&0] == 10.));
        assert!(curve.at(0.4, 1.).is_none());
    }

    /// Seed 2 has run at .1 only: it has no part in the choice yet.
    #[test]
    fn a_seed_that_is_not_done_chooses_nothing() {
        let mut curve = curve(&[(0.1, &[10., 20., 90.]), (0.2, &[60., 40., 0.])]);
        curve.points[1].1.remove(&2);
        assert_eq!(curve.best().unwrap(), &(0.2, BySeed::from([(0, 60.), (1, 40.)])));
        curve.points[1].1.clear();
        assert!(curve.best().is_none());
    }
}

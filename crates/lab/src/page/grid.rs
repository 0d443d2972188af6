//! Runs over a grid of a number, as ρ or λ: the accuracy of each rule at each point, as a table and as pictures.

mod curve;

pub use curve::{Curve, over_seeds};

use curve::values;

use super::Picture;
use super::contest::{Claim, LAST, Says, Scale, percent_at_end};
use super::markdown::table;
use crate::config::RunConfig;
use crate::plot::{Axis, Figure, Point, Series, Style};
use crate::run::outcome::{Ending, RunRow};
use crate::statistics::paired::{BySeed, difference};

/// Where a run stands: its kind, the number, and the factor of its curve.
pub type Place<K> = (K, f64, f64);

/// What explains the table of a grid of ρ.
pub const OF_GRIDS: &str = "In the grids a column is an equivalent ρ, and the test accuracy in percent at the end \
                            stands in it, with its standard deviation over the few seeds of the grid. The best ρ has \
                            the highest mean; the accuracy there is a little too high, since these runs chose it. \
                            *Learnt* is the share of the wrongly labelled images for which the network predicts that \
                            label in the end.";

/// What was measured at each point.
pub struct Grid<K> {
    /// Test accuracy at the end, in percent.
    pub accuracy: Vec<Curve<K>>,
    /// Of the wrong labels, the share in percent that the network gives in the end; without values where all are right.
    learnt: Vec<Curve<K>>,
    /// What the number is called, and its product with the factor.
    names: [&'static str; 2],
}

impl<K: PartialEq + Copy> Grid<K> {
    /// Of rows, each at its `place`; `names` are those of the number, and of its product with the factor.
    pub fn of(rows: &[RunRow], place: impl Fn(&RunConfig) -> Place<K>, names: [&'static str; 2]) -> Self {
        Self {
            accuracy: curves(rows, &place, LAST.of),
            learnt: curves(rows, &place, |row| percent_at_end(row, "train_accuracy_wrong")),
            names,
        }
    }

    /// A line for each kind, a column for each number times its factor, and the best number.
    pub fn table(&self) -> String {
        let number = self.names[0];
        let mut columns: Vec<f64> = Vec::new();
        for curve in self.accuracy.iter().filter(|curve| !curve.is_level()) {
            for at in curve.points.iter().map(|(at, _)| at * curve.factor) {
                if !columns.iter().any(|known| (known - at).abs() <= 1e-4 * at) {
                    columns.push(at);
                }
            }
        }
        columns.sort_by(f64::total_cmp);
        let mut head = vec!["rule".to_owned()];
        head.extend(columns.iter().map(|at| rounded(*at).to_string()));
        let is_scaled = self.accuracy.iter().any(|curve| curve.factor != 1.);
        let scaled = if is_scaled { format!(" ({})", self.names[1]) } else { String::new() };
        head.push(format!("at the best {number}{scaled}"));
        let has_learnt = self.has_learnt();
        head.extend(has_learnt.then(|| "learnt".to_owned()));
        let text = |by_seed: &BySeed| over_seeds(by_seed).map_or("–".to_owned(), |summary| summary.text(1));
        let line = |curve: &Curve<K>| {
            let mut cells = vec![curve.label.clone()];
            cells.extend(columns.iter().map(|at| curve.at(*at, curve.factor).map_or("–".to_owned(), text)));
            cells.push(match curve.best() {
                Some((_, by_seed)) if curve.is_level() => text(by_seed),
                Some((best, by_seed)) if is_scaled => {
                    format!("{} at {best} ({})", text(by_seed), rounded(best * curve.factor))
                }
                Some((best, by_seed)) => format!("{} at {best}", text(by_seed)),
                None => "–".to_owned(),
            });
            if has_learnt {
                let learnt = self.learnt.iter().find(|learnt| learnt.kind == curve.kind);
                let at_best = curve.best().and_then(|(best, _)| {
                    let found = learnt?.points.iter().find(|(at, _)| at == best);
                    found.map(|(_, by_seed)| by_seed).filter(|by_seed| !by_seed.is_empty())
                });
                cells.push(at_best.map_or("–".to_owned(), text));
            }
            cells
        };
        table(&head, self.accuracy.iter().map(line))
    }

    /// Where each rule is best, and what that is times its factor.
    pub fn best(&self) -> Option<String> {
        let [number, scaled] = self.names;
        let of_curve = |curve: &Curve<K>| {
            let (best, _) = curve.best().filter(|_| curve.has_choice())?;
            Some(format!("{best} ({}) of {}", rounded(best * curve.factor), curve.label))
        };
        let all: Vec<String> = self.accuracy.iter().filter_map(of_curve).collect();
        (!all.is_empty()).then(|| format!("The best {number}, and in brackets the {scaled}: {}.", all.join(", ")))
    }

    /// Whether it is known how many wrong labels were learnt.
    fn has_learnt(&self) -> bool {
        self.learnt.iter().flat_map(|curve| &curve.points).any(|(_, by_seed)| !by_seed.is_empty())
    }

    /// Which grids do not hold their best number with certainty.
    pub fn open_ends(&self) -> String {
        let named = |fits: &dyn Fn(&Curve<K>) -> bool| {
            let fitting = self.accuracy.iter().filter(|curve| curve.has_choice() && fits(curve));
            fitting.map(|curve| curve.label.as_str()).collect::<Vec<_>>().join(", ")
        };
        let (open, undecided) = (named(&Curve::is_best_at_an_end), named(&|curve| curve.best().is_none()));
        let (number, mut all) = (self.names[0], Vec::new());
        if !open.is_empty() {
            all.push(format!("The best {number} is at an end of the grid for {open}: a wider one may be better.\n"));
        }
        let is_equal = |curve: &&Curve<K>| curve.has_choice() && curve.all_best().len() > 1;
        let equal = |curve: &Curve<K>| {
            let numbers: Vec<String> = curve.all_best().iter().map(|(at, _)| at.to_string()).collect();
            format!("{} of {}", numbers.join(" and "), curve.label)
        };
        let ties: Vec<String> = self.accuracy.iter().filter(is_equal).map(equal).collect();
        if !ties.is_empty() {
            all.push(format!("Equal are the means at {}: the larger is taken as the best.\n", ties.join(", at ")));
        }
        if !undecided.is_empty() {
            all.push(format!("No seed has run on the whole grid for {undecided}.\n"));
        }
        if open.is_empty() && undecided.is_empty() && self.accuracy.iter().any(Curve::has_choice) {
            all.push(format!("No best {number} is at an end of its grid.\n"));
        }
        all.concat()
    }

    /// Accuracy over the product of the number and the factor where a curve has another than 1, over the number, and
    /// over the share of wrong labels that was learnt where it is known. `of` says of which runs.
    pub fn pictures(&self, of: &str) -> Vec<Picture> {
        let middle = |curve: &Curve<K>| curve.points.iter().map(|(at, _)| *at).find(|at| *at > 0.);
        let anywhere = self.accuracy.iter().find_map(middle).unwrap_or(1.);
        let over = |name_of_file: &str, name: &str, is_scaled: bool| {
            let of_curve = |curve: &Curve<K>| {
                let style = if curve.is_level() { Style::Level } else { Style::Both };
                let factor = if is_scaled { curve.factor } else { 1. };
                // A rule that has no such number is drawn as a level, which is anywhere.
                let x = |at: f64| if curve.is_level() { anywhere } else { at * factor };
                let point = |(at, by_seed): &(f64, BySeed)| with_error(x(*at), by_seed);
                Series::new(&curve.label, style, curve.points.iter().filter_map(point))
            };
            let figure = Figure {
                title: format!("Accuracy against {name}, {of}"),
                x: Axis::log(name),
                y: Axis::linear("test accuracy, %"),
                series: self.accuracy.iter().map(of_curve).collect(),
                slopes: Vec::new(),
            };
            Picture {
                file: file(name_of_file, of),
                alt: format!("Test accuracy against {name} with {of}, a curve for each rule"),
                figure,
            }
        };
        let mut pictures = Vec::new();
        if self.accuracy.iter().any(|curve| curve.factor != 1.) {
            pictures.push(over("scaled", self.names[1], true));
        }
        pictures.push(over("equal", self.names[0], false));
        if self.has_learnt() {
            pictures.push(self.over_learnt(file("learnt", of), of));
        }
        pictures
    }

    /// Accuracy over the share of the wrong labels that the network gives in the end, a mark for each point of the
    /// grid: whether rules differ in more than how far they fit.
    fn over_learnt(&self, file: String, of: &str) -> Picture {
        let marks = |(accuracy, learnt): (&Curve<K>, &Curve<K>)| {
            let point = |((_, accuracy), (_, learnt)): (&(f64, BySeed), &(f64, BySeed))| {
                with_error(over_seeds(learnt)?.mean, accuracy)
            };
            let mut points: Vec<Point> = accuracy.points.iter().zip(&learnt.points).filter_map(point).collect();
            points.sort_by(|a, b| a.x.total_cmp(&b.x));
            Series::new(&accuracy.label, Style::Both, points)
        };
        let figure = Figure {
            title: format!("Accuracy against wrong labels learnt, {of}"),
            x: Axis::linear("wrong labels learnt, %").measured(),
            y: Axis::linear("test accuracy, %"),
            series: self.accuracy.iter().zip(&self.learnt).map(marks).collect(),
            slopes: Vec::new(),
        };
        let alt = format!("Test accuracy against the share of wrong labels learnt with {of}, a curve for each rule");
        Picture { file, alt, figure }
    }
}

/// To six decimals: 8 · 0.02125 is 0.17.
pub fn rounded(number: f64) -> f64 {
    (number * 1e6).round() / 1e6
}

/// The name of a picture's file, of some runs.
pub fn file(picture: &str, of: &str) -> String {
    format!("{picture}-{}.svg", of.replace([',', '%'], "").replace("  ", " ").replace(' ', "-"))
}

/// What the difference of two says, paired by seed; none if they have no seed in common.
pub fn claim(what: String, one: &BySeed, than: &BySeed, says: Says) -> Option<Claim> {
    Some(Claim::of(what, &difference(one, than)?, Scale::Points, says))
}

fn with_error(x: f64, by_seed: &BySeed) -> Option<Point> {
    Point::of_mean(x, &values(by_seed))
}

/// A curve of `value` for each kind, in order of appearance, under the label of its first run. A run that diverged has
/// no value.
fn curves<K: PartialEq + Copy>(
    rows: &[RunRow],
    place: impl Fn(&RunConfig) -> Place<K>,
    value: impl Fn(&RunRow) -> Option<f64>,
) -> Vec<Curve<K>> {
    let mut all: Vec<Curve<K>> = Vec::new();
    for row in rows {
        let config = &row.content.config;
        let (kind, number, factor) = place(config);
        let at = all.iter().position(|curve| curve.kind == kind).unwrap_or_else(|| {
            all.push(Curve { kind, label: config.rule_label(), factor, points: Vec::new(), diverged: Vec::new() });
            all.len() - 1
        });
        let Curve { points, diverged, .. } = &mut all[at];
        if row.content.outcome != Ending::Finished {
            diverged.push(number);
        }
        let at = points.iter().position(|(known, _)| *known == number).unwrap_or_else(|| {
            points.push((number, BySeed::new()));
            points.len() - 1
        });
        let value = value(row).filter(|_| row.content.outcome == Ending::Finished);
        points[at].1.extend(value.map(|value| (config.optimisation.seed, value)));
    }
    all.iter_mut().for_each(|curve| curve.points.sort_by(|a, b| a.0.total_cmp(&b.0)));
    all
}

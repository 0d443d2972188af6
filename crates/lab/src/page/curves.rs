//! Curves of several rules as a figure: the mean over the seeds, and each seed as a faint line.

use super::machine::Machine;
use super::table::groups;
use crate::plot::{Axis, Figure, Scale, Series, Style};
use crate::run::outcome::{EpochLine, RunRow};
use std::collections::BTreeMap;

/// What is drawn.
pub struct Curves<'a> {
    /// Above the figure.
    pub title: &'a str,
    /// Beside the ordinate.
    pub y: &'a str,
    /// The value of an epoch, if it has one.
    pub of: fn(&EpochLine) -> Option<f64>,
    /// How much of an epoch before its end the value belongs to: 0 for one at its end, ½ for a mean over it.
    pub back: f64,
    /// Of the ordinate.
    pub scale: Scale,
    /// What the abscissa counts.
    pub over: Over,
}

/// What an abscissa counts.
#[derive(Clone, Copy, PartialEq)]
pub enum Over {
    /// Epochs.
    Epochs,
    /// Optimizer steps.
    Steps,
    /// Seconds of training, each epoch taken as long as the shortest that the rule had on one [`Machine`].
    Seconds,
}

/// Test accuracy by epoch.
pub const ACCURACY: Curves = Curves {
    title: "Test accuracy",
    y: "test accuracy, %",
    of: |line| Some(100. * line.test_accuracy),
    back: 0.,
    scale: Scale::Linear,
    over: Over::Epochs,
};

impl Curves<'_> {
    /// The figure, a line for each rule.
    pub fn figure(&self, rows: &[RunRow]) -> Figure {
        let x = match self.over {
            Over::Epochs => "epoch",
            Over::Steps => "step",
            Over::Seconds => "seconds of training",
        };
        let machine = Machine::of(rows);
        let series = groups(rows).into_iter().map(|group| {
            let least = machine.least_seconds(&group);
            let each = group.iter().map(|row| self.points(row, least)).filter(|_| group.len() > 1).collect();
            Series { each, ..Series::new(&group[0].content.config.rule_label(), Style::Line, self.mean(&group, least)) }
        });
        Figure {
            title: self.title.to_owned(),
            x: Axis::linear(x),
            y: Axis { scale: self.scale, ..Axis::linear(self.y) },
            series: series.collect(),
            slopes: Vec::new(),
        }
    }

    /// The curve of a run, whose epochs take this many seconds.
    fn points(&self, row: &RunRow, seconds: Option<f64>) -> Vec<(f64, f64)> {
        row.content.curve.iter().filter_map(|line| self.point(row, line, seconds)).collect()
    }

    fn point(&self, row: &RunRow, line: &EpochLine, seconds: Option<f64>) -> Option<(f64, f64)> {
        let epochs = row.content.curve.iter().map(|line| line.epoch).max().unwrap_or(1).max(1) as f64;
        let unit = match self.over {
            Over::Epochs => 1.,
            Over::Steps => row.content.cost.steps as f64 / epochs,
            Over::Seconds => seconds?,
        };
        Some((unit * (line.epoch as f64 - self.back).max(0.), (self.of)(line)?))
    }

    /// The mean over the seeds at the epochs at which all of them have a value, the geometric one on a logarithmic
    /// scale. By epoch and not by index, for a curve may lack a point that another has.
    fn mean(&self, group: &[&RunRow], seconds: Option<f64>) -> Vec<(f64, f64)> {
        let mut at: BTreeMap<usize, Vec<(f64, f64)>> = BTreeMap::new();
        for row in group {
            for line in &row.content.curve {
                at.entry(line.epoch).or_default().extend(self.point(row, line, seconds));
            }
        }
        let mean = |points: Vec<(f64, f64)>| {
            let of = |value: fn(f64) -> f64| points.iter().map(|p| value(p.1)).sum::<f64>() / points.len() as f64;
            let y = if self.scale == Scale::Log { of(f64::ln).exp() } else { of(|y| y) };
            (points[0].0, y)
        };
        at.into_values().filter(|points| points.len() == group.len()).map(mean).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::table::tests::{point, row};

    #[test]
    fn curves_are_by_step_and_their_mean_is_where_all_have_one() {
        let line = |epoch, accuracy| point(epoch, accuracy, &[]);
        let (mut a, mut b) = (row("sam", 0, Some(0.5)), row("sam", 1, Some(0.5)));
        (a.content.cost.steps, b.content.cost.steps) = (20, 10); // the second was stopped
        a.content.curve = vec![line(0, 0.1), line(1, 0.2), line(2, 0.4)];
        b.content.curve = vec![line(0, 0.3), line(1, 0.4)];
        let of = |line: &EpochLine| Some(line.test_accuracy);
        let curves = Curves { of, back: 0.5, over: Over::Steps, ..ACCURACY };
        assert_eq!(curves.points(&a, None), [(0., 0.1), (5., 0.2), (15., 0.4)]);
        let mean = curves.mean(&[&a, &b], None);
        assert_eq!((mean.len(), mean[1].0), (2, 5.));
        assert!((mean[0].1 - 0.2).abs() < 1e-12 && (mean[1].1 - 0.3).abs() < 1e-12);
        // One that lacks a point in the middle: means are of one epoch, not of one index.
        b.content.curve = vec![line(0, 0.3), line(2, 0.6)];
        let mean = curves.mean(&[&a, &b], None);
        assert_eq!(mean.len(), 2);
        assert!((mean[0].1 - 0.2).abs() < 1e-12 && (mean[1].1 - 0.5).abs() < 1e-12, "{mean:?}");
        let geometric = Curves { scale: Scale::Log, back: 0., ..curves };
        assert!((geometric.mean(&[&a, &b], None)[0].1 - 0.03f64.sqrt()).abs() < 1e-12);
        // The shortest epoch of both takes a second.
        let by_time = Curves { over: Over::Seconds, back: 0., ..curves };
        a.content.curve[1].seconds = 4.;
        assert_eq!(
            by_time.points(&a, Machine::of(&[a.clone(), b.clone()]).least_seconds(&[&a, &b])),
            [(0., 0.1), (1., 0.2), (2., 0.4)]
        );
        assert!(geometric.figure(&[a, b]).svg().unwrap().contains("SAM"));
    }
}

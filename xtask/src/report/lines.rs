//! Curves of several rules by step, as an SVG picture: the mean over the seeds, and each seed as a faint line.

use super::frame::{COLOURS, legend, span};
use super::table::groups;
use crate::row::{EpochLine, Row};
use anyhow::Result;
use plotters::prelude::*;
use std::collections::BTreeMap;

/// What is drawn.
pub struct Lines<'a> {
    pub title: &'a str,
    /// What stands beside the ordinate.
    pub y: &'a str,
    /// The value of an epoch, if it has one.
    pub of: fn(&EpochLine) -> Option<f64>,
    /// How much of an epoch before its end the value belongs to: 0 for one at its end, ½ for a mean over it.
    pub back: f64,
    /// A logarithmic ordinate.
    pub log: bool,
    pub legend: SeriesLabelPosition,
}

impl Lines<'_> {
    /// The picture.
    pub fn draw(&self, rows: &[Row]) -> Result<String> {
        let groups = groups(rows);
        let all: Vec<(f64, f64)> = rows.iter().flat_map(|row| self.points(row)).collect();
        let last = all.iter().map(|point| point.0).fold(1., f64::max);
        let (low, high) = span(all.iter().map(|point| (point.1, point.1)), 0.04);
        let log = self.log;

        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, (720, 420)).into_drawing_area();
            area.fill(&WHITE)?;
            let mut chart = ChartBuilder::on(&area)
                .caption(self.title, ("sans-serif", 18))
                .margin(12)
                .x_label_area_size(40)
                .y_label_area_size(64)
                .build_cartesian_2d(0f64..last, low..high)?;
            chart
                .configure_mesh()
                .x_desc("step")
                .y_desc(self.y)
                .x_label_formatter(&|step| format!("{step:.0}"))
                .y_label_formatter(&|y| if log { short(10f64.powf(*y)) } else { format!("{y:.0}") })
                .bold_line_style(RGBColor(225, 225, 225))
                .light_line_style(WHITE)
                .draw()?;
            for (group, colour) in groups.iter().zip(COLOURS.iter().cycle()) {
                if group.len() > 1 {
                    for row in group {
                        chart.draw_series(LineSeries::new(self.points(row), colour.mix(0.2)))?;
                    }
                }
                chart
                    .draw_series(LineSeries::new(self.mean(group), colour.stroke_width(2)))?
                    .label(group[0].config.rule_label())
                    .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(2)));
            }
            legend(&mut chart, self.legend.clone())?;
            area.present()?;
        }
        Ok(svg)
    }

    /// The curve of a run: steps, and values or their logarithms to the base 10.
    fn points(&self, row: &Row) -> Vec<(f64, f64)> {
        row.curve.iter().filter_map(|line| self.point(row, line)).collect()
    }

    fn point(&self, row: &Row, line: &EpochLine) -> Option<(f64, f64)> {
        let steps = row.cost.steps as f64 / row.curve.iter().map(|line| line.epoch).max().unwrap_or(1).max(1) as f64;
        let value = (self.of)(line)?;
        let value = if self.log { value.max(1e-12).log10() } else { value };
        Some((steps * (line.epoch as f64 - self.back).max(0.), value))
    }

    /// The mean over the seeds at the epochs at which all of them have a value; of logarithms, where these are drawn.
    fn mean(&self, group: &[&Row]) -> Vec<(f64, f64)> {
        mean_by_epoch(group, |row, line| self.point(row, line))
    }
}

/// The points of a group of runs that differ in their seed: at each epoch at which all of them have one, its place and
/// the mean. By epoch and not by index, for a curve may lack a point that another has.
pub fn mean_by_epoch(group: &[&Row], point: impl Fn(&Row, &EpochLine) -> Option<(f64, f64)>) -> Vec<(f64, f64)> {
    let mut at: BTreeMap<usize, Vec<(f64, f64)>> = BTreeMap::new();
    for row in group {
        for line in &row.curve {
            at.entry(line.epoch).or_default().extend(point(row, line));
        }
    }
    let whole = at.into_values().filter(|points| points.len() == group.len());
    whole.map(|points| (points[0].0, points.iter().map(|point| point.1).sum::<f64>() / points.len() as f64)).collect()
}

/// `0.3`, `25`, `2e4`.
fn short(value: f64) -> String {
    match value {
        v if v >= 1e4 => format!("{v:.0e}"),
        v if v >= 10. => format!("{v:.0}"),
        v => format!("{v:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::table::tests::row;

    #[test]
    fn curves_are_by_step_and_their_mean_is_where_all_have_one() {
        let line = |epoch, test_accuracy| EpochLine {
            epoch,
            train_loss: None,
            test_loss: None,
            test_accuracy,
            seconds: 1.,
            measures: BTreeMap::new(),
        };
        let (mut a, mut b) = (row("sam", 0, Some(0.5)), row("sam", 1, Some(0.5)));
        (a.cost.steps, b.cost.steps) = (20, 20);
        a.curve = vec![line(0, 0.1), line(1, 0.2), line(2, 0.4)];
        b.curve = vec![line(0, 0.3), line(1, 0.4)];
        b.cost.steps = 10; // it was stopped
        let legend = SeriesLabelPosition::LowerRight;
        let of = |line: &EpochLine| Some(line.test_accuracy);
        let lines = Lines { title: "t", y: "y", of, back: 0.5, log: false, legend };
        assert_eq!(lines.points(&a), [(0., 0.1), (5., 0.2), (15., 0.4)]);
        let mean = lines.mean(&[&a, &b]);
        assert_eq!((mean.len(), mean[1].0), (2, 5.));
        assert!((mean[0].1 - 0.2).abs() < 1e-12 && (mean[1].1 - 0.3).abs() < 1e-12);
        // One that lacks a point in the middle: means are of one epoch, not of one index.
        b.curve = vec![line(0, 0.3), line(2, 0.6)];
        let mean = lines.mean(&[&a, &b]);
        assert_eq!(mean.len(), 2);
        assert!((mean[0].1 - 0.2).abs() < 1e-12 && (mean[1].1 - 0.5).abs() < 1e-12, "{mean:?}");
        let logarithms = Lines { log: true, back: 0., ..lines };
        assert!((logarithms.points(&a)[0].1 + 1.).abs() < 1e-12);
        assert!(logarithms.draw(&[a, b]).unwrap().contains("SAM"));
    }
}

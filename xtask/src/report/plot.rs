//! The curves of a network under several rules, as an SVG picture.

use super::frame::{COLOURS, legend};
use super::lines::mean_by_epoch;
use super::table::groups;
use crate::row::{EpochLine, Row};
use anyhow::Result;
use plotters::prelude::*;

/// Test accuracy by epoch, one line for each rule: the mean over the seeds, and each seed as a faint line.
pub fn plot(title: &str, rows: &[Row]) -> Result<String> {
    let point = |line: &EpochLine| (line.epoch as f64, 100. * line.test_accuracy);
    let points = |row: &Row| -> Vec<(f64, f64)> { row.curve.iter().map(point).collect() };
    let all: Vec<(f64, f64)> = rows.iter().flat_map(points).collect();
    let last = all.iter().map(|p| p.0).fold(1., f64::max);
    let (low, high) = all.iter().fold((100f64, 0f64), |(low, high), p| (low.min(p.1), high.max(p.1)));
    let (low, high) = if all.is_empty() { (0., 100.) } else { ((low - 2.).max(0.), (high + 2.).min(100.)) };

    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (720, 420)).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(56)
            .build_cartesian_2d(1f64..last.max(2.), low..high)?;
        chart
            .configure_mesh()
            .x_desc("epoch")
            .y_desc("test accuracy, %")
            .x_labels(last.clamp(2., 10.) as usize)
            .x_label_formatter(&|epoch| format!("{epoch:.0}"))
            .y_label_formatter(&|accuracy| format!("{accuracy:.0}"))
            .bold_line_style(RGBColor(225, 225, 225))
            .light_line_style(WHITE)
            .draw()?;
        for (group, colour) in groups(rows).into_iter().zip(COLOURS.iter().cycle()) {
            if group.len() > 1 {
                for row in &group {
                    chart.draw_series(LineSeries::new(points(row), colour.mix(0.25)))?;
                }
            }
            chart
                .draw_series(LineSeries::new(
                    mean_by_epoch(&group, |_, line| Some(point(line))),
                    colour.stroke_width(2),
                ))?
                .label(group[0].config.rule_label())
                .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(2)));
        }
        legend(&mut chart, SeriesLabelPosition::LowerRight)?;
        area.present()?;
    }
    Ok(svg)
}

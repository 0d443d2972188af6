//! Ranks by the number of probes, and the error of slopes by the length of the step, as SVG pictures.

use super::answers::rademacher;
use crate::bench::estimators::row::Row;
use crate::report::frame::{COLOURS, legend};
use anyhow::Result;
use plotters::prelude::*;

/// A picture by the name of its file.
pub fn all(rows: &[Row]) -> Result<Vec<(String, String)>> {
    let ranks = |row: &Row| -> Line {
        let point = |entry: &crate::bench::estimators::row::Entry| {
            Some((entry.probes? as f64, entry.figures.as_ref()?.spearman.mean))
        };
        (row.setting.state.clone(), rademacher(row).filter_map(point).collect())
    };
    let mut all = Vec::new();
    for (k, network) in networks(rows).iter().enumerate() {
        let (mut lines, of_network) = (Vec::new(), |row: &&Row| row.setting.network() == *network);
        let title = format!("{network}: rank correlation with the true norms");
        let probes = rows.iter().filter(of_network).map(ranks).collect();
        all.push((format!("probes-{}.svg", k + 1), picture(&Axes { title: &title, ..PROBES }, probes)?));
        for row in rows.iter().filter(of_network) {
            let error = row.sweep.iter().filter_map(|point| Some((point.ratio, point.error?.mean)));
            lines.push((row.setting.state.clone(), error.collect()));
        }
        let title = format!("{network}: one probe against the exact slope");
        all.push((format!("step-{}.svg", k + 1), picture(&Axes { title: &title, ..STEPS }, lines)?));
    }
    Ok(all)
}

/// The networks of the rows, in order of appearance.
pub fn networks(rows: &[Row]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for network in rows.iter().map(|row| row.setting.network()) {
        if !all.contains(&network) {
            all.push(network);
        }
    }
    all
}

type Line = (String, Vec<(f64, f64)>);

struct Axes<'a> {
    title: &'a str,
    x: &'a str,
    y: &'a str,
    /// The range of y, where it is not as in the data: of logarithms otherwise.
    linear: Option<(f64, f64)>,
}

const PROBES: Axes = Axes { title: "", x: "probes K (2 to the power)", y: "Spearman", linear: Some((0., 1.)) };

const STEPS: Axes =
    Axes { title: "", x: "‖δz‖/‖x‖ (10 to the power)", y: "relative error (10 to the power)", linear: None };

/// Lines over the logarithm of x.
fn picture(axes: &Axes, lines: Vec<Line>) -> Result<String> {
    let base = if axes.linear.is_some() { 2f64 } else { 10. };
    let place = |(x, y): &(f64, f64)| {
        let y = if axes.linear.is_some() { *y } else { y.max(1e-12).log10() };
        (x.max(1e-300).ln() / base.ln(), y)
    };
    let lines: Vec<Line> = lines.into_iter().map(|(name, points)| (name, points.iter().map(place).collect())).collect();
    let all = || lines.iter().flat_map(|(_, points)| points);
    let range = |of: fn(&(f64, f64)) -> f64| {
        let (low, high) = all().map(of).fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        if low.is_finite() { (low.floor(), high.ceil().max(low.floor() + 1.)) } else { (0., 1.) }
    };
    let ((left, right), (low, high)) = (range(|p| p.0), axes.linear.unwrap_or_else(|| range(|p| p.1)));

    // Where there are no lines: ranks rise to the right, errors fall and rise.
    let position = match axes.linear {
        Some(_) => SeriesLabelPosition::LowerRight,
        None => SeriesLabelPosition::UpperMiddle,
    };
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (720, 420)).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(axes.title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(56)
            .build_cartesian_2d(left..right, low..high)?;
        chart
            .configure_mesh()
            .x_desc(axes.x)
            .y_desc(axes.y)
            .bold_line_style(RGBColor(225, 225, 225))
            .light_line_style(WHITE)
            .draw()?;
        for ((name, points), colour) in lines.iter().zip(COLOURS.iter().cycle()) {
            chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, colour.filled())))?;
            chart
                .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?
                .label(name)
                .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(2)));
        }
        legend(&mut chart, position)?;
        area.present()?;
    }
    Ok(svg)
}

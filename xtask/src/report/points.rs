//! A value of each rule over the size of its perturbation's sample, m or m_eff, as an SVG picture with error bars.

use super::frame::{COLOURS, span};
use anyhow::Result;
use plotters::prelude::*;

/// A rule's place in the picture.
pub struct Point {
    /// m, or m_eff; none for a rule without a perturbation, which is a level line.
    pub size: Option<f64>,
    pub mean: f64,
    /// How far the bar reaches on either side.
    pub error: f64,
}

/// Points under one name.
pub struct Series {
    pub name: String,
    pub points: Vec<Point>,
    /// Whether a line goes through them.
    pub line: bool,
}

/// The picture, over the logarithm of the size.
pub fn draw(title: &str, x: &str, y: &str, series: &[Series]) -> Result<String> {
    let all = || series.iter().flat_map(|series| &series.points);
    let sizes = || all().filter_map(|point| point.size).map(f64::log2);
    let (left, right) = (sizes().fold(f64::INFINITY, f64::min), sizes().fold(f64::NEG_INFINITY, f64::max));
    let (left, right) = if left.is_finite() { (left - 0.6, right + 0.6) } else { (0., 1.) };
    let (low, high) = span(all().map(|point| (point.mean - point.error, point.mean + point.error)), 0.06);

    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (720, 420)).into_drawing_area();
        area.fill(&WHITE)?;
        let (plot, side) = area.split_horizontally(520);
        let mut chart = ChartBuilder::on(&plot)
            .caption(title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(56)
            .build_cartesian_2d(left..right, low..high)?;
        chart
            .configure_mesh()
            .x_desc(x)
            .y_desc(y)
            .x_label_formatter(&|x| if x.fract() == 0. { format!("{:.0}", x.exp2()) } else { String::new() })
            .y_label_formatter(&|y| format!("{y:.1}"))
            .bold_line_style(RGBColor(225, 225, 225))
            .light_line_style(WHITE)
            .draw()?;
        let shift = |k: usize| 0.05 * (k as f64 - (series.len() as f64 - 1.) / 2.); // so that bars of one size do not hide each other
        for (k, (Series { name, points, line }, colour)) in series.iter().zip(COLOURS.iter().cycle()).enumerate() {
            let place = |point: &Point| point.size.map(|size| (size.log2() + shift(k), point.mean, point.error));
            let placed: Vec<(f64, f64, f64)> = points.iter().filter_map(place).collect();
            for level in points.iter().filter(|point| point.size.is_none()) {
                let ends = [left, right].map(|x| (x, level.mean));
                chart.draw_series(LineSeries::new(ends, colour.stroke_width(1)))?;
                for edge in [level.mean - level.error, level.mean + level.error] {
                    chart.draw_series(LineSeries::new([left, right].map(|x| (x, edge)), colour.mix(0.25)))?;
                }
            }
            if *line {
                chart.draw_series(LineSeries::new(placed.iter().map(|p| (p.0, p.1)), colour.stroke_width(2)))?;
            }
            let bar = |&(x, mean, error): &(f64, f64, f64)| {
                PathElement::new(vec![(x, mean - error), (x, mean + error)], colour.stroke_width(1))
            };
            chart.draw_series(placed.iter().map(bar))?;
            chart.draw_series(placed.iter().map(|p| Circle::new((p.0, p.1), 4, colour.filled())))?;
            let y = 50 + 22 * k as i32;
            side.draw(&PathElement::new(vec![(2, y), (20, y)], colour.stroke_width(2)))?;
            side.draw(&Text::new(name.clone(), (26, y - 6), ("sans-serif", 12)))?;
        }
        area.present()?;
    }
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_is_named_and_a_rule_without_a_size_is_a_line() {
        let point = |size, mean| Point { size, mean, error: 0.5 };
        let series = [
            Series { name: "SGD".to_owned(), points: vec![point(None, 30.)], line: false },
            Series { name: "m-SAM".to_owned(), points: vec![point(Some(4.), 33.), point(Some(64.), 31.)], line: true },
        ];
        let svg = draw("t", "m", "test accuracy, %", &series).unwrap();
        assert!(svg.contains("SGD") && svg.contains("m-SAM"));
        assert_eq!(svg.matches("<circle").count(), 2);
        let empty = draw("t", "m", "y", &[]).unwrap();
        assert!(empty.starts_with("<svg"));
    }
}

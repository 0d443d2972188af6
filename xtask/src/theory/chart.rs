//! Series of numbers as an SVG picture.

use super::row::Point;
use crate::report::frame::{COLOURS, legend, span};
use anyhow::Result;
use plotters::prelude::*;

/// What the axes say.
pub struct Chart<'a> {
    pub title: &'a str,
    pub x: &'a str,
    pub y: &'a str,
    /// Whether each axis is of logarithms (to base 2 for x, 10 for y) or of the numbers.
    pub logarithms: (bool, bool),
    /// Where the legend has room.
    pub legend: SeriesLabelPosition,
}

/// A named line through points; points with a standard error have a bar of ±1.96 of it.
pub struct Line {
    pub name: String,
    pub points: Vec<Point>,
    /// Of what is expected rather than measured, or of a second kind: thin, without marks.
    pub thin: bool,
    /// Which colour; lines that belong together share one.
    pub colour: usize,
}

impl Chart<'_> {
    /// Draws it.
    pub fn draw(&self, lines: &[Line]) -> Result<String> {
        let (log_x, log_y) = self.logarithms;
        let place_x = |x: f64| if log_x { x.max(1e-300).log2() } else { x };
        let place_y = |y: f64| if log_y { y.max(1e-16).log10() } else { y };
        let ends = |p: &Point| {
            let bar = 1.96 * p.error.unwrap_or(0.);
            // An interval that reaches below 0 has no lower end among logarithms.
            let low = if log_y && p.y - bar <= 0. { p.y / 10. } else { p.y - bar };
            (place_y(low), place_y(p.y + bar))
        };
        let all = || lines.iter().flat_map(|line| &line.points);
        let (left, right) = span(all().map(|p| (place_x(p.x), place_x(p.x))), 0.04);
        let (low, high) = span(all().map(ends), 0.04);
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, (760, 460)).into_drawing_area();
            area.fill(&WHITE)?;
            let mut chart = ChartBuilder::on(&area)
                .caption(self.title, ("sans-serif", 17))
                .margin(12)
                .x_label_area_size(40)
                .y_label_area_size(64)
                .build_cartesian_2d(left..right, low..high)?;
            chart
                .configure_mesh()
                .x_desc(self.x)
                .y_desc(self.y)
                .x_label_formatter(&|x| if log_x { short(x.exp2()) } else { short(*x) })
                .y_label_formatter(&|y| if log_y { short(10f64.powf(*y)) } else { short(*y) })
                .bold_line_style(RGBColor(225, 225, 225))
                .light_line_style(WHITE)
                .draw()?;
            for line in lines {
                let colour = COLOURS[line.colour % COLOURS.len()];
                let stroke = colour.stroke_width(if line.thin { 1 } else { 2 });
                let places: Vec<(f64, f64)> = line.points.iter().map(|p| (place_x(p.x), place_y(p.y))).collect();
                if !line.thin {
                    chart.draw_series(places.iter().map(|place| Circle::new(*place, 3, colour.filled())))?;
                }
                for point in line.points.iter().filter(|p| p.error.is_some()) {
                    let (bottom, top) = ends(point);
                    let x = place_x(point.x);
                    chart.draw_series([PathElement::new(vec![(x, bottom), (x, top)], colour.stroke_width(1))])?;
                }
                let drawn = chart.draw_series(LineSeries::new(places, stroke))?;
                if !line.name.is_empty() {
                    drawn.label(&line.name).legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], stroke));
                }
            }
            legend(&mut chart, self.legend.clone())?;
            area.present()?;
        }
        Ok(svg)
    }
}

/// `0.05`, `12`, `3e-7`.
pub fn short(value: f64) -> String {
    match value.abs() {
        0. => "0".to_owned(),
        v if !(1e-3..1e5).contains(&v) => format!("{value:.0e}"),
        v if v < 1. => trimmed(format!("{value:.4}")),
        v if v < 100. => trimmed(format!("{value:.2}")),
        _ => format!("{value:.0}"),
    }
}

fn trimmed(text: String) -> String {
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let texts = [0., 0.05, 12., 3.456, 123_456., 3.2e-7, -0.25].map(short);
        assert_eq!(texts, ["0", "0.05", "12", "3.46", "1e5", "3e-7", "-0.25"]);
    }

    #[test]
    fn a_picture_has_its_lines() {
        let line = |name: &str, thin| Line {
            name: name.to_owned(),
            points: vec![Point::sampled(0.1, 0.01, 0.02), Point::exact(0.2, 0.04)],
            thin,
            colour: 1,
        };
        let chart =
            Chart {
                title: "T", x: "η", y: "error", logarithms: (true, true), legend: SeriesLabelPosition::LowerRight
            };
        let svg = chart.draw(&[line("measured", false), line("", true)]).unwrap();
        assert!(svg.contains("measured") && svg.contains("<circle") && !svg.contains("NaN") && !svg.contains("inf"));
        assert!(chart.draw(&[]).is_ok());
    }
}

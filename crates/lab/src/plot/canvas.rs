//! What a picture consists of, as SVG: lines, areas, texts and marks.

use super::looks::{COLOURS, DASHES, Look};
use anyhow::Result;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::FontTransform;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Plotters has whole coordinates only: so many to a pixel.
const FINE: f64 = 10.;
/// How wide a character is compared with the font: a little more than most.
pub const EM: f64 = 0.61;

/// Draws in pixels, of which there may be parts.
pub struct Canvas<'a>(DrawingArea<SVGBackend<'a>, Shift>);

fn fine((x, y): (f64, f64)) -> (i32, i32) {
    ((x * FINE).round() as i32, (y * FINE).round() as i32)
}

/// The colour of a series.
pub fn colour(look: Look) -> RGBColor {
    let (red, green, blue) = COLOURS[look.colour];
    RGBColor(red, green, blue)
}

impl Canvas<'_> {
    /// Draws on a white picture of so many pixels, and returns it as SVG.
    pub fn picture(width: f64, height: f64, draw: impl FnOnce(&Canvas) -> Result<()>) -> Result<String> {
        let mut svg = String::new();
        let (fine_width, fine_height) = ((width * FINE).round() as u32, (height * FINE).round() as u32);
        {
            let area = SVGBackend::with_string(&mut svg, (fine_width, fine_height)).into_drawing_area();
            area.fill(&WHITE)?;
            let canvas = Canvas(area);
            draw(&canvas)?;
            canvas.0.present()?;
        }
        let head = format!("<svg width=\"{fine_width}\" height=\"{fine_height}\"");
        let whole = format!("<svg width=\"{width:.0}\" height=\"{height:.0}\" stroke-linejoin=\"round\"");
        Ok(svg.replacen(&head, &whole, 1))
    }

    /// A line with dashes of that index.
    pub fn line(&self, points: &[(f64, f64)], colour: RGBAColor, width: f64, dash: usize) -> Result<()> {
        let style = colour.stroke_width((width * FINE) as u32);
        let points: Vec<(i32, i32)> = points.iter().copied().map(fine).collect();
        let [dash, gap] = <[u32; 2]>::from(DASHES[dash]).map(|pixels| pixels * FINE as u32);
        if gap == 0 {
            self.0.draw(&PathElement::new(points, style))?;
            return Ok(());
        }
        for path in DashedLineSeries::new(points, dash, gap, style) {
            self.0.draw(&path)?;
        }
        Ok(())
    }

    /// A filled polygon.
    pub fn area(&self, corners: &[(f64, f64)], colour: RGBAColor) -> Result<()> {
        let corners: Vec<(i32, i32)> = corners.iter().copied().map(fine).collect();
        Ok(self.0.draw(&Polygon::new(corners, colour.filled()))?)
    }

    /// A text whose middle is at that height, upwards if `up`.
    pub fn text(&self, text: &str, at: (f64, f64), pixels: f64, side: HPos, up: bool) -> Result<()> {
        // Characters that XML does not have.
        let unknown = |c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}');
        let text: String = text.chars().map(|c| if unknown(c) { ' ' } else { c }).collect();
        // Plotters divides by this.
        let font = ("sans-serif", pixels * FINE * 1.24).into_font();
        let font = if up { font.transform(FontTransform::Rotate270) } else { font };
        let style = TextStyle::from(font).pos(Pos::new(side, VPos::Center));
        Ok(self.0.draw(&Text::new(text, fine(at), style))?)
    }

    /// A text around its middle, in a smaller font, and cut, where it is longer than there is room.
    pub fn caption(&self, text: &str, at: (f64, f64), pixels: f64, room: f64, up: bool) -> Result<()> {
        let length = text.chars().count() as f64 * EM;
        let pixels = pixels.min((room / length.max(1.)).max(9.));
        let most = (room / (pixels * EM)) as usize;
        self.text(&cut(text, most), at, pixels, HPos::Center, up)
    }

    /// The mark of a series: one of five shapes, full or empty.
    pub fn mark(&self, look: Look, (x, y): (f64, f64)) -> Result<()> {
        let shape: &[(f64, f64)] = match look.mark % 5 {
            0 => &[],
            1 => &[(-3.4, -3.4), (3.4, -3.4), (3.4, 3.4), (-3.4, 3.4)],
            2 => &[(0., -4.8), (4.4, 3.2), (-4.4, 3.2)],
            3 => &[(0., -5.), (5., 0.), (0., 5.), (-5., 0.)],
            _ => &[(0., 4.8), (4.4, -3.2), (-4.4, -3.2)],
        };
        let (colour, full) = (colour(look), look.mark < 5);
        let inside = if full { colour } else { WHITE };
        if shape.is_empty() {
            let radius = (3.8 * FINE) as u32;
            self.0.draw(&Circle::new(fine((x, y)), radius, inside.filled()))?;
            self.0.draw(&Circle::new(fine((x, y)), radius, colour.stroke_width((1.4 * FINE) as u32)))?;
            return Ok(());
        }
        let mut corners: Vec<(f64, f64)> = shape.iter().map(|(dx, dy)| (x + dx, y + dy)).collect();
        self.area(&corners, inside.to_rgba())?;
        // Past the first corner, so that all of them are joined.
        corners.extend_from_within(..2);
        self.line(&corners, colour.to_rgba(), 1.4, 0)
    }
}

/// A text of at most so many characters, with an ellipsis if it was longer.
pub fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let start: String = text.chars().take(most.saturating_sub(1)).collect();
    if most == 0 { start } else { start.trim_end().to_owned() + "…" }
}

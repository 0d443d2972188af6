//! A figure as SVG: the plot at the left, and its legend at the right.

use super::canvas::{Canvas, EM, colour, cut};
use super::looks::Look;
use super::ticks::Tick;
use super::{Placed, Prepared, Shown, Style};
use anyhow::Result;
use plotters::style::text_anchor::HPos;
use plotters::style::{Color, RGBColor};

/// The size of the picture in pixels; a long legend makes it higher.
const WIDTH: f64 = 820.;
const HEIGHT: f64 = 460.;
/// Above and below the plot.
const TOP: f64 = 40.;
const BOTTOM: f64 = 52.;
/// Of ticks and the legend, in pixels.
const FONT: f64 = 12.;
/// How long the names in the legend may be before they wrap, in characters.
const WRAP: usize = 26;
/// From one line of the legend to the next, and from one entry to the next.
const LEADING: f64 = 15.;
const APART: f64 = 6.;
/// How much of an entry of the legend its sample takes.
const SAMPLE: f64 = 40.;

const GREY: RGBColor = RGBColor(120, 120, 120);
const DARK: RGBColor = RGBColor(60, 60, 60);
const GRID: RGBColor = RGBColor(230, 230, 230);

/// The picture.
pub fn draw(prepared: &Prepared) -> Result<String> {
    let legend = Legend::of(prepared);
    let height = HEIGHT.max(TOP + legend.height() + 12.);
    let y = prepared.y.ticks(((height - TOP - BOTTOM) / 40.) as usize);
    let widest = y.iter().map(|tick| tick.label.chars().count()).max().unwrap_or(0);
    let (left, right) = (44. + FONT * EM * widest as f64, WIDTH - legend.width());
    let x = prepared.x.ticks(((right - left) / 52.) as usize);
    Canvas::picture(WIDTH, height, |canvas| {
        let plot = Plot { prepared, canvas, left, right, top: TOP, bottom: height - BOTTOM };
        plot.axes(&x, &y)?;
        plot.series()?;
        legend.draw(canvas, right + 14.)
    })
}

/// The plot and where it is.
struct Plot<'a, 'b> {
    prepared: &'a Prepared<'a>,
    canvas: &'a Canvas<'b>,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

impl Plot<'_, '_> {
    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (self.left + x * (self.right - self.left), self.bottom - y * (self.bottom - self.top))
    }

    fn axes(&self, x: &[Tick], y: &[Tick]) -> Result<()> {
        let (canvas, figure) = (self.canvas, self.prepared.figure);
        let (grid, dark) = (GRID.to_rgba(), DARK.to_rgba());
        for tick in x {
            let at = self.at((tick.at, 0.)).0;
            canvas.line(&[(at, self.top), (at, self.bottom)], grid, 1., 0)?;
            canvas.line(&[(at, self.bottom), (at, self.bottom + 4.)], dark, 1., 0)?;
            canvas.text(&tick.label, (at, self.bottom + 13.), FONT, HPos::Center, false)?;
        }
        for tick in y {
            let at = self.at((0., tick.at)).1;
            canvas.line(&[(self.left, at), (self.right, at)], grid, 1., 0)?;
            canvas.line(&[(self.left - 4., at), (self.left, at)], dark, 1., 0)?;
            canvas.text(&tick.label, (self.left - 8., at), FONT, HPos::Right, false)?;
        }
        let corners = [(0., 1.), (0., 0.), (1., 0.)].map(|corner| self.at(corner));
        canvas.line(&corners, dark, 1., 0)?;
        let middle = self.at((0.5, 0.5));
        canvas.caption(&figure.title, (WIDTH / 2., 19.), 16., WIDTH - 24., false)?;
        canvas.caption(&figure.x.name, (middle.0, self.bottom + 36.), 13., self.right - self.left, false)?;
        canvas.caption(&figure.y.name, (18., middle.1), 13., self.bottom - self.top, true)?;
        if self.prepared.is_empty() {
            canvas.text("no data", middle, 16., HPos::Center, false)?;
        }
        Ok(())
    }

    fn series(&self) -> Result<()> {
        for (k, guide) in self.prepared.guides.iter().enumerate() {
            self.canvas.line(&guide.ends.map(|end| self.at(end)), GREY.to_rgba(), 1.2, 1 + k % 4)?;
        }
        let shown = &self.prepared.shown;
        for series in shown {
            self.background(series)?;
        }
        let shifts = self.shifts();
        for (series, shift) in shown.iter().zip(&shifts) {
            self.line(series, *shift)?;
        }
        for (series, shift) in shown.iter().zip(&shifts) {
            self.marks(series, *shift)?;
        }
        Ok(())
    }

    /// Bands and faint lines.
    fn background(&self, shown: &Shown) -> Result<()> {
        let (canvas, colour) = (self.canvas, colour(shown.look));
        for point in shown.points.iter().filter(|point| shown.is_level() && point.value.error > 0.) {
            let [low, high] = self.ends(point.value.y, point.value.error);
            canvas.area(&[(0., low), (1., low), (1., high), (0., high)].map(|at| self.at(at)), colour.mix(0.12))?;
        }
        for line in &shown.each {
            let place = |&(x, y): &(f64, f64)| self.at((self.prepared.x.place(x), self.prepared.y.place(y)));
            let points: Vec<(f64, f64)> = line.iter().map(place).collect();
            canvas.line(&points, colour.mix(0.25), 1., 0)?;
        }
        Ok(())
    }

    fn line(&self, shown: &Shown, shift: f64) -> Result<()> {
        let width = if shown.series.style == Style::Thin { 1. } else { 2. };
        let (colour, dash) = (colour(shown.look).to_rgba(), shown.look.dash);
        match shown.series.style {
            Style::Marks => {}
            Style::Level => {
                for point in &shown.points {
                    self.canvas.line(&[0., 1.].map(|x| self.at((x, point.y))), colour, 1.5, dash)?;
                }
            }
            Style::Line | Style::Thin | Style::Both => {
                let points: Vec<(f64, f64)> =
                    shown.points.iter().map(|point| self.at((point.x, point.y))).map(|(x, y)| (x + shift, y)).collect();
                self.canvas.line(&points, colour, width, dash)?;
            }
        }
        Ok(())
    }

    /// Marks and bars.
    fn marks(&self, shown: &Shown, shift: f64) -> Result<()> {
        let colour = colour(shown.look).to_rgba();
        let every = if shown.series.style == Style::Both { shown.points.len().div_ceil(40).max(1) } else { 1 };
        for point in shown.points.iter().step_by(every).filter(|_| !shown.is_level()) {
            let (x, y) = self.at((point.x, point.y));
            if point.value.error > 0. {
                let [low, high] = self.ends(point.value.y, point.value.error).map(|end| self.at((0., end)).1);
                self.canvas.line(&[(x + shift, low), (x + shift, high)], colour, 1.2, 0)?;
            }
            // A line of one point could not be seen.
            if matches!(shown.series.style, Style::Marks | Style::Both) || shown.points.len() == 1 {
                self.canvas.mark(shown.look, (x + shift, y))?;
            }
        }
        Ok(())
    }

    /// The ends of a bar in the unit square; one that has no place on the axis is its lower end.
    fn ends(&self, y: f64, error: f64) -> [f64; 2] {
        let place = |value| if self.prepared.figure.y.scale.has(value) { self.prepared.y.place(value) } else { 0. };
        [y - error, y + error].map(|end| place(end).clamp(0., 1.))
    }

    /// How far each series moves to the side on a grid, so that its bars do not hide those of earlier ones.
    fn shifts(&self) -> Vec<f64> {
        if self.prepared.figure.x.is_measured {
            return vec![0.; self.prepared.shown.len()];
        }
        let bars = |shown: &Shown| -> Vec<(f64, [f64; 2])> {
            let with_bars = shown.points.iter().filter(|point| point.value.error > 0. && !shown.is_level());
            let bar = |point: &Placed| (self.at((point.x, 0.)).0, self.ends(point.value.y, point.value.error));
            with_bars.take(100).map(bar).collect()
        };
        let bars: Vec<Vec<(f64, [f64; 2])>> = self.prepared.shown.iter().map(bars).collect();
        let hide = |a: usize, b: usize| {
            let near = |(x, [low, high]): &(f64, [f64; 2])| {
                let meets = |bar: &(f64, [f64; 2])| (bar.0 - x).abs() < 4. && bar.1[0] < *high && *low < bar.1[1];
                bars[b].iter().any(meets)
            };
            bars[a].iter().any(near)
        };
        // Places in the order 0, 5, -5, 10, … pixels.
        let mut places: Vec<usize> = Vec::new();
        for k in 0..bars.len() {
            let taken: Vec<usize> = (0..k).filter(|j| hide(*j, k)).map(|j| places[j]).collect();
            places.push((0..=k).find(|place| !taken.contains(place)).unwrap_or(0));
        }
        let pixels = |place: usize| 5. * place.div_ceil(2) as f64 * if place % 2 == 1 { 1. } else { -1. };
        places.into_iter().map(pixels).collect()
    }
}

/// What an entry of the legend shows beside its name.
#[derive(Clone, Copy)]
enum Sample {
    Series(Look, Style),
    Guide(usize),
}

/// The names of the series and guides in lines.
struct Legend(Vec<(Sample, Vec<String>)>);

impl Legend {
    fn of(prepared: &Prepared) -> Self {
        let heads = prepared.shown.iter().filter(|shown| shown.heads_entry);
        let series = heads.map(|shown| {
            let name = shown.series.name.clone() + &prepared.note(shown);
            (Sample::Series(shown.look, shown.series.style), wrap(&name, WRAP))
        });
        let guides = prepared.guides.iter().enumerate();
        let guides = guides.map(|(k, guide)| (Sample::Guide(1 + k % 4), wrap(&guide.slope.name, WRAP)));
        Self(series.chain(guides).collect())
    }

    fn height(&self) -> f64 {
        self.0.iter().map(|(_, lines)| lines.len() as f64 * LEADING + APART).sum()
    }

    fn width(&self) -> f64 {
        let longest = self.0.iter().flat_map(|(_, lines)| lines).map(|line| line.chars().count()).max();
        longest.map_or(24., |longest| 14. + SAMPLE + FONT * EM * longest as f64 + 8.)
    }

    fn draw(&self, canvas: &Canvas, x: f64) -> Result<()> {
        let mut y = TOP + LEADING / 2.;
        for (sample, lines) in &self.0 {
            let ends = [(x, y), (x + SAMPLE - 8., y)];
            match *sample {
                Sample::Series(look, style) => {
                    if style != Style::Marks {
                        let width = if style == Style::Thin { 1. } else { 2. };
                        canvas.line(&ends, colour(look).to_rgba(), width, look.dash)?;
                    }
                    if matches!(style, Style::Marks | Style::Both) {
                        canvas.mark(look, (x + (SAMPLE - 8.) / 2., y))?;
                    }
                }
                Sample::Guide(dash) => canvas.line(&ends, GREY.to_rgba(), 1.2, dash)?,
            }
            for line in lines {
                canvas.text(line, (x + SAMPLE, y), FONT, HPos::Left, false)?;
                y += LEADING;
            }
            y += APART;
        }
        Ok(())
    }
}

/// A text in lines of at most so many characters, broken at spaces where that is possible; at most four lines.
fn wrap(text: &str, most: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let characters: Vec<char> = word.chars().collect();
        for (k, part) in characters.chunks(most).enumerate() {
            let Some(line) = lines.last_mut() else { break };
            let space = if k == 0 && !line.is_empty() { " " } else { "" };
            if line.chars().count() + space.len() + part.len() <= most {
                line.push_str(space);
                line.extend(part);
            } else {
                lines.push(part.iter().collect());
            }
        }
    }
    if lines.len() > 4 {
        lines.truncate(4);
        lines[3] = cut(&(lines[3].clone() + &" ".repeat(most)), most);
    }
    lines
}

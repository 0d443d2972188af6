//! Pictures of series over an axis: as SVG for a page, and as text for a terminal.

mod canvas;
mod looks;
mod svg;
#[cfg(test)]
mod tests;
mod text;
mod ticks;

use crate::statistics::summarise;
use looks::{Look, looks};
use ticks::Range;

/// A picture: series over an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// What stands above it.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// What is drawn, in the order of the legend; later ones lie above earlier ones.
    pub series: Vec<Series>,
    /// Guides for the eye, of which nothing is drawn unless both axes are logarithmic.
    pub slopes: Vec<Slope>,
}

/// An axis. It reaches as far as the data, and a little further.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// What stands beside it.
    pub name: String,
    /// How values are placed on it.
    pub scale: Scale,
    /// A range that it shows whatever the data are, such as 0 to 1 for a correlation.
    pub least: Option<(f64, f64)>,
    /// Whether its values were measured. On a grid, points that would hide each other stand side by side.
    pub is_measured: bool,
}

/// How values are placed on an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// By their size.
    Linear,
    /// By their logarithm, with ticks at powers of ten.
    Log,
    /// By their logarithm, with ticks at powers of two: for sizes of batches.
    Log2,
}

/// Points under one name. Series of the same name share a colour and their place in the legend.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What the legend says. It also decides the colour: see [`Figure::svg`].
    pub name: String,
    /// The points; those without a place on the axes are left out, and lines join the others in the order of x.
    pub points: Vec<Point>,
    /// How they are drawn.
    pub style: Style,
    /// Faint lines of the same colour, such as one for each seed.
    pub each: Vec<Vec<(f64, f64)>>,
}

/// How the points of a series are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A line.
    Line,
    /// A thin line: of what is expected rather than measured, or of a second kind.
    Thin,
    /// A mark at each point.
    Marks,
    /// A line with marks; with more than 40 points, not each of them has one.
    Both,
    /// A horizontal line with a faint band as wide as the bar, for a value that does not depend on x: whatever x is.
    Level,
}

/// A point with its bar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Where it lies on the horizontal axis.
    pub x: f64,
    /// Where it lies on the vertical axis.
    pub y: f64,
    /// Half the length of its bar; 0 for none.
    pub error: f64,
}

impl Point {
    /// The mean of some values with its standard error; none of no values.
    pub fn of_mean(x: f64, values: &[f64]) -> Option<Self> {
        let summary = summarise(values)?;
        Some(Self { x, y: summary.mean, error: summary.std.map_or(0., |std| std / (summary.n as f64).sqrt()) })
    }
}

/// A dashed grey line y ∝ x^order below the series whose slope is nearest to it, where an order is claimed.
#[derive(Clone, Debug, PartialEq)]
pub struct Slope {
    /// The exponent.
    pub order: f64,
    /// What the legend says.
    pub name: String,
}

impl Axis {
    /// A linear axis.
    pub fn linear(name: &str) -> Self {
        Self { name: name.to_owned(), scale: Scale::Linear, least: None, is_measured: false }
    }

    /// A logarithmic axis with ticks at powers of ten.
    pub fn log(name: &str) -> Self {
        Self { scale: Scale::Log, ..Self::linear(name) }
    }

    /// A logarithmic axis with ticks at powers of two.
    pub fn log2(name: &str) -> Self {
        Self { scale: Scale::Log2, ..Self::linear(name) }
    }

    /// The axis of values that were measured.
    pub fn measured(self) -> Self {
        Self { is_measured: true, ..self }
    }

    /// The axis, showing at least `low` to `high`.
    pub fn with(self, low: f64, high: f64) -> Self {
        Self { least: Some((low, high)), ..self }
    }
}

impl Series {
    /// A series without faint lines.
    pub fn new(name: &str, style: Style, points: impl IntoIterator<Item = impl Into<Point>>) -> Self {
        let points = points.into_iter().map(Into::into).collect();
        Self { name: name.to_owned(), points, style, each: Vec::new() }
    }
}

impl From<(f64, f64)> for Point {
    fn from((x, y): (f64, f64)) -> Self {
        Self { x, y, error: 0. }
    }
}

impl From<(f64, f64, f64)> for Point {
    fn from((x, y, error): (f64, f64, f64)) -> Self {
        Self { x, y, error }
    }
}

impl Figure {
    /// The picture as SVG, the same to the byte for the same figure.
    ///
    /// Names of known rules, with whatever follows them after a bracket, a comma or a dot, have the same colour in
    /// every figure. Where names agree up to there, the first two share a colour and differ in their dashes.
    pub fn svg(&self) -> anyhow::Result<String> {
        svg::draw(&self.prepared())
    }

    /// The picture for a terminal of so many columns, of which it takes at least 40, at most 20 rows high. It is
    /// without bars and faint lines.
    pub fn text(&self, columns: usize) -> String {
        text::draw(&self.prepared(), columns.max(40))
    }

    /// The figure with everything that both ways of drawing it need to know.
    fn prepared(&self) -> Prepared<'_> {
        let names: Vec<&str> = self.series.iter().map(|series| series.name.as_str()).collect();
        let show = |(series, look): (_, Look)| Shown::of(self, series, look);
        let mut shown: Vec<Shown> = self.series.iter().zip(looks(&names)).map(show).collect();
        let x = Range::of(&self.x, shown.iter().flat_map(Shown::abscissas));
        let y = Range::of(&self.y, shown.iter().flat_map(|series| series.ordinates(self.y.scale)));
        for series in &mut shown {
            for point in &mut series.points {
                *point = Placed { x: x.place(point.value.x), y: y.place(point.value.y), ..*point };
            }
        }
        for k in 0..shown.len() {
            shown[k].heads_entry = !names[..k].contains(&names[k]);
            let earlier = |j: &usize| names[*j] != names[k] && shown[*j].coincides(&shown[k]);
            shown[k].same_as = (0..k).find(earlier);
        }
        let mut guides = Vec::new();
        if self.x.scale != Scale::Linear && self.y.scale != Scale::Linear {
            guides.extend(self.slopes.iter().filter_map(|slope| guide(slope, &shown, &x, &y)));
        }
        Prepared { figure: self, x, y, shown, guides }
    }
}

/// A figure with its ranges.
struct Prepared<'a> {
    figure: &'a Figure,
    x: Range,
    y: Range,
    shown: Vec<Shown<'a>>,
    guides: Vec<Guide<'a>>,
}

/// A point and its place in the unit square.
#[derive(Clone, Copy)]
struct Placed {
    value: Point,
    x: f64,
    y: f64,
}

/// A series with what of it has a place on the axes, in the order of x.
struct Shown<'a> {
    series: &'a Series,
    points: Vec<Placed>,
    each: Vec<Vec<(f64, f64)>>,
    look: Look,
    /// The first earlier series of another name with the same points.
    same_as: Option<usize>,
    /// Whether it is the first of its name.
    heads_entry: bool,
}

/// A line in the unit square.
struct Guide<'a> {
    slope: &'a Slope,
    ends: [(f64, f64); 2],
}

impl Prepared<'_> {
    fn is_empty(&self) -> bool {
        self.shown.iter().all(Shown::is_empty)
    }

    /// What the legend says beside the name of a series.
    fn note(&self, shown: &Shown) -> String {
        match shown.same_as {
            _ if shown.is_empty() => " (no data)".to_owned(),
            Some(other) => format!(" (same as {})", self.shown[other].series.name),
            None => String::new(),
        }
    }
}

impl<'a> Shown<'a> {
    fn of(figure: &Figure, series: &'a Series, look: Look) -> Self {
        let level = series.style == Style::Level;
        let has_place = |x: f64, y: f64| (level || figure.x.scale.has(x)) && figure.y.scale.has(y);
        let place = |point: &Point| {
            let error = if point.error > 0. && Scale::Linear.has(point.error) { point.error } else { 0. };
            let x = if level { f64::NAN } else { point.x };
            has_place(x, point.y).then_some(Placed { value: Point { x, error, ..*point }, x: 0., y: 0. })
        };
        let mut points: Vec<Placed> = series.points.iter().filter_map(place).collect();
        points.sort_by(|a, b| a.value.x.total_cmp(&b.value.x));
        let line = |line: &Vec<(f64, f64)>| {
            let has_place = |&(x, y): &(f64, f64)| figure.x.scale.has(x) && figure.y.scale.has(y);
            let mut points: Vec<(f64, f64)> = line.iter().copied().filter(has_place).collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            points
        };
        let each = series.each.iter().map(line).collect();
        Self { series, points, each, look, same_as: None, heads_entry: true }
    }

    fn is_empty(&self) -> bool {
        self.points.is_empty() && self.each.iter().all(Vec::is_empty)
    }

    fn is_level(&self) -> bool {
        self.series.style == Style::Level
    }

    fn abscissas(&self) -> impl Iterator<Item = f64> {
        let points = self.points.iter().map(|point| point.value.x).filter(|x| !x.is_nan());
        points.chain(self.each.iter().flatten().map(|point| point.0))
    }

    /// All ordinates and the ends of all bars. A bar that reaches far down on a logarithmic axis is cut.
    fn ordinates(&self, scale: Scale) -> impl Iterator<Item = f64> {
        let ends = move |Placed { value: Point { y, error, .. }, .. }: &Placed| {
            let low = if scale == Scale::Linear { y - error } else { (y - error).max(y / 10.) };
            [*y, low, y + error]
        };
        self.points.iter().flat_map(ends).chain(self.each.iter().flatten().map(|point| point.1))
    }

    /// Whether nobody could see two series, for their points are less than a pixel apart.
    fn coincides(&self, other: &Shown) -> bool {
        let near =
            |(a, b): (&Placed, &Placed)| (self.is_level() || (a.x - b.x).abs() < 1e-3) && (a.y - b.y).abs() < 1e-3;
        let alike = self.is_level() == other.is_level() && self.points.len() == other.points.len();
        alike && !self.points.is_empty() && self.points.iter().zip(&other.points).all(near)
    }

    /// The least-squares slope of the logarithms, and their middle in the unit square.
    fn trend(&self, x: &Range, y: &Range) -> Option<(f64, (f64, f64))> {
        let n = self.points.len() as f64;
        let mean = |of: &dyn Fn(&Placed) -> f64| self.points.iter().map(of).sum::<f64>() / n;
        let middle = (mean(&|p| p.x), mean(&|p| p.y));
        let spread = mean(&|p| (p.x - middle.0).powi(2));
        let slope = mean(&|p| (p.x - middle.0) * (p.y - middle.1)) / spread * y.length() / x.length();
        (slope.is_finite() && !self.is_level()).then_some((slope, middle))
    }
}

/// The guide of an order, a little below the series whose slope is nearest to it, and as long.
fn guide<'a>(slope: &'a Slope, shown: &[Shown], x: &Range, y: &Range) -> Option<Guide<'a>> {
    let trends = shown.iter().filter_map(|series| Some((series, series.trend(x, y)?)));
    let distance = |trend: f64| (trend - slope.order).abs();
    let (series, (_, middle)) = trends.min_by(|a, b| distance(a.1.0).total_cmp(&distance(b.1.0)))?;
    let rise = slope.order * x.length() / y.length();
    let height = if middle.1 > 0.12 { middle.1 - 0.08 } else { middle.1 + 0.08 };
    let at = |u: f64| (u, height + rise * (u - middle.0));
    let (mut left, mut right) = (series.points.first()?.x, series.points.last()?.x);
    if rise != 0. {
        // Where it leaves the picture below and above.
        let [a, b] = [0., 1.].map(|v| middle.0 + (v - height) / rise);
        (left, right) = (left.max(a.min(b)), right.min(a.max(b)));
    }
    (left < right).then(|| Guide { slope, ends: [at(left), at(right)] })
}

//! Series of numbers that are computed in one go: the jobs of the experiments that train no network.

use crate::config::DeviceName;
use crate::experiments::{Job, Place};
use crate::hex::hex;
use crate::host::Host;
use crate::row::{Content, Row};
use crate::{interrupt, plot, screen};
use anyhow::{Context, Result, anyhow};
use msharp_core::Range;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::cell::OnceCell;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Instant;

/// A series as a row of results.
pub type SeriesRow = Row<Series>;

/// What an ensemble reports its progress to, which says whether to go on.
pub type Tell<'a> = &'a (dyn Fn(u64, u64) -> ControlFlow<()> + Sync);

type Compute = Box<dyn Fn(Tell) -> Result<Vec<Point>>>;

/// Numbers over something.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// The figure that it is part of.
    pub figure: String,
    /// Its name there.
    pub series: String,
    /// Everything that decided its numbers, for people; a row with another setting is computed again.
    pub setting: String,
    /// The numbers.
    pub points: Vec<Point>,
}

/// One number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// What it is a function of.
    pub x: f64,
    /// It.
    pub y: f64,
    /// Its standard error, if it is from paths; 0 has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<f64>,
}

impl Point {
    /// Without Monte Carlo.
    pub fn exact(x: f64, y: f64) -> Self {
        Self { x, y, error: None }
    }

    /// With its standard error.
    pub fn sampled(x: f64, y: f64, error: f64) -> Self {
        Self { x, y, error: Some(error) }
    }
}

/// With a bar of 95 %.
impl From<Point> for plot::Point {
    fn from(Point { x, y, error }: Point) -> Self {
        Self { x, y, error: 1.96 * error.unwrap_or(0.) }
    }
}

/// Another setting of a series replaces it: there is one row for each.
impl Content for Series {
    fn is_same(&self, other: &Self) -> bool {
        (&self.figure, &self.series) == (&other.figure, &other.series)
    }

    /// # Errors
    /// If a number is not finite, or a standard error below 0.
    fn check(&self) -> Result<()> {
        let one = |Point { x, y, error }: &Point| {
            Range::FINITE.check("x", *x)?;
            Range::FINITE.check("y", *y)?;
            Range::AT_LEAST_0.check("the standard error", error.unwrap_or(0.))
        };
        let all = self.points.iter().try_for_each(one);
        all.with_context(|| format!("the row of {} · {}", self.figure, self.series))
    }
}

/// A series that is to be computed.
pub struct SeriesJob {
    /// The figure that it is part of.
    pub figure: &'static str,
    /// Its name there.
    pub series: String,
    /// Everything that decides its numbers.
    pub setting: String,
    /// The name of what it is made from, where several series are [made from it](Once).
    pub once: Option<String>,
    /// Computes it.
    pub compute: Compute,
}

impl SeriesJob {
    /// From its parts.
    pub fn new(
        figure: &'static str,
        series: impl Into<String>,
        setting: impl Into<String>,
        compute: impl Fn(Tell) -> Result<Vec<Point>> + 'static,
    ) -> Self {
        Self { figure, series: series.into(), setting: setting.into(), once: None, compute: Box::new(compute) }
    }

    /// One of several that are made from what is computed [once](Once), under a name of its own.
    pub fn from_once(self, name: impl Into<String>) -> Self {
        Self { once: Some(name.into()), ..self }
    }

    fn of(&self, points: Vec<Point>) -> Series {
        let (figure, series, setting) = (self.figure.to_owned(), self.series.clone(), self.setting.clone());
        Series { figure, series, setting, points }
    }
}

impl Job for SeriesJob {
    type Content = Series;

    fn title(&self) -> String {
        format!("{} · {}", self.figure, self.series)
    }

    fn key(&self) -> String {
        file_name(&self.title(), &self.setting)
    }

    fn group(&self) -> String {
        self.once.as_ref().map_or_else(|| self.key(), |name| file_name(name, &self.setting))
    }

    fn is_of(&self, found: &Series) -> bool {
        (self.figure, &self.series, &self.setting) == (found.figure.as_str(), &found.series, &found.setting)
    }

    /// Under a bar; `None` if the user asked to stop.
    fn run(&self, title: &str, _: &mut Place) -> Result<Option<SeriesRow>> {
        let bar = screen::bar(title);
        let tell = |done: u64, of: u64| {
            if let Some(bar) = &bar {
                bar.set_length(of);
                bar.set_position(done);
            }
            if interrupt::requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let started = Instant::now();
        let points = (self.compute)(&tell);
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        if interrupt::requested() {
            return Ok(None);
        }
        let points = points.map_err(|error| anyhow!("{}: {error:#}", self.title()))?;
        let seconds = started.elapsed().as_secs_f64();
        Ok(Some(Row::new(Host::this(DeviceName::Cpu), seconds, self.of(points))))
    }
}

/// A name for files: readable, and another one for each title and setting.
pub fn file_name(title: &str, setting: &str) -> String {
    let hash = hex(&Sha256::digest(format!("{title}\n{setting}"))[..4]);
    let words = title.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let text = words.collect::<Vec<_>>().join("-").to_lowercase();
    format!("{}-{hash}", &text[..text.len().min(80)])
}

/// What several series are made from, computed by the first of them that is asked for.
#[derive(Clone, Default)]
pub struct Once<T>(Rc<OnceCell<T>>);

impl<T: Clone> Once<T> {
    /// The value, computed if this is the first request.
    ///
    /// # Errors
    /// Those of `compute`.
    pub fn get(&self, compute: impl FnOnce() -> Result<T>) -> Result<T> {
        if let Some(known) = self.0.get() {
            return Ok(known.clone());
        }
        let new = compute()?;
        Ok(self.0.get_or_init(|| new).clone())
    }
}

/// The series of a figure, in order.
pub fn of<'a>(rows: &'a [SeriesRow], figure: &str) -> Vec<&'a Series> {
    rows.iter().map(|row| &row.content).filter(|series| series.figure == figure).collect()
}

/// The settings of a figure, each once: what decided its numbers.
pub fn settings(rows: &[SeriesRow], figure: &str) -> String {
    let mut all: Vec<&str> = Vec::new();
    for series in of(rows, figure) {
        if !all.contains(&series.setting.as_str()) {
            all.push(&series.setting);
        }
    }
    all.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_another_setting_is_computed_again() {
        let job = |setting: &str| SeriesJob::new("figure", "series", setting, |_| Ok(vec![Point::exact(1., 2.)]));
        let found = job("ρ = 0.1").of(Vec::new());
        assert!(job("ρ = 0.1").is_of(&found) && !job("ρ = 0.2").is_of(&found));
        assert!(job("ρ = 0.2").of(Vec::new()).is_same(&found), "and replaces it");
    }

    #[test]
    fn names_of_files_tell_titles_and_settings_apart() {
        let name = file_name("ρ-paths · SAM, β = 2", "η = 0.1");
        assert!(name.starts_with("paths-sam-2-") && name.len() == 20, "{name}");
        assert_eq!(name, file_name("ρ-paths · SAM, β = 2", "η = 0.1"));
        assert!(
            name != file_name("ρ-paths · SAM, β = 2", "η = 0.2")
                && name != file_name("ρ-paths · SAM, γ = 2", "η = 0.1")
        );
    }

    #[test]
    fn a_point_that_cannot_be_is_named() {
        let of = |point| SeriesJob::new("figure", "series", "", |_| Ok(Vec::new())).of(vec![point]).check();
        of(Point::sampled(1., -2., 0.)).unwrap();
        for (point, part) in [
            (Point::exact(1., f64::NAN), "y is NaN"),
            (Point::exact(f64::INFINITY, 1.), "x is inf"),
            (Point::sampled(1., 1., -0.5), "the standard error is -0.5"),
        ] {
            let error = format!("{:#}", of(point).unwrap_err());
            assert!(error.contains("figure · series") && error.contains(part), "{error}");
        }
    }
}

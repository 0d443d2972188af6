//! A series of numbers as a row: one JSON line, complete enough to draw it and to say how it came about.

use crate::host::Host;
use serde::{Deserialize, Serialize};

/// One series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The size of the experiment.
    pub preset: String,
    /// The figure that it is part of.
    pub figure: String,
    /// Its name there.
    pub series: String,
    /// Everything that decided its numbers.
    pub setting: String,
    /// The numbers.
    pub points: Vec<Point>,
    /// What it took.
    pub seconds: f64,
    /// On what.
    pub host: Host,
    /// With which program.
    pub revision: String,
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

impl Row {
    /// Whether both are the same series.
    pub fn is_of(&self, other: &Row) -> bool {
        (&self.preset, &self.figure, &self.series) == (&other.preset, &other.figure, &other.series)
    }
}

/// The series of a figure, in order.
pub fn of<'a>(rows: &'a [Row], figure: &str) -> Vec<&'a Row> {
    rows.iter().filter(|row| row.figure == figure).collect()
}

//! Ranks by the number of probes, and the error of slopes by the length of the step, as figures.

use super::answers::rademacher;
use super::comparison::{Comparison, Entry};
use crate::page::Picture;
use crate::plot::{Axis, Figure, Series, Style};

/// Two pictures for each network: of the probes, and of the step.
pub fn all(rows: &[Comparison]) -> Vec<Picture> {
    let ranks = |row: &Comparison| {
        let point = |entry: &Entry| Some((entry.probes? as f64, entry.figures.as_ref()?.spearman.mean));
        Series::new(&row.setting.state, Style::Both, rademacher(row).filter_map(point))
    };
    let errors = |row: &Comparison| {
        let points = row.sweep.iter().filter_map(|point| Some((point.ratio, point.error?.mean)));
        Series::new(&row.setting.state, Style::Both, points)
    };
    let mut all = Vec::new();
    for (k, network) in networks(rows).iter().enumerate() {
        let of_network = || rows.iter().filter(|row| row.setting.network() == *network);
        all.push(Picture {
            file: format!("probes-{}.svg", k + 1),
            alt: format!("Rank correlation of {network} by the number of probes"),
            figure: Figure {
                title: format!("{network}: rank correlation with the true norms"),
                x: Axis::log2("probes K"),
                y: Axis::linear("Spearman").with(0., 1.),
                series: of_network().map(ranks).collect(),
                slopes: Vec::new(),
            },
        });
        all.push(Picture {
            file: format!("step-{}.svg", k + 1),
            alt: format!("Error of the slopes of {network} by the length of the step"),
            figure: Figure {
                title: format!("{network}: one probe against the exact slope"),
                x: Axis::log("‖δz‖/‖x‖"),
                y: Axis::log("relative error"),
                series: of_network().map(errors).collect(),
                slopes: Vec::new(),
            },
        });
    }
    all
}

/// The networks of the rows, in order of appearance.
pub fn networks(rows: &[Comparison]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for network in rows.iter().map(|row| row.setting.network()) {
        if !all.contains(&network) {
            all.push(network);
        }
    }
    all
}

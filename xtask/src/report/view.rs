//! What an experiment makes of its rows: claims, tables and pictures.

use super::contest::Claim;
use super::plot::plot;
use super::table::table;
use super::{by_network, escape, m_sharpness, noise_trace};
use crate::experiments::{Experiment, typed};
use crate::row::Row;
use anyhow::Result;

/// Claims, tables and pictures.
pub struct View {
    /// What the claims compare.
    pub measure: &'static str,
    /// Sentences that the rows allow; none for an experiment that is a table.
    pub claims: Vec<Claim>,
    /// Markdown.
    pub text: String,
    pub pictures: Vec<Picture>,
}

/// A picture, and what it says to who cannot see it.
pub struct Picture {
    pub file: String,
    pub alt: String,
    pub svg: String,
}

/// The rows of `experiment` as it shows them.
pub fn view(experiment: Experiment, rows: &[Row]) -> Result<View> {
    match experiment {
        Experiment::Escape => escape::view(rows),
        Experiment::NoiseTrace => noise_trace::view(rows),
        Experiment::MSharpness => m_sharpness::view(rows),
        _ => {
            let picture = |(network, curves): (String, Vec<Row>)| {
                Ok(Picture {
                    svg: plot(&format!("{network}, {}", typed(experiment)), &curves)?,
                    alt: format!("Test accuracy of {network} by epoch"),
                    file: format!("{network}.svg"),
                })
            };
            let pictures = by_network(rows).into_iter().map(picture).collect::<Result<_>>()?;
            let measure = "the test accuracy after the last epoch";
            Ok(View { measure, claims: Vec::new(), text: table(rows, experiment.published()), pictures })
        }
    }
}

//! The page of `trace`: the noise of the samples' gradients at the end of whole trainings.

use super::about;
use crate::experiments::Family;
use crate::page::columns::{RHO, TRACE, TRAIN, trace};
use crate::page::contest::{Claim, Column, Contest, NOISE, Says, labels, mean, standing};
use crate::page::curves::{Curves, Over};
use crate::page::{Page, Parts, Picture};
use crate::plot::Scale;
use crate::run::outcome::RunRow;
use anyhow::{Context, Result};

/// The paper's Table 6: SGD, SAM, RW-SAM.
const PUBLISHED: [&str; 3] = ["572.39 ± 24.15", "198.40 ± 6.20", "177.79 ± 5.10"];

/// Claims, the table, and tr V by epoch, of the runs that were tested.
pub fn page(rows: &[RunRow]) -> Result<Page> {
    let compared: Vec<RunRow> =
        rows.iter().filter(|row| row.content.config.data.validation.is_none()).cloned().collect();
    let config = &compared.first().context("there is no run on the test images")?.content.config;
    let published: Column = ("paper", &|rows| {
        let of = |row: &&RunRow| match Family::of(&row.content.config) {
            Family::Sgd => Some(PUBLISHED[0]),
            Family::Sam(m) if m == row.content.config.optimisation.batch_size => Some(PUBLISHED[1]),
            Family::Reweighted(_) => Some(PUBLISHED[2]),
            _ => None,
        };
        rows.first().and_then(of).unwrap_or("–").to_owned()
    });
    let loss: Column = ("training loss, last epoch", &|rows| mean(rows, 3, |row| row.content.metrics.train_loss));
    let table = standing(&compared, NOISE, &[RHO, TRACE, published, TRAIN, loss], &["SGD", "SAM"]);
    let body = format!(
        "Compared by the factor between two rules: the geometric mean over the seeds, with Student's interval of its \
         logarithm. ± is the standard deviation over the seeds. The paper does not name the network and the images of its \
         values, so compare their order.\n\n{table}"
    );
    let curves = Curves {
        title: "Noise of the samples' gradients",
        y: "tr V",
        of: trace,
        back: 0.5,
        scale: Scale::Log,
        over: Over::Epochs,
    };
    let alt = "tr V by epoch under each rule".to_owned();
    let pictures = vec![Picture { file: "trace.svg".to_owned(), alt, figure: curves.figure(&compared) }];
    let (about, claims, findings) = (about(config), claims(&compared), Vec::new());
    Ok(Parts { about, measure: NOISE.name, claims, body, table, findings, pictures }.page("trace", rows))
}

/// SAM beside SGD, the others beside SAM: the paper says that each is lower.
fn claims(rows: &[RunRow]) -> Vec<Claim> {
    let all = labels(rows);
    let others =
        all.iter().filter(|label| !["SGD", "SAM"].contains(&label.as_str())).map(|label| (label.as_str(), "SAM"));
    let pairs = [("SAM", "SGD")].into_iter().chain(others);
    pairs.filter_map(|(rule, than)| Contest::new(rule, than, Says::Lower).claim(rows, NOISE)).collect()
}

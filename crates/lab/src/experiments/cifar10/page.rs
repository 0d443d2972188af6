//! The page of `cifar10`: the table, with the paper's values beside ours.

use super::runs::{PUBLISHED, about};
use crate::experiments::Preset;
use crate::page::contest::{Claim, Contest, Measure, Says, Scale, labels};
use crate::page::curves::ACCURACY;
use crate::page::table::table;
use crate::page::{Page, Parts, Picture, by_network};
use crate::run::outcome::RunRow;
use anyhow::{Result, anyhow};
use clap::ValueEnum;

/// What the paper's table compares.
const LAST: Measure = Measure {
    name: "the test accuracy after the last epoch, in points",
    of: |row| Some(100. * row.content.metrics.test_accuracy?),
    scale: Scale::Points,
};

/// Each rule against SGD, and those after SAM against SAM: the paper says that each is higher.
fn claims(rows: &[RunRow]) -> Vec<Claim> {
    let all = labels(rows);
    let of = |than: &str, skip: usize| -> Vec<Claim> {
        let contest = |rule: &String| Contest::new(rule, than, Says::Higher).claim(rows, LAST);
        all.iter().skip(skip).filter_map(contest).collect()
    };
    [of("SGD", 1), of("SAM", 2)].concat()
}

/// Claims of each network, the table, and accuracy by epoch.
pub fn page(rows: &[RunRow]) -> Result<Page> {
    let preset = Preset::from_str(&rows[0].preset, true).map_err(|_| anyhow!("no preset {:?}", rows[0].preset))?;
    let (mut all, mut pictures) = (Vec::new(), Vec::new());
    for (network, of_network) in by_network(rows) {
        all.extend(claims(&of_network));
        pictures.push(Picture {
            file: format!("{network}.svg"),
            alt: format!("Test accuracy of {network} by epoch under each rule"),
            figure: ACCURACY.figure(&of_network),
        });
    }
    let table = table(rows, PUBLISHED);
    let (about, measure, body) = (about(preset).to_owned(), LAST.name, table.clone());
    Ok(Parts { about, measure, claims: all, body, table, findings: Vec::new(), pictures }.page("cifar10", rows))
}

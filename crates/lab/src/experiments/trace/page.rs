//! The page of `trace`: the noise of the samples' gradients at the end of whole trainings.

use super::about;
use crate::experiments::Family;
use crate::experiments::cifar10::is_compared;
use crate::page::columns::{LOSS, RHO, TRACE, TRAIN, trace};
use crate::page::contest::{Claim, Column, NOISE, Says, standing};
use crate::page::curves::{Curves, Over};
use crate::page::table::groups;
use crate::page::{Page, Parts, Picture, by_name, configs};
use crate::plot::Scale;
use crate::run::outcome::RunRow;
use anyhow::Result;

/// The paper's Table 6: SGD, SAM, RW-SAM.
const PUBLISHED: [&str; 3] = ["572.39 ± 24.15", "198.40 ± 6.20", "177.79 ± 5.10"];

/// Claims, the table, and tr V by epoch, of each network.
pub fn page(rows: &[RunRow]) -> Result<Page> {
    let compared: Vec<RunRow> = rows.iter().filter(|row| is_compared(&row.content.config)).cloned().collect();
    let published: Column = ("paper", &|rows| {
        let of = |row: &&RunRow| match Family::of_row(row) {
            Family::Sgd => Some(PUBLISHED[0]),
            Family::Sam(m) if m == row.content.config.optimisation.batch_size => Some(PUBLISHED[1]),
            Family::Reweighted(_) => Some(PUBLISHED[2]),
            _ => None,
        };
        rows.first().and_then(of).unwrap_or("–").to_owned()
    });
    let curves = Curves {
        title: "Noise of the samples' gradients",
        y: "tr V",
        of: trace,
        back: 1.,
        scale: Scale::Log,
        over: Over::Epochs,
    };
    let (mut all, mut tables, mut pictures) = (Vec::new(), Vec::new(), Vec::new());
    for (network, rows) in by_name(&compared, |config| config.model.architecture.to_string()) {
        all.extend(claims(&rows).into_iter().map(|claim| claim.of_runs(&network)));
        let table = standing(&rows, NOISE, &[RHO, TRACE, published, TRAIN, LOSS], &["SGD", "SAM"]);
        tables.push(format!("### {network}\n\n{table}"));
        let alt = format!("tr V of {network} by epoch under each rule");
        pictures.push(Picture { file: format!("{network}.svg"), alt, figure: curves.figure(&rows) });
    }
    let table = tables.join("\n");
    let body = format!(
        "Compared by the factor between two rules: the geometric mean over the seeds, with Student's interval of its \
         logarithm. In the figure too means are geometric; the table's are not. The paper does not name the network and the images of its \
         values, so compare their order.\n\n{table}"
    );
    let about = about(&configs(rows));
    let (claims, findings) = (all, Vec::new());
    Ok(Parts { about, measure: NOISE.name, claims, body, table, findings, pictures }.page("trace", rows))
}

/// SAM beside SGD, the others beside SAM: the paper says that each is lower.
fn claims(rows: &[RunRow]) -> Vec<Claim> {
    let sam = Family::Sam(rows[0].content.config.optimisation.batch_size);
    let all = groups(rows).into_iter().map(|group| Family::of_row(group[0]));
    let others = all.filter(|family| *family != sam && !matches!(family, Family::Sgd | Family::MicroSgd(_)));
    let pairs = [(sam, Family::Sgd)].into_iter().chain(others.map(|family| (family, sam)));
    pairs.filter_map(|(one, than)| one.against(than, Says::Lower, rows, NOISE)).collect()
}

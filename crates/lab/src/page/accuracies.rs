//! The page of an experiment that compares the test accuracies of rules, with the paper's values beside ours.

use super::contest::{Claim, Contest, LAST, Says, labels};
use super::curves::ACCURACY;
use super::table::{Published, table};
use super::{Parts, Picture, by_name};
use crate::run::outcome::RunRow;

/// Each rule against the first one, SGD or AdamW alone, and those after SAM against SAM: the paper says that each is
/// higher.
fn claims(rows: &[RunRow], on: &str) -> Vec<Claim> {
    let all = labels(rows);
    let of = |than: &str, skip: usize| -> Vec<Claim> {
        let contest = |rule: &String| Contest::new(rule, than, Says::Higher).claim(rows, LAST);
        all.iter().skip(skip).filter_map(contest).collect()
    };
    let on_it = |claim: Claim| Claim { text: format!("{on}{}", claim.text), ..claim };
    [of(all.first().map_or("SGD", String::as_str), 1), of("SAM", 2)].concat().into_iter().map(on_it).collect()
}

/// Of its page: claims, table and accuracy by epoch of each network on each of its data sets.
pub fn parts(about: String, rows: &[RunRow], published: &[Published]) -> Parts {
    let (mut all, mut pictures, mut tables) = (Vec::new(), Vec::new(), Vec::new());
    let sets = by_name(rows, |config| config.data.set.to_string());
    for (set, of_set) in &sets {
        let (heading, on, suffix) = match sets.len() {
            1 => (String::new(), String::new(), String::new()),
            _ => (format!("On {set}:\n\n"), format!("{set}: "), format!("-{set}")),
        };
        for (network, of_network) in by_name(of_set, |config| config.model.architecture.to_string()) {
            all.extend(claims(&of_network, &on));
            pictures.push(Picture {
                file: format!("{}{suffix}.svg", network.replace('@', "-")),
                alt: format!("Test accuracy of {network} on {set} by epoch under each rule"),
                figure: ACCURACY.figure(&of_network),
            });
        }
        tables.push(format!("{heading}{}", table(of_set, published)));
    }
    let table = tables.join("\n");
    let body = table.clone();
    Parts { about, measure: LAST.name, claims: all, body, table, findings: Vec::new(), pictures }
}

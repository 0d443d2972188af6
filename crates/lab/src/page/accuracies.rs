//! The page of an experiment that compares the test accuracies of rules, with the paper's values beside ours.

use super::contest::{Claim, Contest, LAST, Says};
use super::curves::ACCURACY;
use super::table::{Published, groups, published_value, table};
use super::{Parts, Picture, by_name};
use crate::config::RunConfig;
use crate::run::outcome::RunRow;

/// Each rule against SGD, or AdamW alone, and those but SAM against SAM. Where the paper has values for both that are
/// further apart than their deviations, it says what they say; of pairs that it has not, that each is higher. It says
/// nothing of SGD in micro-batches, nor of m-SAM beside SGD in a batch where the first is a rule of the table too: then
/// m-SAM is to be compared with that.
fn claims(rows: &[RunRow], published: &[Published]) -> Vec<Claim> {
    let of = |fits: &dyn Fn(&RunConfig) -> bool| rows.iter().map(|row| &row.content.config).find(|config| fits(config));
    let alone = of(&|config| config.perturbation.rule.name() == "sgd" && config.perturbation.micro_batch.is_none());
    let sam = of(&|config| config.perturbation.rule.name() == "sam" && config.perturbation.micro_batch.is_none());
    let against = |than: Option<&RunConfig>, but: &[Option<&RunConfig>]| -> Vec<Claim> {
        let Some(than) = than else { return Vec::new() };
        let but: Vec<String> = but.iter().flatten().map(|config| config.rule_label()).collect();
        let others = groups(rows).into_iter().map(|group| &group[0].content.config);
        let is_sgd = |config: &RunConfig| config.perturbation.rule.name() == "sgd";
        let contest = |config: &RunConfig| {
            let same_m =
                |other: &RunConfig| is_sgd(other) && other.perturbation.micro_batch == config.perturbation.micro_batch;
            let has_control = config.perturbation.micro_batch.is_some() && of(&same_m).is_some();
            let says = match published_value(config, published).zip(published_value(than, published)) {
                Some((one, other)) => expected(one, other),
                None if is_sgd(config) || (is_sgd(than) && has_control) => Says::Nothing,
                None => Says::Higher,
            };
            Contest::new(config.rule_label(), than.rule_label(), says).claim(rows, LAST)
        };
        others.filter(|config| !but.contains(&config.rule_label())).filter_map(contest).collect()
    };
    [against(alone, &[alone]), against(sam, &[alone, sam])].concat()
}

/// What the paper's values of two rules, each with its deviation where it is known, say of the one.
fn expected((one, of_one): (f64, Option<f64>), (other, of_other): (f64, Option<f64>)) -> Says {
    let deviation = of_one.unwrap_or(0.).hypot(of_other.unwrap_or(0.));
    match one - other {
        more if more > deviation => Says::Higher,
        less if less < -deviation => Says::Lower,
        _ => Says::Nothing,
    }
}

/// Of its page: claims, table and accuracy by epoch of each network on each of its data sets.
pub fn parts(about: String, rows: &[RunRow], published: &[Published]) -> Parts {
    let (mut all, mut pictures, mut tables) = (Vec::new(), Vec::new(), Vec::new());
    let sets = by_name(rows, |config| config.data.set.to_string());
    for (set, of_set) in &sets {
        let (heading, suffix) = match sets.len() {
            1 => (String::new(), String::new()),
            _ => (format!("On {set}:\n\n"), format!("-{set}")),
        };
        let networks = by_name(of_set, |config| config.model.architecture.to_string());
        let has_many = networks.len() > 1;
        for (network, of_network) in networks {
            let of: Vec<&str> = [(has_many, &network), (sets.len() > 1, set)]
                .into_iter()
                .filter_map(|(is_said, name)| is_said.then_some(name.as_str()))
                .collect();
            let named = |claim: Claim| if of.is_empty() { claim } else { claim.of_runs(&of.join(" on ")) };
            all.extend(claims(&of_network, published).into_iter().map(named));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_within_their_deviations_say_nothing() {
        assert!(expected((78.90, Some(0.27)), (78.91, Some(0.18))) == Says::Nothing);
        assert!(expected((96.24, Some(0.05)), (95.99, Some(0.07))) == Says::Higher);
        assert!(expected((75., None), (76., None)) == Says::Lower);
    }
}

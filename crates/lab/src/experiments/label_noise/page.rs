//! The page of `label-noise`: for each share of wrong labels what each rule has learnt of them, and what it has left.

use super::runs::{EXACT, M_EFF, RANDOM, about};
use crate::config::RunConfig;
use crate::experiments::Family;
use crate::experiments::radius::is_of_radius;
use crate::page::columns::{BEST, END, OF_WRONG_LABELS, RHO, RIGHT, TRACE, WRONG};
use crate::page::contest::{Claim, Column, LAST, Says, standing};
use crate::page::curves::ACCURACY;
use crate::page::machine::Machine;
use crate::page::table::groups;
use crate::page::{Page, Parts, Picture, by_name};
use crate::plot::{Axis, Figure, Point, Series, Style};
use crate::run::outcome::RunRow;
use anyhow::Result;

/// The paper's Table 4 at a share of wrong labels, in percent: SGD, SAM, RW-SAM.
const PUBLISHED: [(f64, [f64; 3]); 4] = [
    (0.2, [87.54, 90.01, 90.34]),
    (0.4, [83.66, 86.40, 86.87]),
    (0.6, [76.64, 78.79, 81.52]),
    (0.8, [46.53, 37.69, 53.17]),
];

/// What the paper has for a rule at the share of its rows.
fn published(rows: &[&RunRow]) -> Option<f64> {
    let config = &rows.first()?.content.config;
    let (_, [sgd, sam, rw_sam]) = PUBLISHED.iter().find(|(share, _)| *share == config.data.label_noise)?;
    match Family::of_row(rows.first()?) {
        Family::Sgd => Some(*sgd),
        Family::Sam(m) if m == config.optimisation.batch_size => Some(*sam),
        probe if probe == Family::probe(M_EFF) => Some(*rw_sam),
        _ => None,
    }
}

/// Claims, a table and a picture for each share, and accuracy over the share.
pub fn page(rows: &[RunRow]) -> Result<Page> {
    let share = |config: &RunConfig| format!("{:.0} % wrong labels", 100. * config.data.label_noise);
    let (mut claims, mut body, mut tables, mut pictures) =
        (Vec::new(), String::new(), Vec::new(), vec![by_share(rows)]);
    let machine = Machine::of(rows);
    let columns: [Column; 8] = [
        RHO,
        RIGHT,
        WRONG,
        BEST,
        END,
        ("paper, %", &|rows| published(rows).map_or("–".to_owned(), |value| format!("{value:.2}"))),
        TRACE,
        ("s an epoch", &|rows| machine.seconds_an_epoch(rows)),
    ];
    for (share, rows) in &by_name(rows, share) {
        claims.extend(claims_of(rows).into_iter().map(|claim| claim.of_runs(share)));
        let table = standing(rows, LAST, &columns, &["SGD", "SAM"]);
        body.push_str(&format!("### {share}\n\n{table}\n"));
        tables.push(format!("{share}\n{}", standing(rows, LAST, &[RHO, WRONG, END], &["SGD", "SAM"])));
        pictures.push(Picture {
            file: format!("accuracy-{:.0}.svg", 100. * rows[0].content.config.data.label_noise),
            alt: format!("Test accuracy by epoch under each rule with {share}"),
            figure: ACCURACY.figure(rows),
        });
    }
    let body = format!(
        "{OF_WRONG_LABELS} The paper's values, of a network and images that it does not name, are beside ours for the \
         order of the rules, which is all that can be compared. The radii are those that were best at 40 %; at another \
         share a rule may be at a ρ that is too small or too large for it, so that a difference there is none to the \
         paper. tr V, the variance of a sample's gradient, vanishes where a network fits all labels. {}\n\n{body}",
        machine.explained()
    );
    let about = about(&rows[0].content.config);
    let (measure, table, findings) = (LAST.name, tables.join("\n"), Vec::new());
    Ok(Parts { about, measure, claims, body, table, findings, pictures }.page("label-noise", rows))
}

/// SAM beside SGD, the others beside SAM, RW-SAM beside its controls; without what `radius` says of the same runs.
/// Where the radii were not chosen, a difference says nothing of the paper.
fn claims_of(rows: &[RunRow]) -> Vec<Claim> {
    let config = &rows[0].content.config;
    let (sam, probe) = (Family::Sam(config.optimisation.batch_size), Family::probe(M_EFF));
    let others = [Family::Sam(16), Family::Sam(4), Family::Sam(1), probe, EXACT];
    let beside = [(sam, Family::Sgd)].into_iter().chain(others.map(|family| (family, sam)));
    let beside = beside.map(|(one, than)| (one, than, Says::Nothing)).filter(|_| !is_of_radius(config));
    let controls = [
        (Family::LatePhase, sam, Says::Nothing),
        (probe, probe.shuffled(), Says::Reason),
        (probe, RANDOM, Says::Reason),
    ];
    let pairs = beside.chain(controls);
    pairs.filter_map(|(one, than, says)| one.against(than, says, rows, LAST)).collect()
}

/// Test accuracy at the end over the share of wrong labels, a line for each rule.
fn by_share(rows: &[RunRow]) -> Picture {
    let of_rule = |(label, rows): (String, Vec<RunRow>)| {
        let point = |group: &Vec<&RunRow>| {
            let share = 100. * group[0].content.config.data.label_noise;
            Point::of_mean(share, &group.iter().filter_map(|row| (LAST.of)(row)).collect::<Vec<_>>())
        };
        Series::new(&label, Style::Both, groups(&rows).iter().filter_map(point))
    };
    let figure = Figure {
        title: "Accuracy against the share of wrong labels".to_owned(),
        x: Axis::linear("wrong labels, %"),
        y: Axis::linear("test accuracy, %"),
        series: by_name(rows, |config| config.rule_label()).into_iter().map(of_rule).collect(),
        slopes: Vec::new(),
    };
    let alt = "Test accuracy at the end against the share of wrong labels, a line for each rule".to_owned();
    Picture { file: "share.svg".to_owned(), alt, figure }
}

#[cfg(test)]
mod tests {
    use super::super::runs::configs;
    use super::*;
    use crate::experiments::Preset;
    use crate::page::table::tests::row_of;

    /// Each wrong label costs a point, m-SAM gains a tenth of that back, and has half of the noise.
    #[test]
    fn every_share_has_its_table_and_its_claims() {
        let of = |config: RunConfig| {
            let share = config.data.label_noise;
            let (gain, noise) = if config.perturbation.micro_batch.is_some() { (0.1, 50.) } else { (0., 100.) };
            let accuracy = 0.8 - share * (0.5 - gain) + 0.01 * (config.optimisation.seed % 10) as f64;
            let mut row = row_of(config, accuracy, &[("train_accuracy_wrong", 0.25), ("noise_trace", noise)]);
            row.content.curve[0].seconds = 1.5;
            row
        };
        let rows: Vec<RunRow> = configs(Preset::Laptop).into_iter().map(of).collect();
        let page = page(&rows).unwrap();
        for said in [
            "- 80 % wrong labels: m-SAM (m = 1) against SAM: +8.00 (+8.00 to +8.00), **they differ**.",
            "- 40 % wrong labels: late-phase SAM",
            "- 20 % wrong labels: RW-SAM (m_eff = 16) against RW-SAM (m_eff = 16, shuffle-weights): +0.00",
            "### 40 % wrong labels",
        ] {
            assert!(page.text.contains(said), "{said} in {}", page.text);
        }
        assert!(!page.text.contains("- 40 % wrong labels: m-SAM"), "radius says it");
        let line = |start: &str| page.text.lines().filter(|line| line.starts_with(start)).collect::<Vec<_>>();
        let sam = line("| SAM | 0.");
        assert!(sam.len() == 4 && sam[3].contains("| 37.69 |") && sam[0].contains("| 90.01 |"), "{sam:?}");
        assert!(line("| m-SAM (m = 16) ").iter().all(|line| line.contains(" | – | 50.0 ± 0.0 | 1.50 |")));
        assert_eq!(page.pictures.len(), 5);
        page.pictures.iter().for_each(|picture| assert!(picture.figure.svg().is_ok()));
    }
}

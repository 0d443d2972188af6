//! The page of `cifar10` and of `cifar100`: the table, with the paper's values beside ours; how far the rules fit, and
//! how ρ was chosen.

use super::runs::{M, SMALL_M, Setting, about, is_compared};
use crate::config::RunConfig;
use crate::experiments::{Family, Preset};
use crate::page::columns::{END, RHO, TRACE, TRAIN};
use crate::page::contest::{Column, LAST, Says, mean, percent_at_end, standing};
use crate::page::grid::Grid;
use crate::page::{Page, accuracies, by_name, configs};
use crate::run::outcome::RunRow;
use anyhow::Result;

/// Claims of each network, the table, and accuracy by epoch.
pub fn page(setting: &Setting, rows: &[RunRow]) -> Result<Page> {
    let (compared, grid): (Vec<RunRow>, Vec<RunRow>) =
        rows.iter().cloned().partition(|row| is_compared(&row.content.config));
    let about = about(Preset::of(&rows[0])?, &configs(rows));
    let mut parts = accuracies::parts(about, &compared, setting.published);
    let networks = by_name(&compared, |config| config.model.architecture.to_string());
    let has_many = networks.len() > 1;
    for (network, rows) in networks {
        let micro = [M, SMALL_M].map(|m| (Family::Sam(m), Family::MicroSgd(m)));
        let claims = micro.into_iter().filter_map(|(one, than)| one.against(than, Says::Higher, &rows, LAST));
        parts.claims.extend(claims.map(|claim| if has_many { claim.of_runs(&network) } else { claim }));
    }
    if compared.iter().any(|row| percent_at_end(row, "train_accuracy").is_some()) {
        parts.body.push_str(&fit(&compared));
    }
    if !grid.is_empty() {
        parts.body.push_str(&choice(&grid));
    }
    Ok(parts.page(setting.name, rows))
}

/// How far each rule fits its training images, and how much less it knows of others.
fn fit(rows: &[RunRow]) -> String {
    let gap: Column =
        ("gap, points", &|rows| mean(rows, 1, |row| Some(percent_at_end(row, "train_accuracy")? - (LAST.of)(row)?)));
    let tables: String = by_name(rows, |config| config.network_label())
        .into_iter()
        .map(|(network, rows)| {
            let table = standing(&rows, LAST, &[RHO, TRAIN, END, gap, TRACE], &["SAM"]);
            format!("{network}:\n\n{table}\n")
        })
        .collect();
    format!(
        "\n### How far they fit\n\nThe accuracy on the training images is measured after the last epoch, without \
         augmentation, and with the running statistics of BatchNorm, as on test images. `trace` \
         says how tr V is measured.\n\n{tables}"
    )
}

/// The runs with which a ρ was chosen.
fn choice(rows: &[RunRow]) -> String {
    let images = rows[0].content.config.data.validation.unwrap_or(0);
    let seed = rows[0].content.config.optimisation.seed;
    let at_own_rho = |config: &RunConfig| {
        let (family, rho, _) = Family::place(config);
        (family, rho, 1.)
    };
    let grid = Grid::of(rows, at_own_rho, ["ρ", "ρ"]);
    format!(
        "\n### How ρ was chosen\n\nBy one run for each ρ, on seed {seed}: by its accuracy in percent on {images} \
         training images that were held out. The standard error of an accuracy on so many images is at most {:.1} \
         points. A column is a ρ.\n\n{}\n{}",
        50. / (images as f64).sqrt(),
        grid.table(),
        grid.open_ends()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiments::cifar10::CIFAR10;
    use crate::experiments::trace;
    use crate::experiments::{Experiment, Given};
    use crate::page::table::tests::row_of;

    /// Every rule but SGD has a tenth of its noise; the training images are known to 99 %.
    #[test]
    fn the_table_is_of_test_images_and_the_choice_of_those_held_out() {
        let of = |config: RunConfig| {
            let is_sgd = config.perturbation.rule.name() == "sgd";
            let accuracy = if config.data.validation.is_some() { 0.5 } else { 0.6 };
            let noise = if is_sgd { 500. } else { 50. };
            row_of(config, accuracy, &[("train_accuracy", 0.99), ("noise_trace", noise)])
        };
        let jobs = CIFAR10.jobs(Preset::Laptop, &Given::of(CIFAR10.setting.set.clone())).unwrap();
        let rows: Vec<RunRow> = jobs.into_iter().map(of).collect();
        let text = CIFAR10.page(&rows).unwrap().text;
        for said in [
            "| SGD | – | 99.0 ± 0.0 | 60.0 ± 0.0 | 39.0 ± 0.0 | 500.0 ± 0.0 | 5 |",
            "on seed 100: by its accuracy in percent on 5000 training images that were held out.",
            "| SAM | – | – | 50.0 | 50.0 | 50.0 | 50.0 | – | 50.0 at 0.2 |",
            "- resnet20: m-SAM (m = 4) against m-SGD (m = 4): +0.00",
            "- resnet8: SAM against SGD: +0.00",
            "resnet8 (batch), 2000 images of CIFAR-10, another subset for each seed, 5000 test images;",
            "The same with resnet20 (batch).",
        ] {
            assert!(text.contains(said), "{said} in {text}");
        }
        let text = (trace::TRACE.page)(&rows).unwrap().text;
        for said in [
            "- resnet20: SAM against SGD: × 0.10 (0.10 to 0.10), **as the paper says**.",
            "at their first step, on 16 images of its batch",
            "| 500.0 ± 0.0 | 572.39 ± 24.15 | 99.0 ± 0.0 |",
        ] {
            assert!(text.contains(said), "{said} in {text}");
        }
    }
}

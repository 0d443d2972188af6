//! The page of `noise-trace`: the noise of the samples' gradients along the runs of `escape`.

use crate::experiments::escape::{SEEN, contests};
use crate::page::columns::{self, trace};
use crate::page::contest::{Claim, Column, Measure, NOISE, Says, Scale, mean, standing};
use crate::page::curves::{Curves, Over};
use crate::page::{Page, Parts, Picture, with_more_seeds};
use crate::plot::Scale as AxisScale;
use crate::run::outcome::RunRow;
use anyhow::Result;

/// Figure 2 is of the whole way; this was added when one seed of the table had been seen, and the page says so.
const WAY: Measure = Measure {
    name: "ln tr V, mean over the run",
    of: |row| {
        let all: Vec<f64> = row.content.curve.iter().filter_map(trace).map(f64::ln).collect();
        (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
    },
    scale: Scale::Factor,
};

/// Claims, the table, and tr V by step.
pub fn page(about: String, rows: &[RunRow]) -> Result<Page> {
    let compared = format!(
        "Compared is {}, by the factor between two rules: the geometric mean over the seeds, with Student's interval \
         of its logarithm. In the figure too means are geometric.\n\n",
        NOISE.name
    );
    let first = |row: &RunRow| row.content.curve.iter().find(|line| line.epoch == 1).and_then(trace);
    let columns: [Column; 3] = [("tr V, first epoch", &|rows| mean(rows, 1, first)), columns::TRACE, columns::LOSS];
    let table = standing(rows, NOISE, &columns, &["SGD", "SAM"]);
    let again = with_more_seeds(rows, SEEN, |rows| Ok(claims(rows)))?;
    let body = format!(
        "{compared}{table}\n*Over the whole way*, as a figure shows it: the geometric mean of tr V over the epochs of \
         the run. This measure was added when one seed of the table had been seen. At the end tr V is also small where \
         a rule has fitted its labels again: the training loss stands beside it.\n{again}"
    );
    let curves = Curves {
        title: "Noise of the samples' gradients, from a poor minimum",
        y: "tr V",
        of: trace,
        back: 0.5,
        scale: AxisScale::Log,
        over: Over::Steps,
    };
    let picture = Picture {
        file: "trace.svg".to_owned(),
        alt: "tr V by step under each rule, from the same poor minimum".to_owned(),
        figure: curves.figure(rows),
    };
    let (measure, claims, pictures) = (NOISE.name, claims(rows), vec![picture]);
    Ok(Parts { about, measure, claims, body, table, findings: Vec::new(), pictures }.page("noise-trace", rows))
}

/// Under which rule the noise is less: at the end, and over the whole way.
fn claims(rows: &[RunRow]) -> Vec<Claim> {
    let of = |measure| contests(rows, Says::Lower).into_iter().filter_map(move |contest| contest.claim(rows, measure));
    let over = |claim: Claim| Claim { what: format!("Over the whole way, {}", claim.what), ..claim };
    of(NOISE).chain(of(WAY).map(over)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DataName, RunConfig};
    use crate::experiments::noise_trace::NoiseTrace;
    use crate::experiments::{Experiment, Given, Preset};
    use crate::page::table::tests::{point, row};

    /// tr V falls to 100 under SAM, to half of it with micro-batches, in the last quarter of each run.
    #[test]
    fn the_end_of_a_run_decides_and_factors_are_told() {
        let configs = NoiseTrace.jobs(Preset::Laptop, &Given::of(DataName::Synthetic)).unwrap();
        let of = |config: RunConfig| {
            let low = if config.perturbation.micro_batch.is_some() { 50. } else { 100. };
            let late = |epoch: usize| 4 * epoch > 3 * config.optimisation.epochs;
            let line = |epoch| point(epoch, 0.3, &[("noise_trace", if late(epoch) { low } else { 900. })]);
            let curve = (1..=config.optimisation.epochs).map(line).collect();
            let mut row = row("sgd", config.optimisation.seed, Some(0.3));
            (row.content.config, row.content.curve) = (config, curve);
            row
        };
        let rows: Vec<RunRow> = configs.into_iter().map(of).collect();
        let (claims, text) = (claims(&rows), page(String::new(), &rows).unwrap().text);
        let micro = rows
            .iter()
            .find(|row| row.content.config.perturbation.micro_batch.is_some())
            .unwrap()
            .content
            .config
            .rule_label();
        let said = format!("{micro} against SAM: × 0.50 (0.50 to 0.50), **as the paper says**.");
        assert!(claims.iter().any(|claim| claim.text() == said && claim.decided() == Some(true)), "{claims:#?}");
        assert!(claims.iter().any(|claim| claim.text().starts_with("SAM against n-SAM: × 1.00")), "{claims:#?}");
        // half the trace in 8 of 30 epochs: 2^(−8/30) = 0.83
        let way = format!("Over the whole way, {micro} against SAM: × 0.83 ");
        assert!(claims.iter().any(|claim| claim.text().starts_with(&way)), "{claims:#?}");
        assert!(text.contains("| SAM | 900.0 ± 0.0 | 100.0 ± 0.0 |"), "{text}");
    }
}

//! The view of `noise-trace`: the noise of the samples' gradients along the runs of `escape`.

use super::contest::{Claim, Column, Measure, Says, Scale, at_end, mean, standing};
use super::escape::contests;
use super::lines::Lines;
use super::view::{Picture, View};
use crate::row::{EpochLine, Row};
use anyhow::Result;
use plotters::prelude::SeriesLabelPosition;

/// Chosen before any run of the table was made: as a logarithm, since tr V moves by powers of ten.
const TRACE: Measure = Measure {
    name: "tr V, mean over the last quarter of the run's epochs",
    of: |row| at_end(row, trace).map(f64::ln),
    scale: Scale::Factor,
};

/// Figure 2 is of the whole way; this was added when one seed of the table had been seen, and the page says so.
const WAY: Measure = Measure {
    name: "ln tr V, mean over the run",
    of: |row| {
        let all: Vec<f64> = row.curve.iter().filter_map(trace).map(f64::ln).collect();
        (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
    },
    scale: Scale::Factor,
};

fn trace(line: &EpochLine) -> Option<f64> {
    line.measures.get("noise_trace").copied()
}

/// Claims, the table, and tr V by step.
pub fn view(rows: &[Row]) -> Result<View> {
    let about = format!(
        "Compared is {}, by the factor between two rules: the geometric mean over the seeds, with Student's interval \
         of its logarithm. ± is the standard deviation over the seeds.\n\n",
        TRACE.name
    );
    let first = |row: &Row| row.curve.iter().find(|line| line.epoch == 1).and_then(trace);
    let columns: [Column; 3] = [
        ("tr V, first epoch", &|rows| mean(rows, 1, first)),
        ("tr V, last quarter", &|rows| mean(rows, 1, |row| at_end(row, trace))),
        ("training loss, last epoch", &|rows| mean(rows, 3, |row| row.metrics.train_loss)),
    ];
    let text = about + &standing(rows, TRACE, &columns, &["SGD", "SAM"]);
    let of_way: Vec<Claim> = contests(rows, Says::Lower).iter().filter_map(|c| c.claim(rows, WAY)).collect();
    let text = format!(
        "{text}\n*Over the whole way*, as a figure shows it: the geometric mean of tr V over the epochs of the run. \
         This measure was added when one seed of the table had been seen. At the end tr V is also small where a rule \
         has fitted its labels again: the training loss stands beside it.\n"
    );
    let picture = Picture {
        file: "trace.svg".to_owned(),
        alt: "tr V by step under each rule, from the same poor minimum".to_owned(),
        svg: Lines {
            title: "Noise of the samples' gradients, from a poor minimum",
            y: "tr V",
            of: trace,
            back: 0.5,
            log: true,
            legend: SeriesLabelPosition::UpperRight,
        }
        .draw(rows)?,
    };
    let at_end = contests(rows, Says::Lower).into_iter().filter_map(|contest| contest.claim(rows, TRACE));
    let over = |claim: Claim| Claim { text: format!("Over the whole way, {}", claim.text), ..claim };
    let claims = at_end.chain(of_way.into_iter().map(over)).collect();
    Ok(View { measure: TRACE.name, claims, text, pictures: vec![picture] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DataName, RunConfig};
    use crate::experiments::{Experiment, Preset};
    use crate::report::table::tests::row;
    use std::collections::BTreeMap;

    /// tr V falls to 100 under SAM, to half of it with micro-batches, in the last quarter of each run.
    #[test]
    fn the_end_of_a_run_decides_and_factors_are_told() {
        let configs = Experiment::NoiseTrace.configs(Preset::Laptop, DataName::Synthetic);
        let of = |config: RunConfig| {
            let low = if config.micro_batch.is_some() { 50. } else { 100. };
            let line = |epoch: usize| EpochLine {
                epoch,
                train_loss: None,
                test_loss: None,
                test_accuracy: 0.3,
                seconds: 1.,
                measures: BTreeMap::from([(
                    "noise_trace".to_owned(),
                    if 4 * epoch > 3 * config.epochs { low } else { 900. },
                )]),
            };
            let curve = (1..=config.epochs).map(line).collect();
            let row = row("sgd", config.seed, Some(0.3));
            Row { config, curve, ..row }
        };
        let rows: Vec<Row> = configs.into_iter().map(of).collect();
        let View { claims, text, .. } = view(&rows).unwrap();
        let micro = rows.iter().find(|row| row.config.micro_batch.is_some()).unwrap().config.rule_label();
        let said = format!("{micro} against SAM: × 0.50 (0.50 to 0.50), **as the paper says**.");
        assert!(claims.iter().any(|claim| claim.text == said && claim.decided), "{claims:#?}");
        assert!(claims.iter().any(|claim| claim.text.starts_with("SAM against n-SAM: × 1.00")), "{claims:#?}");
        // half the trace in 8 of 30 epochs: 2^(−8/30) = 0.83
        let way = format!("Over the whole way, {micro} against SAM: × 0.83 ");
        assert!(claims.iter().any(|claim| claim.text.starts_with(&way)), "{claims:#?}");
        assert!(text.contains("| SAM | 900.0 ± 0.0 | 100.0 ± 0.0 |"), "{text}");
    }
}

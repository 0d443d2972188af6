//! `bench norms`: what the gradient norms of a batch's samples cost, and the steps that use them.

use super::subject::{Kind, Subject, SubjectArgs};
use super::{print_table, rounded};
use anyhow::Result;
use clap::Args;
use msharp_core::BatchLoss;
use msharp_lab::build;
use msharp_lab::config::EstimatorName;
use msharp_lab::statistics::median;
use std::time::Instant;

/// What to show before the flags.
const EXAMPLES: &str = "Examples:
  cargo xtask bench norms                             of a ResNet-18 at batch 128
  cargo xtask bench norms --model resnet8 --batch 64   of another network";

/// The network.
#[derive(Args)]
#[command(before_help = EXAMPLES)]
pub struct NormsArgs {
    #[command(flatten)]
    pub subject: SubjectArgs,
}

/// What is timed: its name, and how it is run once.
type Case = (&'static str, Box<dyn FnMut(&mut Subject) -> Result<()>>);

/// Runs `bench norms`. All cases in turn, as often as is asked for, so that what else the machine does hits them alike.
pub fn norms(args: NormsArgs) -> Result<()> {
    let mut subject = Subject::new(&args.subject, EstimatorName::FiniteDifference)?;
    let mut cases: Vec<Case> = vec![
        ("forward", Box::new(|subject| subject.step(&mut None))),
        (
            "forward and backward",
            Box::new(|subject| {
                BatchLoss::new(&subject.classifier, &subject.params, &subject.batch).gradient()?;
                Ok(())
            }),
        ),
    ];
    let estimators = [
        ("norms: last layer", EstimatorName::LastLayer),
        ("norms: ghost", EstimatorName::Ghost),
        ("norms: finite difference", EstimatorName::FiniteDifference),
    ];
    for (name, estimator) in estimators {
        let mut estimator = build::estimator(estimator, &subject.config);
        cases.push((
            name,
            Box::new(move |subject| {
                estimator.estimate(BatchLoss::new(&subject.classifier, &subject.params, &subject.batch))?;
                Ok(())
            }),
        ));
    }
    for (name, kind, estimator) in [
        ("step: SAM", Kind::Sam, EstimatorName::Ghost),
        ("step: RW-SAM, last layer", Kind::RwSam, EstimatorName::LastLayer),
        ("step: RW-SAM, ghost", Kind::RwSam, EstimatorName::Ghost),
        ("step: RW-SAM, finite difference", Kind::RwSam, EstimatorName::FiniteDifference),
    ] {
        subject.config.weighting.estimator = estimator;
        let mut rule = subject.rule(kind, None);
        cases.push((name, Box::new(move |subject| subject.step(&mut rule))));
    }
    let mut times = vec![vec![]; cases.len()];
    for repetition in 0..1 + args.subject.steps {
        for ((_, run), times) in cases.iter_mut().zip(&mut times) {
            let started = Instant::now();
            run(&mut subject)?;
            if repetition > 0 {
                times.push(1e3 * started.elapsed().as_secs_f64());
            }
        }
    }
    let medians: Vec<f64> = times.into_iter().map(median).collect();
    let (model, norm, batch) = (args.subject.model, args.subject.norm, args.subject.batch());
    let mut rows = Vec::new();
    for ((name, _), ms) in cases.iter().zip(&medians) {
        let (by_gradient, by_sam) = (ms / medians[1], ms / medians[5]);
        if args.subject.json {
            let line = serde_json::json!({
                "model": model.to_string(), "norm": norm.to_string(), "batch": batch, "case": name,
                "median_ms": rounded(*ms), "by_gradient": rounded(by_gradient), "by_sam": rounded(by_sam),
            });
            println!("{line}");
        }
        rows.push(vec![(*name).to_owned(), format!("{ms:.1}"), format!("{by_gradient:.2}"), format!("{by_sam:.2}")]);
    }
    if !args.subject.json {
        println!("{model}, norm {norm}, batch {batch}, {} threads\n", rayon::current_num_threads());
        print_table(&["case", "median ms", "by forward and backward", "by SAM"], &rows);
    }
    Ok(())
}

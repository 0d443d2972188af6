//! `bench m`: what smaller micro-batches cost, and what RW-SAM costs instead.

use super::subject::{EstimatorArgs, Kind, Subject, SubjectArgs};
use super::{print_table, rounded};
use anyhow::{Result, bail};
use clap::Args;

/// What to show before the flags.
const EXAMPLES: &str = "Examples:
  cargo xtask bench m                              of a ResNet-18 at batch 128
  cargo xtask bench m --model resnet8 --m 1,4,16   of another network, at these sizes";

/// The micro-batches to time.
#[derive(Args)]
#[command(before_help = EXAMPLES)]
pub struct MicroArgs {
    #[command(flatten)]
    pub subject: SubjectArgs,
    #[command(flatten)]
    estimator: EstimatorArgs,
    /// Sizes of a micro-batch, of which the batch itself is SAM [default: those of 1,8,32,64,128 that the batch holds]
    #[arg(long, value_delimiter = ',')]
    m: Vec<usize>,
}

/// What is timed where no m is given.
const SIZES: [usize; 5] = [1, 8, 32, 64, 128];

/// Runs `bench m`.
pub fn micro(args: MicroArgs) -> Result<()> {
    let batch = args.subject.batch();
    if let Some(m) = args.m.iter().find(|m| !(1..=batch).contains(m)) {
        bail!("--m contains {m}; expected sizes of at least 1, at most --batch ({batch})")
    }
    let mut subject = Subject::new(&args.subject, args.estimator.of(&[Kind::RwSam])?)?;
    let sizes = if args.m.is_empty() { SIZES.into_iter().filter(|m| *m <= batch).collect() } else { args.m };
    let rules = sizes.iter().map(|m| (Kind::MSam, Some(*m))).chain([(Kind::Sam, None), (Kind::RwSam, None)]);
    let mut lines = Vec::new();
    for (kind, m) in rules {
        let label = m.map_or(kind.name().to_owned(), |m| format!("{} (m = {m})", kind.name()));
        eprintln!("measuring {label} of {} …", args.subject.model);
        let mut rule = subject.rule(kind, m);
        let times = subject.times(&mut rule, 1, args.subject.steps)?;
        lines.push((label, kind, m, times[times.len() / 2], times[0]));
    }
    let sam = lines.iter().find(|line| line.1 == Kind::Sam).map_or(f64::NAN, |line| line.3);
    let mut rows = Vec::new();
    for (label, kind, m, median, min) in lines {
        if args.subject.json {
            let line = serde_json::json!({
                "model": args.subject.model.to_string(), "batch": args.subject.batch(), "rule": kind.name(), "m": m,
                "median_ms": rounded(median), "min_ms": rounded(min), "by_sam": rounded(median / sam),
            });
            println!("{line}");
        }
        rows.push(vec![label, format!("{median:.1}"), format!("{min:.1}"), format!("{:.2}", median / sam)]);
    }
    if !args.subject.json {
        let (model, batch, threads) = (args.subject.model, args.subject.batch(), rayon::current_num_threads());
        println!("{model}, batch {batch}, {threads} threads\n");
        print_table(&["rule", "median ms", "min ms", "by SAM"], &rows);
    }
    Ok(())
}

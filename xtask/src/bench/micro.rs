//! `bench m`: what smaller micro-batches cost, and what RW-SAM costs instead.

use super::subject::{Kind, Subject, SubjectArgs};
use super::{print_table, rounded};
use anyhow::{Result, ensure};
use clap::Args;

/// The micro-batches to time.
#[derive(Args)]
pub struct MicroArgs {
    #[command(flatten)]
    pub subject: SubjectArgs,
    /// Sizes of a micro-batch; the batch itself is SAM
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8, 32, 64, 128])]
    m: Vec<usize>,
}

/// Runs `bench m`.
pub fn micro(args: MicroArgs) -> Result<()> {
    ensure!(args.m.iter().all(|m| *m > 0), "--m contains 0; expected sizes of at least 1");
    let mut subject = Subject::new(&args.subject)?;
    let rules = args.m.iter().map(|m| (Kind::MSam, Some(*m))).chain([(Kind::Sam, None), (Kind::RwSam, None)]);
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

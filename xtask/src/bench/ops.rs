//! `bench ops`: the time of every op within a step.

use super::subject::{EstimatorArgs, Kind, Subject, SubjectArgs, peak};
use super::{print_table, rounded};
use anyhow::Result;
use clap::Args;
use std::time::Instant;

/// What to show before the flags.
const EXAMPLES: &str = "Examples:
  cargo xtask bench ops                               of a SAM step
  cargo xtask bench ops --model vit-mini --batch 64   of another network";

/// The step to look into.
#[derive(Args)]
#[command(before_help = EXAMPLES)]
pub struct OpsArgs {
    #[command(flatten)]
    pub subject: SubjectArgs,
    #[command(flatten)]
    estimator: EstimatorArgs,
    /// The kind of step
    #[arg(long, default_value = "sam")]
    rule: Kind,
}

/// Runs `bench ops`.
pub fn ops(args: OpsArgs) -> Result<()> {
    let mut subject = Subject::new(&args.subject, args.estimator.of(&[args.rule])?)?;
    let mut rule = subject.rule(args.rule, None);
    subject.times(&mut rule, 2, 0)?;
    let steps = args.subject.steps;
    let started = Instant::now();
    let (result, timings) = msharp_ops::profile(|| (0..steps).try_for_each(|_| subject.step(&mut rule)));
    result?;
    let whole = 1e3 * started.elapsed().as_secs_f64() / steps as f64;
    let peak = peak()?;
    let mut timings: Vec<_> = timings.into_iter().collect();
    timings.sort_by_key(|(_, timing)| std::cmp::Reverse(timing.time));
    let ours: f64 = timings.iter().map(|(_, timing)| 1e3 * timing.time.as_secs_f64()).sum::<f64>() / steps as f64;
    let mut rows = Vec::new();
    for (op, timing) in &timings {
        let ms = 1e3 * timing.time.as_secs_f64() / steps as f64;
        let calls = timing.calls as f64 / steps as f64;
        let speed = (timing.flop > 0.).then(|| 1e-9 * timing.flop / timing.time.as_secs_f64());
        if args.subject.json {
            let line = serde_json::json!({
                "op": op, "calls": calls, "ms": rounded(ms), "share_of_step": rounded(ms / whole),
                "gflop_per_s": speed.map(rounded), "share_of_peak": speed.map(|speed| rounded(speed / peak)),
            });
            println!("{line}");
        }
        let number =
            |value: Option<f64>, digits: usize| value.map_or("–".to_owned(), |value| format!("{value:.digits$}"));
        rows.push(vec![
            op.clone(),
            format!("{calls:.0}"),
            format!("{ms:.2}"),
            format!("{:.1} %", 100. * ms / whole),
            number(speed, 0),
            number(speed.map(|speed| speed / peak), 2),
        ]);
    }
    if args.subject.json {
        println!("{}", serde_json::json!({ "op": "the rest", "ms": rounded(whole - ours), "step_ms": rounded(whole) }));
        return Ok(());
    }
    let rest = whole - ours;
    let dash = || "–".to_owned();
    rows.push(vec![
        "the rest: candle's graph, parameters".to_owned(),
        dash(),
        format!("{rest:.2}"),
        format!("{:.1} %", 100. * rest / whole),
        dash(),
        dash(),
    ]);
    let threads = rayon::current_num_threads();
    println!(
        "{} step of {}, batch {}, {threads} threads: {whole:.1} ms; a matrix product reaches {peak:.0} GFLOP/s\n",
        args.rule.name(),
        args.subject.model,
        args.subject.batch(),
    );
    print_table(&["op", "calls", "ms", "of the step", "GFLOP/s", "of peak"], &rows);
    Ok(())
}

//! `bench step`: each kind of step in a process of its own.

use super::subject::{EstimatorArgs, Kind, Subject, SubjectArgs, peak};
use super::{print_table, pytorch, rounded};
use anyhow::{Context, Result, ensure};
use clap::Args;
use msharp_lab::config::{EstimatorName, typed};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// What to show before the flags.
const EXAMPLES: &str = "Examples:
  cargo xtask bench step                               SGD, SAM, m-SAM and RW-SAM
  cargo xtask bench step --against-pytorch python3     beside PyTorch
  cargo xtask bench step --model vit-mini --rule sam   one of them";

/// The step, and what to compare it with.
#[derive(Args)]
#[command(before_help = EXAMPLES)]
pub struct StepArgs {
    #[command(flatten)]
    pub subject: SubjectArgs,
    #[command(flatten)]
    estimator: EstimatorArgs,
    /// Time one kind of step alone [default: all]
    #[arg(long)]
    rule: Option<Kind>,
    /// Time PyTorch's step beside each, with this Python interpreter, which needs torch and numpy
    #[arg(long, value_name = "PYTHON")]
    against_pytorch: Option<PathBuf>,
    /// Measure in this process: what the command runs for each kind of step
    #[arg(long, hide = true)]
    here: bool,
}

/// A line of the result.
#[derive(Serialize, Deserialize)]
struct Line {
    model: String,
    norm: String,
    batch: usize,
    threads: usize,
    rule: String,
    median_ms: f64,
    min_ms: f64,
    img_per_s: f64,
    /// By the definition of the ops, so that an algorithm with fewer multiplications can exceed the peak.
    gflop_per_s: f64,
    /// Of a matrix product in the same process.
    share_of_peak: f64,
    /// Peak resident memory of the process, where the system tells.
    peak_mb: Option<f64>,
    pytorch_ms: Option<f64>,
    /// Ours by theirs.
    ratio: Option<f64>,
    pytorch_peak_mb: Option<f64>,
}

/// Runs `bench step`.
pub fn step(args: StepArgs) -> Result<()> {
    let kinds = args.rule.map_or(Kind::ALL.to_vec(), |kind| vec![kind]);
    args.subject.check()?; // here, for each process would say it again
    let estimator = args.estimator.of(&kinds)?;
    if args.here {
        for kind in kinds {
            println!("{}", serde_json::to_string(&measure(&args.subject, kind, estimator)?)?);
        }
        return Ok(());
    }
    if args.against_pytorch.is_some() {
        pytorch::check(&args.subject, estimator)?;
    }
    let mut lines = Vec::new();
    for kind in kinds {
        eprintln!("measuring {} of {} …", kind.name(), args.subject.model);
        let mut line = in_a_process(&args.subject, kind, estimator)?;
        if let Some(python) = &args.against_pytorch {
            let theirs = pytorch::measure(python, &args.subject, kind)?;
            line.ratio = theirs.median_ms.map(|ms| rounded(line.median_ms / ms));
            (line.pytorch_ms, line.pytorch_peak_mb) = (theirs.median_ms, theirs.peak_mb);
        }
        if args.subject.json {
            println!("{}", serde_json::to_string(&line)?);
        }
        lines.push(line);
    }
    if !args.subject.json {
        print(&lines);
    }
    Ok(())
}

/// Measures in this process.
fn measure(args: &SubjectArgs, kind: Kind, estimator: EstimatorName) -> Result<Line> {
    let mut subject = Subject::new(args, estimator)?;
    let mut rule = subject.rule(kind, None);
    let times = subject.times(&mut rule, 2, args.steps)?;
    let peak_mb = peak_resident();
    let (median, work) = (times[times.len() / 2], subject.flop()? * kind.forwards());
    let gflop_per_s = 1e-6 * work / median;
    Ok(Line {
        model: args.model.to_string(),
        norm: args.norm.to_string(),
        batch: args.batch,
        threads: rayon::current_num_threads(),
        rule: kind.name().to_owned(),
        median_ms: rounded(median),
        min_ms: rounded(times[0]),
        img_per_s: rounded(1e3 * args.batch as f64 / median),
        gflop_per_s: rounded(gflop_per_s),
        share_of_peak: rounded(gflop_per_s / peak()?),
        peak_mb,
        pytorch_ms: None,
        ratio: None,
        pytorch_peak_mb: None,
    })
}

/// Measures in a process that does nothing else, so that its memory is that of this kind of step.
fn in_a_process(args: &SubjectArgs, kind: Kind, estimator: EstimatorName) -> Result<Line> {
    let program = std::env::current_exe().context("cannot find this program, to run it for each kind of step")?;
    let mut command = Command::new(program);
    command.args(["bench", "step", "--here", "--rule", kind.name()]);
    command.args(["--model", &args.model.to_string(), "--norm", &args.norm.to_string()]);
    command.args(["--batch", &args.batch.to_string(), "--steps", &args.steps.to_string()]);
    if kind == Kind::RwSam {
        command.args(["--estimator", &typed(estimator)]);
    }
    command.args(["--threads", &rayon::current_num_threads().to_string()]);
    let output = command.stderr(Stdio::inherit()).output().context("cannot run this program again")?;
    ensure!(output.status.success(), "measuring {} failed", kind.name());
    serde_json::from_slice(&output.stdout).context("the measuring process printed something else than a line of JSON")
}

/// The most memory this process ever held, in MB (2²⁰ bytes); Linux only.
pub fn peak_resident() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some((kib / 1024.).round())
}

fn print(lines: &[Line]) {
    let against = lines.iter().any(|line| line.ratio.is_some());
    let mut head = vec!["rule", "median ms", "min ms", "img/s", "GFLOP/s", "of peak", "peak MB"];
    if against {
        head.extend(["PyTorch ms", "ratio", "PyTorch MB"]);
    }
    let optional =
        |value: Option<f64>, digits: usize| value.map_or("–".to_owned(), |value| format!("{value:.digits$}"));
    let row = |line: &Line| {
        let mut cells = vec![
            line.rule.clone(),
            format!("{:.1}", line.median_ms),
            format!("{:.1}", line.min_ms),
            format!("{:.0}", line.img_per_s),
            format!("{:.0}", line.gflop_per_s),
            format!("{:.2}", line.share_of_peak),
            optional(line.peak_mb, 0),
        ];
        if against {
            cells.extend([optional(line.pytorch_ms, 1), optional(line.ratio, 2), optional(line.pytorch_peak_mb, 0)]);
        }
        cells
    };
    let Some(first) = lines.first() else { return };
    println!("{} ({} norm), batch {}, {} threads\n", first.model, first.norm, first.batch, first.threads);
    print_table(&head, &lines.iter().map(row).collect::<Vec<_>>());
    let of = |rule: &str| lines.iter().find(|line| line.rule == rule).map(|line| line.median_ms);
    if let (Some(rw_sam), Some(sam)) = (of("rw-sam"), of("sam")) {
        println!("\nRW-SAM / SAM: {:.2}", rw_sam / sam);
    }
}

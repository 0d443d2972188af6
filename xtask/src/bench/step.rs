//! `bench step`: each kind of step in a process of its own.

use super::subject::{EstimatorArgs, Kind, MICRO_BATCH, Subject, SubjectArgs, WARM_UP, peak};
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
  cargo xtask bench step --model vit-mini --rule sam   one of them
  cargo xtask bench step --model vit_small_patch14_dinov2@98 --rule sam --rounds 3 --against-pytorch python3";

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
    /// Samples of a micro-batch of m-sam [default: 32, or the batch where it is smaller]
    #[arg(long)]
    m: Option<usize>,
    /// Time PyTorch's step beside each, with this Python interpreter, which needs torch and numpy, and timm for a
    /// vision transformer
    #[arg(long, value_name = "PYTHON")]
    against_pytorch: Option<PathBuf>,
    /// Measure so many times, ours and PyTorch's in turn
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Measure in this process: what the command runs for each kind of step
    #[arg(long, hide = true)]
    here: bool,
}

impl StepArgs {
    fn m(&self) -> usize {
        self.m.unwrap_or(MICRO_BATCH.min(self.subject.batch()))
    }
}

/// A line of the result.
#[derive(Serialize, Deserialize)]
struct Line {
    model: String,
    norm: String,
    batch: usize,
    threads: usize,
    rule: String,
    /// Of every step, in order of size.
    times_ms: Vec<f64>,
    median_ms: f64,
    img_per_s: f64,
    /// By the definition of the ops, so that an algorithm with fewer multiplications can exceed the peak.
    gflop_per_s: f64,
    /// Of a matrix product in the same process.
    share_of_peak: f64,
    /// Peak resident memory of the process, where the system tells.
    peak_mb: Option<f64>,
    pytorch: Option<Beside>,
}

/// PyTorch's step.
#[derive(Serialize, Deserialize)]
struct Beside {
    times_ms: Vec<f64>,
    median_ms: f64,
    /// Our median by theirs.
    ratio: f64,
    peak_mb: Option<f64>,
}

/// Runs `bench step`.
pub fn step(args: StepArgs) -> Result<()> {
    let kinds = args.rule.map_or(Kind::ALL.to_vec(), |kind| vec![kind]);
    args.subject.check()?; // here, for each process would say it again
    let estimator = args.estimator.of(&kinds)?;
    if let Some(m) = args.m {
        ensure!(
            kinds.contains(&Kind::MSam),
            "--m is about the steps of m-sam, which are not timed here; expected none"
        );
        let batch = args.subject.batch();
        ensure!((1..=batch).contains(&m), "--m is {m}; expected at least 1, at most --batch ({batch})");
    }
    if args.here {
        for kind in kinds {
            println!("{}", serde_json::to_string(&measure(&args, kind, estimator)?)?);
        }
        return Ok(());
    }
    if args.against_pytorch.is_some() {
        pytorch::check(estimator)?;
    }
    ensure!(args.rounds > 0, "--rounds is 0; expected at least 1");
    let mut lines = Vec::new();
    for kind in kinds {
        let line = rounds(&args, kind, estimator)?;
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

/// Measures a kind of step, ours and PyTorch's in turn.
fn rounds(args: &StepArgs, kind: Kind, estimator: EstimatorName) -> Result<Line> {
    eprintln!("measuring {} of {} …", kind.name(), args.subject.model);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..args.rounds {
        ours.push(in_a_process(args, kind, estimator)?);
        if let Some(python) = &args.against_pytorch {
            theirs.push(pytorch::measure(python, &args.subject, kind, args.m())?);
        }
    }
    let (times_ms, median_ms) = together(ours.iter().map(|line| &line.times_ms));
    let pytorch = (!theirs.is_empty()).then(|| {
        let (times_ms, theirs_ms) = together(theirs.iter().map(|theirs| &theirs.times_ms));
        let peak_mb = highest(theirs.iter().map(|theirs| theirs.peak_mb));
        Beside { times_ms, median_ms: theirs_ms, ratio: rounded(median_ms / theirs_ms), peak_mb }
    });
    let peak_mb = highest(ours.iter().map(|line| line.peak_mb));
    let peak = ours.iter().map(|line| line.gflop_per_s / line.share_of_peak).fold(0., f64::max);
    let first = ours.swap_remove(0);
    let gflop_per_s = first.gflop_per_s * first.median_ms / median_ms;
    Ok(Line {
        img_per_s: rounded(1e3 * first.batch as f64 / median_ms),
        gflop_per_s: rounded(gflop_per_s),
        share_of_peak: rounded(gflop_per_s / peak),
        times_ms,
        median_ms,
        peak_mb,
        pytorch,
        ..first
    })
}

/// The times of all rounds in order of size, and their median.
fn together<'a>(rounds: impl Iterator<Item = &'a Vec<f64>>) -> (Vec<f64>, f64) {
    let mut times: Vec<f64> = rounds.flatten().copied().collect();
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    (times, median)
}

/// The highest peak, where all are known.
fn highest(peaks: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    peaks.collect::<Option<Vec<f64>>>()?.into_iter().reduce(f64::max)
}

/// Measures in this process.
fn measure(step: &StepArgs, kind: Kind, estimator: EstimatorName) -> Result<Line> {
    let args = &step.subject;
    let mut subject = Subject::new(args, estimator)?;
    let mut rule = subject.rule(kind, (kind == Kind::MSam).then_some(step.m()));
    let times = subject.times(&mut rule, WARM_UP, args.steps)?;
    let peak_mb = peak_resident();
    let (median, work) = (times[times.len() / 2], subject.flop()? * kind.forwards());
    let gflop_per_s = 1e-6 * work / median;
    Ok(Line {
        model: args.model.to_string(),
        norm: args.norm.to_string(),
        batch: args.batch(),
        threads: rayon::current_num_threads(),
        rule: kind.name().to_owned(),
        times_ms: times.iter().map(|time| rounded(*time)).collect(),
        median_ms: rounded(median),
        img_per_s: rounded(1e3 * args.batch() as f64 / median),
        gflop_per_s: rounded(gflop_per_s),
        share_of_peak: rounded(gflop_per_s / peak()?),
        peak_mb,
        pytorch: None,
    })
}

/// Measures in a process that does nothing else, so that its memory is that of this kind of step.
fn in_a_process(step: &StepArgs, kind: Kind, estimator: EstimatorName) -> Result<Line> {
    let args = &step.subject;
    let program = std::env::current_exe().context("cannot find this program, to run it for each kind of step")?;
    let mut command = Command::new(program);
    command.args(["bench", "step", "--here", "--rule", kind.name()]);
    command.args(["--model", &args.model.to_string(), "--norm", &args.norm.to_string()]);
    command.args(["--batch", &args.batch().to_string(), "--steps", &args.steps.to_string()]);
    if kind == Kind::RwSam {
        command.args(["--estimator", &typed(estimator)]);
    }
    if kind == Kind::MSam {
        command.args(["--m", &step.m().to_string()]);
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
    let mut head = vec!["rule", "median ms", "min–max", "img/s", "GFLOP/s", "of peak", "peak MB"];
    if lines.iter().any(|line| line.pytorch.is_some()) {
        head.extend(["PyTorch ms", "min–max", "PyTorch MB", "ratio"]);
    }
    let spread = |times: &[f64]| match times {
        [first, .., last] => format!("{first:.0}–{last:.0}"),
        _ => "–".to_owned(),
    };
    let megabytes = |peak: Option<f64>| peak.map_or("–".to_owned(), |peak| format!("{peak:.0}"));
    let row = |line: &Line| {
        let mut cells = vec![
            line.rule.clone(),
            format!("{:.1}", line.median_ms),
            spread(&line.times_ms),
            format!("{:.0}", line.img_per_s),
            format!("{:.0}", line.gflop_per_s),
            format!("{:.2}", line.share_of_peak),
            megabytes(line.peak_mb),
        ];
        if let Some(Beside { times_ms, median_ms, ratio, peak_mb }) = &line.pytorch {
            cells.extend([format!("{median_ms:.1}"), spread(times_ms), megabytes(*peak_mb), format!("{ratio:.2}")]);
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

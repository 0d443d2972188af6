//! `bench m`: what smaller micro-batches cost, together and one after another, and what RW-SAM costs instead.

use super::subject::{EstimatorArgs, Kind, Subject, SubjectArgs};
use super::{print_table, pytorch, rounded};
use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use msharp_core::{Perturbation, Temperature};
use msharp_gradnorm::Ghost;
use msharp_perturb::{Micro, Path, rw_sam, sam};
use std::path::PathBuf;

/// What to show before the flags.
const EXAMPLES: &str = "Examples:
  cargo xtask bench m                              of a ResNet-18 at batch 128
  cargo xtask bench m --model resnet8 --m 1,4,16   of another network, at these sizes
  cargo xtask bench m --norm group --m 1,8 --path parallel --against-pytorch python3";

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
    /// How micro-batches are computed [default: both]
    #[arg(long, value_enum)]
    path: Option<PathArg>,
    /// Time PyTorch's SAM and m-SAM too, with this Python interpreter: micro-batches one after another, and those of
    /// one sample by torch.func.vmap
    #[arg(long, value_name = "PYTHON")]
    against_pytorch: Option<PathBuf>,
}

/// How micro-batches are computed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PathArg {
    /// All at once
    Parallel,
    /// One after another
    Sequential,
}

impl PathArg {
    fn name(self) -> &'static str {
        if self == PathArg::Parallel { "parallel" } else { "sequential" }
    }

    fn path(self) -> Path {
        if self == PathArg::Parallel { Path::Parallel } else { Path::Sequential }
    }
}

/// A rule to time.
struct Line {
    label: String,
    rule: &'static str,
    m: Option<usize>,
    path: Option<&'static str>,
    step: Option<Box<dyn Perturbation>>,
}

/// The radius, which changes no time.
const RHO: f64 = 0.05;
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
    let paths = args.path.map_or(vec![PathArg::Parallel, PathArg::Sequential], |path| vec![path]);
    let mut lines = Vec::new();
    for m in sizes.iter().copied() {
        // The batch itself is SAM on either path.
        for path in paths.iter().take(if m < batch { 2 } else { 1 }) {
            let step = Box::new(Micro::new(sam(RHO), m).with_path(path.path()));
            let label =
                if m < batch { format!("m-sam (m = {m}), {}", path.name()) } else { format!("m-sam (m = {m})") };
            lines.push(Line { label, rule: "m-sam", m: Some(m), path: Some(path.name()), step: Some(step) });
        }
    }
    for kind in [Kind::Sam, Kind::RwSam] {
        let (label, step) = (kind.name().to_owned(), subject.rule(kind, None));
        lines.push(Line { label, rule: kind.name(), m: None, path: None, step });
    }
    let exact = Box::new(rw_sam(RHO, Temperature::Relative(1.), Ghost::default()));
    let label = "rw-sam with exact norms".to_owned();
    lines.push(Line { label, rule: "rw-sam-ghost", m: None, path: None, step: Some(exact) });
    let mut timed = Vec::new();
    for mut line in lines {
        eprintln!("measuring {} of {} …", line.label, args.subject.model);
        let times = subject.times(&mut line.step, 1, args.subject.steps)?;
        timed.push((line, times[times.len() / 2], times[0]));
    }
    if let Some(python) = &args.against_pytorch {
        for (label, step, m) in steps_of_pytorch(&sizes, batch) {
            eprintln!("measuring {label} of {} …", args.subject.model);
            let theirs = pytorch::measure_step(python, &args.subject, step, m, 1)?;
            if let (Some(median), Some(min)) = (theirs.median_ms, theirs.min_ms) {
                let (m, path) = if step == "sam" { (None, None) } else { (Some(m), Some(step)) };
                timed.push((Line { label, rule: "pytorch", m, path, step: None }, median, min));
            }
        }
    }
    let sam = timed.iter().find(|(line, ..)| line.rule == "sam").map_or(f64::NAN, |(_, median, _)| *median);
    let mut rows = Vec::new();
    for (line, median, min) in timed {
        if args.subject.json {
            let line = serde_json::json!({
                "model": args.subject.model.to_string(), "batch": args.subject.batch(), "rule": line.rule, "m": line.m,
                "path": line.path, "median_ms": rounded(median), "min_ms": rounded(min), "by_sam": rounded(median / sam),
            });
            println!("{line}");
        }
        rows.push(vec![line.label, format!("{median:.1}"), format!("{min:.1}"), format!("{:.2}", median / sam)]);
    }
    if !args.subject.json {
        let (model, batch, threads) = (args.subject.model, args.subject.batch(), rayon::current_num_threads());
        println!("{model}, batch {batch}, {threads} threads\n");
        print_table(&["rule", "median ms", "min ms", "by SAM"], &rows);
    }
    Ok(())
}

/// What is timed of PyTorch: a label, the step of the script, and m.
fn steps_of_pytorch(sizes: &[usize], batch: usize) -> Vec<(String, &'static str, usize)> {
    let mut steps = vec![("PyTorch's SAM".to_owned(), "sam", batch)];
    for m in sizes.iter().copied().filter(|m| *m < batch) {
        steps.push((format!("PyTorch's m-SAM (m = {m}), sequential"), "m_sam", m));
        if m == 1 {
            steps.push((format!("PyTorch's m-SAM (m = {m}), vmap"), "m_sam_vmap", m));
        }
    }
    steps
}

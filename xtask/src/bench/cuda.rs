//! `bench cuda`: a GPU's steps, also beside PyTorch's.
//!
//! A step has no host-device synchronisation, so a single one has no time of its own: a group is enqueued, and then
//! synchronised.

mod measure;
mod row;
mod workload;

use super::{child, pytorch};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use msharp_lab::config::device::{DeviceName, PrecisionName};
use msharp_lab::config::typed;
use msharp_lab::jsonl;
use row::{Case, Figures, Program, Row};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use workload::{STANDARD, Workload};

/// What to show before the flags.
const EXAMPLES: &str = "Examples:
  cargo xtask bench cuda                             on the first NVIDIA GPU
  cargo xtask bench cuda --against-pytorch python3   beside PyTorch";

/// What to time, how often, and against what.
#[derive(Args)]
#[command(before_help = EXAMPLES)]
pub struct CudaArgs {
    /// What to time: NETWORK-BATCH for 32×32 images of 10 classes, NETWORK@SIDE-BATCH for larger ones of 1000 classes
    #[arg(long, value_delimiter = ',', default_value = STANDARD)]
    only: Vec<Workload>,
    /// What the GPU multiplies
    #[arg(long, default_value = "bf16")]
    precision: PrecisionName,
    /// Groups that are timed [default: 5, and 3 with --quick]
    #[arg(long)]
    steps: Option<usize>,
    /// Steps in a group [default: 10, and 3 with --quick]
    #[arg(long)]
    group: Option<usize>,
    /// Fewer steps: for a look
    #[arg(long)]
    quick: bool,
    /// Time PyTorch's steps too, as they are and compiled, with this Python interpreter, which needs torch and numpy
    #[arg(long, value_name = "PYTHON")]
    against_pytorch: Option<PathBuf>,
    /// End after so many seconds, and print what there is: ours is measured first, then PyTorch's, then that compiled
    #[arg(long, value_name = "SECONDS")]
    within: Option<u64>,
    /// Print one JSON object a line, as soon as it is measured, instead of tables
    #[arg(long)]
    json: bool,
    /// Also append these lines to a file
    #[arg(long, value_name = "FILE")]
    rows: Option<PathBuf>,
    /// The side of the matrices whose product is taken as the peak
    #[arg(long, default_value_t = 8192)]
    product: usize,
    /// Measure in this process: what the command runs for each workload
    #[arg(long, hide = true)]
    here: bool,
}

impl CudaArgs {
    fn steps(&self) -> usize {
        self.steps.unwrap_or(if self.quick { 3 } else { 5 })
    }

    fn group(&self) -> usize {
        self.group.unwrap_or(if self.quick { 3 } else { 10 })
    }
}

/// Runs `bench cuda`.
pub fn cuda(args: CudaArgs) -> Result<()> {
    for (flag, value) in [("steps", args.steps()), ("group", args.group()), ("product", args.product)] {
        ensure!(value > 0, "--{flag} is 0; expected at least 1");
    }
    if !cfg!(feature = "cuda") {
        DeviceName::Cuda.open().context("bench cuda")?; // says how to get it
    }
    if args.here {
        return args.only.iter().try_for_each(|workload| measure::measure(&args, workload));
    }
    let file = match &args.rows {
        None => None,
        Some(path) => {
            let file = OpenOptions::new().create(true).append(true).open(path);
            Some(file.with_context(|| format!("--rows: cannot write {}", path.display()))?)
        }
    };
    let until = args.within.and_then(|seconds| Instant::now().checked_add(Duration::from_secs(seconds)));
    let mut bench = Bench { args: &args, until, file, rows: Vec::new() };
    for workload in &args.only {
        bench.ours(workload)?;
    }
    if let Some(python) = &args.against_pytorch {
        if !args.json {
            bench.tables(); // so that a person has something to read
        }
        for program in [Program::Pytorch, Program::PytorchCompile] {
            for workload in &args.only {
                bench.theirs(python, workload, program)?;
            }
        }
    }
    if !args.json {
        bench.tables();
        bench.goals();
    }
    let failed = bench.rows.iter().filter(|row| row.program == Program::Msharp && row.error.is_some());
    match failed.filter(|row| row.error.as_deref() != Some(child::OUT_OF_TIME)).count() {
        0 => Ok(()),
        count => bail!("{count} of our steps failed, for the reasons above"),
    }
}

/// What was measured so far.
struct Bench<'a> {
    args: &'a CudaArgs,
    until: Option<Instant>,
    file: Option<File>,
    rows: Vec<Row>,
}

impl Bench<'_> {
    /// Takes a row, and tells it.
    fn add(&mut self, row: Row) -> Result<()> {
        eprintln!("{}", row.sentence());
        self.keep(row)
    }

    /// Takes a row.
    fn keep(&mut self, row: Row) -> Result<()> {
        let line = jsonl::line(&row)?;
        if self.args.json {
            println!("{line}");
        }
        if let Some(file) = &mut self.file {
            writeln!(file, "{line}").context("--rows: cannot write")?;
        }
        self.rows.push(row);
        Ok(())
    }

    /// Every kind of step that has no row yet gets one with the reason.
    fn rest(&mut self, workload: &Workload, program: Program, outcome: Result<()>) -> Result<()> {
        let Err(error) = outcome else { return Ok(()) };
        let (name, error) = (workload.to_string(), msharp_lab::program::one_line(&format!("{error:#}")));
        eprintln!("{name} · {}: {error}", program.label());
        for case in Case::ALL.into_iter().filter(|case| program == Program::Msharp || case.in_python().is_some()) {
            let is_it = |row: &Row| row.workload == name && row.program == program && row.case == case;
            if !self.rows.iter().any(is_it) {
                let (precision, error) = (self.args.precision, Some(error.clone()));
                let (workload, version) = (name.clone(), String::new());
                self.keep(Row { workload, case, program, version, precision, gpu: None, figures: None, error })?;
            }
        }
        Ok(())
    }

    /// Measures a workload in a process of its own: a failure, or the memory that one left, is not the next one's.
    fn ours(&mut self, workload: &Workload) -> Result<()> {
        let program = std::env::current_exe().context("cannot find this program, to run it for each workload")?;
        let mut command = Command::new(program);
        command.args(["bench", "cuda", "--here", "--only", &workload.to_string()]);
        command.args(["--precision", &typed(self.args.precision)]);
        for (flag, n) in [("--steps", self.args.steps()), ("--group", self.args.group())] {
            command.args([flag, &n.to_string()]);
        }
        command.args(["--product", &self.args.product.to_string()]);
        let outcome = child::run(&mut command, "", self.until, |line| {
            self.add(serde_json::from_str(line).with_context(|| format!("the measuring process printed {line:?}"))?)
        });
        self.rest(workload, Program::Msharp, outcome)
    }

    /// Measures PyTorch on a workload.
    fn theirs(&mut self, python: &Path, workload: &Workload, program: Program) -> Result<()> {
        let only = Case::ALL.into_iter().filter_map(Case::in_python).collect::<Vec<_>>().join(",");
        let images = workload.images();
        let numbers = [images.side, images.classes, workload.batch, self.args.steps(), self.args.group()];
        let [side, classes, batch, steps, group] = numbers.map(|n| n.to_string());
        let (model, dtype) = (workload.model.to_string(), typed(self.args.precision));
        let stem = if workload.side.is_some() { "imagenet" } else { "cifar" };
        let mut flags = vec!["--device", "cuda", "--model", &model, "--stem", stem, "--size", &side];
        flags.extend(["--classes", &classes, "--batch", &batch, "--dtype", &dtype]);
        flags.extend(["--steps", &steps, "--group", &group, "--only", &only]);
        if program == Program::PytorchCompile {
            flags.push("--compile");
        }
        let outcome = pytorch::run(python, &flags, self.until, |theirs| {
            let Some(case) = Case::ALL.into_iter().find(|case| case.in_python() == Some(theirs.rule.as_str())) else {
                bail!("PyTorch's script measured {}, which was not asked for", theirs.rule)
            };
            let figures = match (theirs.median_ms, theirs.min_ms) {
                (Some(median_ms), Some(min_ms)) => Some(Figures {
                    median_ms,
                    min_ms,
                    img_per_s: super::rounded(1e3 * workload.batch as f64 / median_ms),
                    tflop_per_s: None,
                    share_of_peak: None,
                    peak_mb: theirs.peak_gpu_mb,
                }),
                _ => None,
            };
            self.add(Row {
                workload: workload.to_string(),
                case,
                program,
                version: theirs.torch,
                precision: self.args.precision,
                gpu: self.rows.first().and_then(|row| row.gpu.clone()),
                figures,
                error: theirs.error,
            })
        });
        self.rest(workload, program, outcome)
    }

    fn tables(&self) {
        let gpu = self.rows.iter().find_map(|row| row.gpu.clone()).unwrap_or("no GPU".to_owned());
        println!("\n{gpu}, {}", typed(self.args.precision));
        for workload in &self.args.only {
            row::print(&self.rows, &workload.to_string());
        }
    }

    /// Whether the aims are met: below PyTorch everywhere, and m-SAM and RW-SAM near SAM.
    fn goals(&self) {
        println!();
        let names: Vec<String> = self.args.only.iter().map(Workload::to_string).collect();
        let all = || names.iter().flat_map(|name| Case::ALL.map(|case| (name, case)));
        let ratios: Vec<_> =
            all().filter_map(|(name, case)| Some((row::ratio(&self.rows, name, case)?, name, case))).collect();
        if let Some((worst, name, case)) = ratios.iter().max_by(|a, b| a.0.total_cmp(&b.0)) {
            let below = ratios.iter().filter(|(ratio, ..)| *ratio <= 1.).count();
            println!("as fast as PyTorch's faster one, or faster: {below} of {} rows", ratios.len());
            println!("the worst ratio: {worst:.2}, {} of {name}", case.label());
        }
        let [_, sam, ..] = Case::ALL;
        for name in &names {
            for program in [Program::Msharp, Program::Pytorch, Program::PytorchCompile] {
                let of = |case| row::median(&self.rows, name, case, program);
                let Some(sam) = of(sam) else { continue };
                let by = |case: Case| Some(format!("{} {:.2}", case.label(), of(case)? / sam));
                let all: Vec<_> = Case::ALL.into_iter().skip(2).filter_map(by).collect();
                println!("by the time of SAM, {} on {name}: {}", program.label(), all.join(", "));
            }
        }
    }
}

//! `bench sde`: ensembles of paths by Euler and Maruyama's scheme, also beside torchsde and diffrax.

mod ring;

use super::{child, print_table, rounded};
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use msharp_core::Range;
use msharp_lab::statistics::median;
use msharp_sde::{Ensemble, EulerMaruyama, Snapshot, at, silent};
use ring::Ring;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// What to show before the flags.
const EXAMPLES: &str = "Examples:
  cargo xtask bench sde                            of msharp-sde
  cargo xtask bench sde --against-python python3   beside torchsde, diffrax and plain loops";

/// The ensemble, and what to compare it with.
#[derive(Args, Clone)]
#[command(before_help = EXAMPLES)]
pub struct SdeArgs {
    /// Paths of an ensemble
    #[arg(long, default_value_t = 10_000)]
    paths: usize,
    /// Components of a path, each with a Brownian motion
    #[arg(long, default_value_t = 10)]
    dim: usize,
    /// Steps of a path; a second run of ours takes ten times as many, for its memory
    #[arg(long, default_value_t = 200)]
    steps: usize,
    /// The size of a step
    #[arg(long, default_value_t = 0.005)]
    dt: f64,
    /// How often everything is measured in turn, so that what else the machine does hits all alike
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Ensembles in each round, after one that is not counted
    #[arg(long, default_value_t = 3)]
    repeats: usize,
    /// One kind of noise alone [default: both]
    #[arg(long)]
    noise: Option<NoiseName>,
    /// Threads that compute, for every program [default: all cores]
    #[arg(long)]
    pub threads: Option<usize>,
    /// Time torchsde, diffrax, and plain loops in torch and jax on the same equation, in both precisions, with this
    /// Python interpreter, which needs torchsde and diffrax
    #[arg(long, value_name = "PYTHON")]
    against_python: Option<PathBuf>,
    /// Print JSON lines instead of a table
    #[arg(long)]
    json: bool,
    /// Measure in this process: what the command runs for each figure of ours
    #[arg(long, hide = true)]
    here: bool,
}

/// How the noise enters.
#[derive(Clone, Copy, ValueEnum)]
enum NoiseName {
    Diagonal,
    General,
}

impl NoiseName {
    fn text(self) -> &'static str {
        match self {
            NoiseName::Diagonal => "diagonal",
            NoiseName::General => "general",
        }
    }
}

/// The programs of `ensemble.py`.
const PROGRAMS: [&str; 4] = ["torchsde", "torch loop", "diffrax", "jax scan"];
const SCRIPT: &str = include_str!("sde/ensemble.py");

/// Every component of every path starts here.
const START: f64 = 0.5;

/// What a process prints, ours or theirs.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Measured {
    versions: String,
    /// Of each ensemble.
    seconds: Vec<f64>,
    /// Of an ensemble, over all threads: what a busy machine changes least. Absent where the system does not tell.
    cpu_seconds: Option<f64>,
    /// Of the mean component, and of the mean square of the components, at the end.
    means: [f64; 2],
    /// Of these means.
    errors: [f64; 2],
    /// Peak resident memory of the process.
    peak_mb: Option<f64>,
}

/// All that is known of a program, over the rounds.
struct Row {
    program: String,
    bits: u32,
    rounds: Vec<Measured>,
}

/// Runs `bench sde`.
pub fn sde(args: SdeArgs) -> Result<()> {
    check(&args)?; // here, for each process would say it again
    let SdeArgs { steps, rounds, .. } = args;
    let kinds = args.noise.map_or(vec![NoiseName::Diagonal, NoiseName::General], |noise| vec![noise]);
    for noise in kinds {
        if args.here {
            println!("{}", serde_json::to_string(&measure(&args, noise)?)?);
            continue;
        }
        let mut rows = vec![Row { program: "msharp-sde".into(), bits: 64, rounds: vec![] }];
        if args.against_python.is_some() {
            let each = PROGRAMS.iter().flat_map(|program| [64, 32].map(|bits| ((*program).to_owned(), bits)));
            rows.extend(each.map(|(program, bits)| Row { program, bits, rounds: vec![] }));
        }
        for round in 0..rounds {
            for row in &mut rows {
                eprintln!("{} noise, round {} of {rounds}: {}, f{} …", noise.text(), round + 1, row.program, row.bits);
                row.rounds.push(match (&args.against_python, row.program.as_str()) {
                    (Some(python), program) if program != "msharp-sde" => {
                        theirs(&args, python, program, noise, row.bits)?
                    }
                    _ => ours(&args, noise, steps)?,
                });
            }
        }
        let longer = ours(&SdeArgs { repeats: 1, ..args.clone() }, noise, 10 * steps)?;
        report(&args, noise, &rows, &longer)?;
    }
    Ok(())
}

/// # Errors
/// Names the flag that is out of range.
fn check(args: &SdeArgs) -> Result<()> {
    let SdeArgs { paths, dim, steps, dt, rounds, repeats, .. } = *args;
    for (flag, count) in [("paths", paths), ("dim", dim), ("steps", steps), ("rounds", rounds), ("repeats", repeats)] {
        ensure!(count > 0, "--{flag} is 0; expected at least 1");
    }
    Ok(Range::ABOVE_0.check("--dt", dt)?)
}

/// Measures in this process.
fn measure(args: &SdeArgs, noise: NoiseName) -> Result<Measured> {
    let sde = Ring { dim: args.dim, general: matches!(noise, NoiseName::General) };
    let (chain, start) = (EulerMaruyama::new(sde, args.dt)?, vec![START; args.dim]);
    let observe = |x: &[f64], to: &mut [f64]| {
        let n = x.len() as f64;
        to.copy_from_slice(&[x.iter().sum::<f64>() / n, x.iter().map(|x| x * x).sum::<f64>() / n]);
    };
    let run = |seed| -> Result<Vec<Snapshot>> {
        let ensemble = Ensemble { paths: args.paths, seed, steps: args.steps, every: args.steps };
        Ok(ensemble.run(&chain, at(&start), 2, observe, &silent)?)
    };
    let (mut last, mut seconds, busy) = (run(0)?, vec![], cpu_seconds());
    for repeat in 1..=args.repeats {
        let started = Instant::now();
        last = run(repeat as u64)?;
        seconds.push(started.elapsed().as_secs_f64());
    }
    let cpu = busy.zip(cpu_seconds()).map(|(before, after)| (after - before) / args.repeats as f64);
    let Some(end) = last.last() else { bail!("an ensemble without an end") };
    Ok(Measured {
        versions: format!("msharp-sde {}", env!("CARGO_PKG_VERSION")),
        seconds,
        cpu_seconds: cpu,
        means: [end.outputs[0].mean, end.outputs[1].mean],
        errors: [end.outputs[0].standard_error(), end.outputs[1].standard_error()],
        peak_mb: super::step::peak_resident(),
    })
}

/// What all threads of this process have run so far; Linux only.
fn cpu_seconds() -> Option<f64> {
    let mut nanoseconds = 0.;
    for task in std::fs::read_dir("/proc/self/task").ok()? {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        nanoseconds += text.split_whitespace().next()?.parse::<f64>().ok()?;
    }
    Some(1e-9 * nanoseconds)
}

/// Ours, in a process that does nothing else, so that its memory is that of an ensemble.
fn ours(args: &SdeArgs, noise: NoiseName, steps: usize) -> Result<Measured> {
    let program = std::env::current_exe().context("cannot find this program, to run it for a figure")?;
    let mut command = Command::new(program);
    command.args(["bench", "sde", "--here", "--noise", noise.text()]).args(flags(args, steps));
    one_line(&mut command, "")
}

/// One of the programs of the script.
fn theirs(args: &SdeArgs, python: &Path, program: &str, noise: NoiseName, bits: u32) -> Result<Measured> {
    let mut command = Command::new(python);
    command.args(["-", "--program", program, "--noise", noise.text(), "--bits", &bits.to_string()]);
    command.args(["--start", &START.to_string()]).args(flags(args, args.steps));
    one_line(&mut command, SCRIPT).context("--against-python, which needs torchsde and diffrax")
}

/// The flags that ours and theirs share.
fn flags(args: &SdeArgs, steps: usize) -> Vec<String> {
    let threads = rayon::current_num_threads();
    let counts = [("paths", args.paths), ("dim", args.dim), ("repeats", args.repeats), ("threads", threads)];
    let counts = counts.into_iter().map(|(name, n)| format!("--{name}={n}"));
    counts.chain([format!("--steps={steps}"), format!("--dt={}", args.dt)]).collect()
}

fn one_line(command: &mut Command, input: &str) -> Result<Measured> {
    let mut found = None;
    child::run(command, input, None, |line| {
        found = Some(serde_json::from_str(line).with_context(|| format!("it printed {line:?}"))?);
        Ok(())
    })?;
    found.context("it printed nothing")
}

impl Row {
    /// The median time of an ensemble.
    fn seconds(&self) -> f64 {
        median(self.rounds.iter().flat_map(|round| round.seconds.iter().copied()).collect())
    }

    /// How many times as long as ours it takes: the median over the rounds, of each of which the median counts.
    fn by(&self, ours: &Row) -> f64 {
        let ratio = |(a, b): (&Measured, &Measured)| median(a.seconds.clone()) / median(b.seconds.clone());
        median(self.rounds.iter().zip(&ours.rounds).map(ratio).collect())
    }

    /// The larger of the differences of the two means from ours, in standard errors of the difference. Both sides use
    /// the same seeds in every round, so one round says it all.
    fn off(&self, ours: &Row) -> Option<f64> {
        let (a, b) = (self.rounds.first()?, ours.rounds.first()?);
        let z = |i: usize| (a.means[i] - b.means[i]).abs() / a.errors[i].hypot(b.errors[i]);
        Some(z(0).max(z(1)))
    }
}

fn report(args: &SdeArgs, noise: NoiseName, rows: &[Row], longer: &Measured) -> Result<()> {
    let (ours, threads) = (&rows[0], rayon::current_num_threads());
    let mut cells = Vec::new();
    for row in rows {
        let Some(first) = row.rounds.first() else { continue };
        let (seconds, by, off) = (row.seconds(), row.by(ours), row.off(ours).unwrap_or(f64::NAN));
        let (speed, ns) = (args.paths as f64 / seconds, 1e9 / (args.paths * args.steps) as f64);
        let cpu = median(row.rounds.iter().filter_map(|round| round.cpu_seconds).collect());
        let ours_cpu = median(ours.rounds.iter().filter_map(|round| round.cpu_seconds).collect());
        if args.json {
            let line = serde_json::json!({
                "noise": noise.text(), "program": row.program, "versions": first.versions, "bits": row.bits,
                "paths": args.paths, "dim": args.dim, "steps": args.steps, "threads": threads,
                "paths_per_s": speed.round(), "ns_per_path_step": rounded(ns * seconds), "by_ours": rounded(by),
                "cpu_ns_per_path_step": rounded(ns * cpu), "cpu_by_ours": rounded(cpu / ours_cpu),
                "peak_mb": first.peak_mb, "means": first.means, "errors": first.errors, "off": rounded(off),
            });
            println!("{line}");
        }
        cells.push(vec![
            format!("{}, f{}", row.program, row.bits),
            format!("{speed:.0}"),
            format!("{:.1}", ns * seconds),
            format!("{by:.1}"),
            format!("{:.1}", ns * cpu),
            format!("{:.1}", cpu / ours_cpu),
            first.peak_mb.map_or("–".to_owned(), |mb| format!("{mb:.0}")),
            format!("{:.4} ± {:.4}", first.means[0], first.errors[0]),
            format!("{:.4} ± {:.4}", first.means[1], first.errors[1]),
            format!("{off:.1}"),
        ]);
    }
    if args.json {
        let (steps, peak) = (10 * args.steps, longer.peak_mb);
        println!(
            "{}",
            serde_json::json!({"noise": noise.text(), "program": "msharp-sde", "steps": steps, "peak_mb": peak})
        );
        return same_equation(rows);
    }
    println!(
        "{} paths, d = {}, {} steps, {} noise, {threads} threads\n",
        args.paths,
        args.dim,
        args.steps,
        noise.text()
    );
    print_table(
        &[
            "program",
            "paths/s",
            "ns a path-step",
            "by ours",
            "CPU ns",
            "by ours",
            "peak MB",
            "mean x",
            "mean x²",
            "off by",
        ],
        &cells,
    );
    println!("\noff by: of the means from ours, in standard errors; more than 4 is another equation.");
    if let (Some(few), Some(many)) = (ours.rounds.first().and_then(|round| round.peak_mb), longer.peak_mb) {
        println!("our peak memory: {few:.0} MB for {} steps, {many:.0} MB for {}\n", args.steps, 10 * args.steps);
    }
    same_equation(rows)
}

/// # Errors
/// If the ends of somebody's paths are not where ours are.
fn same_equation(rows: &[Row]) -> Result<()> {
    for row in &rows[1..] {
        let off = row.off(&rows[0]).unwrap_or(f64::NAN);
        ensure!(off < 5., "{} in f{} is off by {off:.1} standard errors: not the same equation", row.program, row.bits);
    }
    Ok(())
}

//! `bench dist`: a training step on several ranks of this machine, and what GPUs would make of it.

mod gpus;
mod processes;
mod rank;

use super::subject::{Subject, SubjectArgs};
use super::{print_table, rounded};
use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::{Args, ValueEnum};
use gpus::Constants;
use msharp_dist::Threads;
use msharp_lab::config::EstimatorName;
use msharp_lab::resources::computing;
use msharp_models::{Architecture, Norm};
use rank::{Rule, Steps};
use serde::Serialize;
use std::thread;

/// What to show before the flags.
const EXAMPLES: &str = "Examples:
  cargo xtask bench dist                                 threads of this program
  cargo xtask bench dist --over tcp                      processes that TCP connects
  cargo run -p xtask --features mpi -- bench dist        processes that mpirun starts
  cargo xtask bench dist --rule sgd,sam,local-sam --ranks 2 --model resnet8";

/// The step, and on how many ranks.
#[derive(Args)]
#[command(before_help = EXAMPLES)]
pub struct DistArgs {
    /// The network
    #[arg(long, default_value = "resnet18")]
    model: Architecture,
    /// Its normalisation; batch normalises the samples of each rank
    #[arg(long, default_value = "batch")]
    norm: Norm,
    /// Samples of a rank in a step
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Numbers of ranks to time
    #[arg(long, value_delimiter = ',', default_value = "1,2,4")]
    ranks: Vec<usize>,
    /// Rules to time; the bytes of all are counted
    #[arg(long, value_delimiter = ',', default_value = "sam")]
    rule: Vec<Rule>,
    /// What connects the ranks [default: mpi, where the program is built with it]
    #[arg(long)]
    over: Option<Over>,
    /// Threads of a rank
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Timed repetitions, after two to warm up; the median counts
    #[arg(long, default_value_t = 5)]
    steps: usize,
    /// Numbers of GPUs to extrapolate to
    #[arg(long, value_delimiter = ',', default_value = "8,512")]
    gpus: Vec<usize>,
    #[command(flatten)]
    constants: Constants,
    /// Print one JSON object a line instead of tables
    #[arg(long)]
    json: bool,
    /// Be a rank: what the command starts
    #[arg(long, hide = true)]
    here: bool,
}

/// What connects ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Over {
    /// MPI: processes that mpirun starts; on one machine they share memory
    Mpi,
    /// TCP: processes with a stream between each two, as torchrun starts them
    Tcp,
    /// Threads of one process, connected by channels
    Threads,
}

/// The default, and what `--over mpi` needs.
const OVER: Over = if cfg!(feature = "mpi") { Over::Mpi } else { Over::Threads };

/// A line of what was timed.
#[derive(Serialize)]
struct Timed {
    model: String,
    norm: String,
    rule: Rule,
    over: Over,
    ranks: usize,
    /// Of a rank.
    batch: usize,
    threads: usize,
    cores: usize,
    times_ms: Vec<f64>,
    median_ms: f64,
    /// Of as many ranks at once that send each other nothing.
    apart_ms: f64,
    /// The share of the ranks' time in exchanges.
    communication: f64,
    calls: usize,
    /// Sent by a rank in a step.
    bytes: usize,
    /// The time of one rank on its samples by this one.
    efficiency: f64,
    /// The same of ranks that send each other nothing: what they lose by sharing the machine.
    apart: f64,
}

/// A line of what follows for GPUs.
#[derive(Serialize)]
struct Extrapolated {
    model: String,
    rule: Rule,
    gpus: usize,
    /// Of a GPU.
    batch: usize,
    calls: usize,
    bytes: usize,
    compute_ms: f64,
    communication_ms: f64,
    /// The time of one GPU on its samples by that of all.
    efficiency: f64,
}

/// Runs `bench dist`.
pub fn dist(args: DistArgs) -> Result<()> {
    let subject = args.subject();
    subject.check()?;
    check(&args)?;
    if args.here {
        return processes::here(&args, &subject);
    }
    let mut timed = Vec::new();
    for rule in &args.rule {
        timed.extend(time(&args, &subject, *rule)?);
    }
    let mut extrapolated = Vec::new();
    for rule in Rule::ALL {
        for gpus in &args.gpus {
            extrapolated.push(extrapolate(&args, &subject, rule, *gpus)?);
        }
    }
    if !args.json {
        print(&args, &timed, &extrapolated);
    }
    Ok(())
}

impl DistArgs {
    fn subject(&self) -> SubjectArgs {
        SubjectArgs {
            model: self.model,
            norm: self.norm,
            batch: Some(self.batch),
            threads: Some(self.threads),
            steps: self.steps,
            json: self.json,
        }
    }

    fn over(&self) -> Over {
        self.over.unwrap_or(OVER)
    }
}

fn check(args: &DistArgs) -> Result<()> {
    ensure!(
        args.over() != Over::Mpi || cfg!(feature = "mpi"),
        "--over mpi needs a program that is built with it; expected `cargo run -p xtask --features mpi -- bench dist`"
    );
    for (flag, counts, most) in [("ranks", &args.ranks, 64), ("gpus", &args.gpus, 65536)] {
        for count in counts {
            ensure!((1..=most).contains(count), "--{flag} has {count}; expected numbers from 1 to {most}");
        }
    }
    match args.constants.fault() {
        Some(fault) => bail!("{fault}"),
        None => Ok(()),
    }
}

/// The steps of a rule on every number of ranks.
fn time(args: &DistArgs, subject: &SubjectArgs, rule: Rule) -> Result<Vec<Timed>> {
    let measured = |ranks: usize| -> Result<Timed> {
        eprintln!("timing {} of {} on {ranks} of {:?} …", rule.name(), args.model, args.ranks);
        let Steps { times_ms, apart_ms, communication, calls, bytes } = match args.over() {
            Over::Mpi | Over::Tcp => processes::steps(args, rule, ranks)?,
            Over::Threads => on_threads(args.threads, subject, rule, ranks)?,
        };
        let [median_ms, apart_ms] = [&times_ms, &apart_ms].map(|times| times[times.len() / 2]);
        Ok(Timed {
            model: args.model.to_string(),
            norm: args.norm.to_string(),
            rule,
            over: args.over(),
            ranks,
            batch: args.batch,
            threads: args.threads,
            cores: cores(),
            times_ms: times_ms.into_iter().map(rounded).collect(),
            median_ms: rounded(median_ms),
            apart_ms: rounded(apart_ms),
            communication: rounded(100. * communication) / 100.,
            calls,
            bytes,
            efficiency: f64::NAN,
            apart: f64::NAN,
        })
    };
    let alone = measured(1)?;
    let base = alone.median_ms;
    let mut alone = Some(alone);
    let mut lines = Vec::new();
    for ranks in &args.ranks {
        let line = match alone.take_if(|_| *ranks == 1) {
            Some(alone) => alone,
            None => measured(*ranks)?,
        };
        let [efficiency, apart] = [line.median_ms, line.apart_ms].map(|ms| rounded(base / ms));
        let line = Timed { efficiency, apart, ..line };
        if args.json {
            println!("{}", serde_json::to_string(&line)?);
        }
        lines.push(line);
    }
    Ok(lines)
}

fn on_threads(threads: usize, subject: &SubjectArgs, rule: Rule, ranks: usize) -> Result<Steps> {
    thread::scope(|scope| {
        let start = |engine| scope.spawn(move || computing(Some(threads), || rank::steps(engine, subject, rule)));
        let all: Vec<_> = Threads::new(ranks).into_iter().map(start).collect();
        let mut steps = None;
        for rank in all {
            let of_rank = rank.join().map_err(|_| anyhow!("a rank panicked"))??;
            steps.get_or_insert(of_rank);
        }
        steps.context("there is no rank")
    })
}

/// What a step of a rule would last on `gpus` GPUs.
fn extrapolate(args: &DistArgs, subject: &SubjectArgs, rule: Rule, gpus: usize) -> Result<Extrapolated> {
    eprintln!("counting the bytes of {} on {gpus} of {:?} …", rule.name(), args.gpus);
    let (traffic, flop) = computing(Some(args.threads), || {
        let flop = Subject::new(subject, EstimatorName::FiniteDifference)?.flop()? * rule.kind().forwards();
        Ok((rank::count(gpus, subject, rule)?, flop))
    })?;
    let compute_ms = args.constants.compute_ms(flop);
    let communication_ms = args.constants.communication_ms(gpus, traffic.calls, traffic.bytes);
    let line = Extrapolated {
        model: args.model.to_string(),
        rule,
        gpus,
        batch: args.batch,
        calls: traffic.calls,
        bytes: traffic.bytes,
        compute_ms: rounded(compute_ms),
        communication_ms: rounded(communication_ms),
        efficiency: rounded(compute_ms / (compute_ms + communication_ms)),
    };
    if args.json {
        println!("{}", serde_json::to_string(&line)?);
    }
    Ok(line)
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn print(args: &DistArgs, timed: &[Timed], extrapolated: &[Extrapolated]) {
    let DistArgs { model, norm, batch, threads, constants, .. } = args;
    let over = match args.over() {
        Over::Mpi => "processes over MPI",
        Over::Tcp => "processes over TCP",
        Over::Threads => "threads of one process",
    };
    println!(
        "{model} ({norm} norm), {batch} samples a rank; ranks are {over}, {threads} thread each, {} cores",
        cores()
    );
    if let Some(most) = args.ranks.iter().max().filter(|most| **most * threads > cores()) {
        println!("{most} ranks of {threads} thread share {} cores, so they cannot reach the efficiency 1", cores());
    }
    println!();
    let megabytes = |bytes: usize| format!("{:.1}", 1e-6 * bytes as f64);
    let row = |line: &Timed| {
        vec![
            line.rule.name().to_owned(),
            line.ranks.to_string(),
            format!("{:.1}", line.median_ms),
            format!("{:.1} %", 100. * line.communication),
            megabytes(line.bytes),
            format!("{:.2}", line.efficiency),
            format!("{:.2}", line.apart),
        ]
    };
    let head = ["rule", "ranks", "median ms", "communication", "MB a rank", "efficiency", "apart"];
    print_table(&head, &timed.iter().map(row).collect::<Vec<_>>());
    println!(
        "\napart: the efficiency of as many ranks that send each other nothing: what they lose by sharing the machine"
    );
    let Constants { gpu_tflops, latency_us, link_gb_per_s, network_gb_per_s, gpus_per_machine } = constants;
    println!(
        "\nOn GPUs of {gpu_tflops} TFLOP/s, {batch} samples each; {latency_us} µs a message, {link_gb_per_s} GB/s within \
         {gpus_per_machine} GPUs, {network_gb_per_s} GB/s beyond (a model, not measured)\n"
    );
    let row = |line: &Extrapolated| {
        vec![
            line.rule.name().to_owned(),
            line.gpus.to_string(),
            format!("{:.2}", line.compute_ms),
            format!("{:.2}", line.communication_ms),
            line.calls.to_string(),
            megabytes(line.bytes),
            format!("{:.2}", line.efficiency),
        ]
    };
    let head = ["rule", "GPUs", "computing ms", "communication ms", "calls", "MB a rank", "efficiency"];
    print_table(&head, &extrapolated.iter().map(row).collect::<Vec<_>>());
}

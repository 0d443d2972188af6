//! `bench`: how long a training step takes, op by op, and beside PyTorch; how good the estimators are; how fast
//! photographs become batches; how fast an ensemble of paths is; and what several processes cost.

mod child;
mod cuda;
mod data;
mod dist;
pub mod estimators;
mod micro;
mod norms;
mod ops;
mod pytorch;
mod sde;
mod step;
mod subject;

use anyhow::Result;
use clap::{Args, Subcommand};
use msharp_lab::resources::computing;

/// Held by tests that run a network: what a profile counts is the whole process's.
#[cfg(test)]
static NETWORK: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// What to show before the flags.
const EXAMPLES: &str = "Examples:
  cargo xtask bench step    a training step of each rule
  cargo xtask bench norms   the estimators of per-sample gradient norms";

/// What to time.
#[derive(Args)]
#[command(before_help = EXAMPLES)]
pub struct BenchArgs {
    #[command(subcommand)]
    command: BenchCommand,
}

#[derive(Subcommand)]
enum BenchCommand {
    /// A no-grad forward and a step of SGD, SAM, m-SAM and RW-SAM, each in a process of its own, also beside PyTorch
    Step(step::StepArgs),
    /// The time of every op within a step, so that the next slow thing is visible
    Ops(ops::OpsArgs),
    /// The step of m-SAM against m, with RW-SAM beside it: the paper's trade-off
    M(micro::MicroArgs),
    /// What the estimators of per-sample gradient norms cost beside a gradient, and their RW-SAM steps beside SAM's
    Norms(norms::NormsArgs),
    /// The gradient-norm estimators against the exact norms: ranks, weights, cost and δ, at three moments of training
    ///
    /// Trains each network itself, from scratch, with plain SGD on a few images, and measures at the start, early and
    /// late. The page that it writes lets a user choose an estimator, K and δ. Goes on where it was stopped.
    Estimators(estimators::EstimatorsArgs),
    /// Pictures per second from a folder of photographs to batches, also beside torchvision's `ImageFolder`
    ///
    /// Two recipes: a random resized crop with flips, and the centre of the resized picture, both normalised. A rate is
    /// that of a whole epoch after one that starts the workers and reads the files; the programs take turns, and a
    /// ratio is that of a round.
    Data(data::DataArgs),
    /// Paths per second of an ensemble by Euler and Maruyama's scheme, also beside torchsde and diffrax
    ///
    /// The equation: dX = (X − X³ + (Xᵢ₋₁ − 2 Xᵢ + Xᵢ₊₁)/2) dt + σ(X) dW on a ring, with diagonal noise,
    /// σᵢ = 0.4 √(1 + Xᵢ²), and with general noise, σ = 0.4 (I + X Xᵀ/(1 + |X|²)), all d × d of it. Each figure is
    /// taken in a process of its own, round after round; what is compiled is compiled before the clock starts. The ends
    /// of all programs' paths must agree within standard errors.
    Sde(sde::SdeArgs),
    /// A training step on several ranks: time, share of communication, bytes; and what GPUs would make of it
    ///
    /// Ranks have as many samples each. The efficiency is the time of one rank on its samples by that of n ranks; a
    /// step ends when its last rank does. Communication is the time inside the collective operations, that of waiting
    /// for slower ranks included. Bytes are those that a rank sends for gradients and for weights of samples, without
    /// the few numbers that a training run reports beside them.
    ///
    /// On n GPUs a step is taken to last flop/F + calls ⌈log₂ n⌉ α + bytes/β, one part after the other. The bytes are
    /// those that a step on n ranks sends: they are counted. The constants are flags.
    Dist(dist::DistArgs),
    /// The steps of a GPU: SGD, SAM, m-SAM (m = 32) and RW-SAM of four workloads, also beside PyTorch
    ///
    /// A group of steps is enqueued back to back and waited for once; a figure is the median over groups of the time
    /// of a group by its steps, after three steps to warm up. PyTorch is measured in the same way, with channels last
    /// and, in bf16, autocast, as it is and under torch.compile; the ratio is to the faster one. RW-SAM takes the
    /// norms from a finite difference, in f32 in both, or from the last layer.
    ///
    /// TFLOP/s are by the definition of the ops, three forwards for a gradient; their share is of what a product of
    /// large matrices reaches in the same precision. The peak of the memory is that of tensors and workspaces while
    /// the clock ran.
    Cuda(cuda::CudaArgs),
}

/// Runs a benchmark.
pub fn bench(args: BenchArgs) -> Result<()> {
    match args.command {
        BenchCommand::Step(args) => computing(args.subject.threads, || step::step(args)),
        BenchCommand::Ops(args) => computing(args.subject.threads, || ops::ops(args)),
        BenchCommand::M(args) => computing(args.subject.threads, || micro::micro(args)),
        BenchCommand::Norms(args) => computing(args.subject.threads, || norms::norms(args)),
        BenchCommand::Estimators(args) => estimators::estimators(args),
        BenchCommand::Data(args) => data::data(args),
        BenchCommand::Sde(args) => computing(args.threads, || sde::sde(args)),
        BenchCommand::Dist(args) => dist::dist(args),
        BenchCommand::Cuda(args) => cuda::cuda(args),
    }
}

/// A number for JSON, with two digits after the point.
fn rounded(value: f64) -> f64 {
    (value * 100.).round() / 100.
}

/// Prints cells as a Markdown table; the first column is text, the others are numbers.
fn print_table(head: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or(0)
    };
    let line = |cells: &[String]| {
        let padded = cells.iter().enumerate().map(|(i, cell)| match i {
            0 => format!("{cell:<width$}", width = width(i)),
            _ => format!("{cell:>width$}", width = width(i)),
        });
        println!("| {} |", padded.collect::<Vec<_>>().join(" | "));
    };
    line(&head.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>());
    let rule = |i: usize| if i == 0 { "-".repeat(width(i) + 2) } else { format!("{}:", "-".repeat(width(i) + 1)) };
    println!("|{}|", (0..head.len()).map(rule).collect::<Vec<_>>().join("|"));
    rows.iter().for_each(|row| line(row));
}

//! The commands of this workspace: regenerate every result, measure, and build for GPUs. The program for training is
//! `msharp`.

mod bench;
mod cuda;
mod report;
mod reproduce;

use clap::{Parser, Subcommand};
use msharp_lab::program;
use std::process::ExitCode;

/// Regenerate the results of this workspace, and measure it.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    version,
    max_term_width = 110,
    after_help = "Start with `cargo xtask reproduce toy`: minutes, no download.\n\
                  To train networks of your own: `cargo msharp train`."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run an experiment: all its jobs, then its table and its figures. Resumes; skips what is done
    Reproduce(reproduce::ReproduceArgs),
    /// Rewrite RESULTS.md, the pages and the README's tables from the committed rows
    Report(report::ReportArgs),
    /// Time training steps, estimators and ensembles
    Bench(bench::BenchArgs),
    /// Build, check and pack what runs on NVIDIA GPUs, on a machine without one
    Cuda(cuda::CudaArgs),
}

#[global_allocator]
static ALLOCATOR: msharp_ops::KeepBlocks = msharp_ops::KeepBlocks::new();

fn main() -> ExitCode {
    program::main(|cli: Cli| match cli.command {
        Command::Reproduce(args) => reproduce::reproduce(args),
        Command::Report(args) => report::report(args),
        Command::Bench(args) => bench::bench(args),
        Command::Cuda(args) => cuda::cuda(args),
    })
}

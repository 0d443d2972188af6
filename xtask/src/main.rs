//! The command line of msharp: one binary that trains, regenerates every result, and writes the tables.

mod bench;
mod canonical;
mod changes;
mod claim;
mod config;
mod cuda;
mod data;
mod datasets;
mod device;
mod effect;
mod estimate;
mod experiments;
mod facts;
mod host;
mod interrupt;
mod leftovers;
mod log;
mod machine;
mod names;
mod naming;
mod notes;
mod paired;
mod paths;
mod predict;
mod report;
mod reproduce;
mod row;
mod rows;
mod rule;
mod rules;
mod run;
mod screen;
mod start;
mod statistics;
mod text;
mod theory;
mod train;
mod watch;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Sharpness-aware training: compare SGD, SAM, m-SAM and RW-SAM, and regenerate every table and figure.
///
/// Start with `cargo xtask reproduce toy`: minutes, no download.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run an experiment: all its runs, then its table and its plot. Resumes; skips the runs that are done.
    Reproduce(reproduce::ReproduceArgs),
    /// Train one network with one rule.
    Train(Box<train::TrainArgs>),
    /// List the rules, or print one with its formula, cost, state, reference and defaults.
    Rules(rules::RulesArgs),
    /// Compute the logits of images with trained weights.
    Predict(predict::PredictArgs),
    /// Rewrite the README's tables and the plots from the committed rows.
    Report(report::ReportArgs),
    /// Time training steps.
    Bench(bench::BenchArgs),
    /// Download and verify data sets.
    Data(data::DataArgs),
    /// Build, check and pack what runs on NVIDIA GPUs, on a machine without one.
    Cuda(cuda::CudaArgs),
}

#[global_allocator]
static ALLOCATOR: msharp_ops::KeepBlocks = msharp_ops::KeepBlocks::new();

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if is_help(&error) => error.exit(),
        Err(error) => {
            eprintln!("{}", one_line(&error.to_string()));
            return ExitCode::from(2);
        }
    };
    host::revision();
    let result = match cli.command {
        Command::Reproduce(args) => reproduce::reproduce(args),
        Command::Train(args) => train::train(*args),
        Command::Rules(args) => rules::rules(args),
        Command::Predict(args) => predict::predict(args),
        Command::Report(args) => report::report(args),
        Command::Bench(args) => bench::bench(args),
        Command::Data(args) => data::data(args),
        Command::Cuda(args) => cuda::cuda(args),
    };
    match result {
        Ok(()) if interrupt::requested() => ExitCode::from(130),
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", one_line(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

/// `--help`, `--version`, and the help that a command without its subcommand gets.
fn is_help(error: &clap::Error) -> bool {
    !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
}

/// An error on one line: what happened, then why, colons between; without the backtrace that candle appends if asked
/// to.
fn one_line(text: &str) -> String {
    let said =
        |line: &&str| !line.is_empty() && !line.starts_with("For more information") && !line.starts_with("Usage:");
    let lines = text.lines().map(str::trim).filter(said).take_while(|line| !line.starts_with("0: "));
    lines.collect::<Vec<_>>().join(": ")
}

//! `msharp`: one binary that trains, evaluates and applies networks, and tells what there is.

mod data;
mod evaluate;
mod predict;
mod rules;
mod runs;
mod train;

use clap::{Parser, Subcommand};
use msharp_lab::program;
use std::process::ExitCode;

/// Sharpness-aware training: any rule, exactly resumable, the same bits for any number of threads.
#[derive(Parser)]
#[command(
    name = "msharp",
    version,
    max_term_width = 110,
    after_help = "Examples:\n  \
        msharp rules                                   what --rule takes\n  \
        msharp train --rule m-sam:m=16 --data cifar10  one network, one rule\n  \
        msharp runs                                    what was trained, and how it ended"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train one network with one rule
    Train(Box<train::TrainArgs>),
    /// Measure trained weights on test images
    Evaluate(evaluate::EvaluateArgs),
    /// Compute the logits of images with trained weights
    Predict(predict::PredictArgs),
    /// List the rules, or print one with its formula, cost, state, reference and defaults
    Rules(rules::RulesArgs),
    /// Download and verify data sets
    Data(data::DataArgs),
    /// List the runs in a folder: rule, accuracy, how they ended
    Runs(runs::RunsArgs),
}

#[global_allocator]
static ALLOCATOR: msharp_ops::KeepBlocks = msharp_ops::KeepBlocks::new();

fn main() -> ExitCode {
    program::main(|cli: Cli| match cli.command {
        Command::Train(args) => train::train(*args),
        Command::Evaluate(args) => evaluate::evaluate(args),
        Command::Predict(args) => predict::predict(args),
        Command::Rules(args) => rules::rules(args),
        Command::Data(args) => data::data(args),
        Command::Runs(args) => runs::runs(args),
    })
}

//! `cuda`: what a machine without a GPU can do for one that has it: build, check, and pack.

mod binaries;
mod bundle;
mod check;
mod parts;
mod steps;
mod toolkit;

use anyhow::Result;
use clap::{Args, Subcommand};

/// What to do for NVIDIA GPUs.
#[derive(Args)]
pub struct CudaArgs {
    #[command(subcommand)]
    command: CudaCommand,
}

#[derive(Subcommand)]
enum CudaCommand {
    /// Set up a CUDA toolkit if there is none, build with it, and run the GPU's tests and a training run without a GPU
    Check(check::CheckArgs),
    /// Pack the programs for a machine with a GPU, PyTorch's CUDA libraries and no Rust
    Bundle(bundle::BundleArgs),
}

/// Runs a subcommand.
pub fn cuda(args: CudaArgs) -> Result<()> {
    match args.command {
        CudaCommand::Check(args) => check::check(args),
        CudaCommand::Bundle(args) => bundle::bundle(args),
    }
}

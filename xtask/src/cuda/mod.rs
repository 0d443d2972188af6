//! `cuda`: what a machine without a GPU can do for one that has it: build, check, and pack.

mod binaries;
mod bundle;
mod check;
mod parts;
mod steps;
mod toolkit;

use anyhow::Result;
use clap::{Args, Subcommand};

/// What to show before the flags.
const EXAMPLES: &str = "Examples:
  cargo xtask cuda check                   build for CUDA, and run all that needs no GPU
  cargo xtask cuda bundle --out /scratch   pack the programs for a machine with a GPU";

/// What to do for NVIDIA GPUs.
#[derive(Args)]
#[command(before_help = EXAMPLES)]
pub struct CudaArgs {
    #[command(subcommand)]
    command: CudaCommand,
}

#[derive(Subcommand)]
enum CudaCommand {
    /// Set up a CUDA toolkit if there is none, build with it, and run all that needs no GPU
    ///
    /// The GPU's tests and a training run go through on the software GPU: libraries that compute on the CPU what a
    /// GPU would. Nothing needs to be there but Rust, gcc, g++, bash, and Python with venv. RUSTFLAGS and CUDA's
    /// variables, such as CUDA_COMPUTE_CAP (90 if it is not set), count where they are set. Everything lands in
    /// target/cuda and target/cuda-toolkit. The first time takes half an hour on two cores, most of it for candle's
    /// own kernels.
    Check(check::CheckArgs),
    /// Pack the programs for a machine with a GPU and without Rust
    ///
    /// The folder gets msharp-cuda.tar.xz, of less than 60 MB, and with --data-dir CIFAR-10 in parts,
    /// cifar10.tar.xz.00 and so on, of at most 45 MB each; the same files make the same bytes. There, with an NVIDIA
    /// driver and CUDA's libraries, such as PyTorch's wheels have, `tar -xf msharp-cuda.tar.xz && bash
    /// msharp-cuda/run.sh help` says what can be done; parts of CIFAR-10 beside the archive are found.
    Bundle(bundle::BundleArgs),
}

/// Runs a subcommand.
pub fn cuda(args: CudaArgs) -> Result<()> {
    match args.command {
        CudaCommand::Check(args) => check::check(args),
        CudaCommand::Bundle(args) => bundle::bundle(args),
    }
}

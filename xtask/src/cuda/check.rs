//! `cuda check`: all that can be known of the CUDA side where there is no GPU.

use super::binaries::{Binaries, target};
use super::steps::{run, step};
use super::toolkit::Toolkit;
use anyhow::{Result, ensure};
use clap::Args;
use msharp_lab::paths;
use msharp_lab::screen::duration;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// With what, and how far.
#[derive(Args)]
pub struct CheckArgs {
    /// A CUDA 13 toolkit with cuDNN [default: $CUDA_PATH's, else that of the nvcc in $PATH, else made of NVIDIA's
    /// wheels]
    #[arg(long, value_name = "DIR")]
    toolkit: Option<PathBuf>,
    /// Only build, and run nothing
    #[arg(long)]
    build_only: bool,
}

/// Runs `cuda check`.
pub fn check(args: CheckArgs) -> Result<()> {
    let started = Instant::now();
    let toolkit = step("the CUDA toolkit", || Toolkit::find(args.toolkit.as_deref()))?;
    let binaries = Binaries::build(&toolkit)?;
    if args.build_only {
        println!("\n{BUILT}");
        println!("Nothing was run: leave --build-only out for that.");
        return Ok(());
    }
    let software_gpu = step("the software GPU", || software_gpu(&toolkit))?;
    let libraries = toolkit.libraries(&software_gpu);
    let program = |path: &Path| {
        let mut command = Command::new(path);
        command.env("LD_LIBRARY_PATH", &libraries);
        command
    };
    step("the ops, forward and backward, against f64 on the CPU", || run(&mut program(&binaries.ops)))?;
    step("convolutions by each route", || run(program(&binaries.inside).arg("cuda::")))?;
    step("rules, runs and batches against the CPU", || run(&mut program(&binaries.whole)))?;
    step("NVIDIA's cuDNN, asked for its plans for an H100", || {
        let mut plans = Command::new(&binaries.plans);
        plans.env("LD_PRELOAD", toolkit.driver()?); // the program asks for a driver, and cuDNN can do without
        let cudnn = toolkit.cudnn().unwrap_or_else(|| software_gpu.join("none"));
        run(plans.env("LD_LIBRARY_PATH", toolkit.libraries(&cudnn)))
    })?;
    let on_two = |path: &Path| {
        let mut command = program(path);
        command.env("MSHARP_SOFTWARE_GPUS", "2").env("MSHARP_PROGRAM", &binaries.msharp);
        command
    };
    step("reductions between two GPUs, against the CPU to the bit", || run(&mut on_two(&binaries.nccl)))?;
    step("runs of two processes with a GPU each", || run(&mut on_two(&binaries.gpus)))?;
    step("a training run of the command line", || train(&mut program(&binaries.msharp)))?;
    step("the benchmark, whose figures mean nothing here", || bench(&mut program(&binaries.xtask)))?;

    println!("\n{BUILT}");
    println!("{RAN}");
    println!("{LEFT}");
    println!("All of it passed in {}.", duration(started.elapsed().as_secs_f64()));
    Ok(())
}

const BUILT: &str = "\
Compiled: the kernels, by nvcc, for the GPU that CUDA_COMPUTE_CAP names (90 where it is not set); the crates with the
  features `cuda` and `nccl`; and the programs, linked with CUDA's libraries by their names.";

const RAN: &str = "\
Run on the software GPU, which executes the kernels' own source on the CPU, thread by thread, and stands in for the
  driver, cuDNN, cuBLAS, cuRAND and NCCL: every op in f32, TF32 and bf16 with its gradients; that memory is written before it
  is read; rules, batches, checkpoints and resumption; that a step has no host-device synchronisation; a run and a benchmark
  from the command line; runs of two processes with a GPU each, against one process, and what a killed one does.
Asked of NVIDIA's own cuDNN, which needs no GPU for that: that every convolution of the networks has a plan on an H100.";

const LEFT: &str = "\
Only a GPU can tell: that the driver takes the machine code; what NVIDIA's libraries compute, refuse or round, and that
  they repeat to the bit; that NCCL connects two GPUs; races that an order of blocks on the CPU does not show; memory, and every time. For these:
  `cargo xtask cuda bundle`, and `run.sh all` on a machine with a GPU.";

/// Builds the libraries that stand in for NVIDIA's.
fn software_gpu(toolkit: &Toolkit) -> Result<PathBuf> {
    let folder = target()?.join("software-gpu");
    let script = std::path::absolute(paths::root().join("tests/software-gpu/build.sh"))?;
    run(toolkit.set(Command::new("bash").arg(script).arg(&folder)))?;
    Ok(folder)
}

/// A run of four small steps, in the precision that a GPU gets by default.
fn train(msharp: &mut Command) -> Result<()> {
    let folder = target()?.join("smoke");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    let small = ["--model", "resnet8", "--subset", "20", "--test-subset", "10", "--batch-size", "10", "--epochs", "2"];
    msharp.args(["train", "--device", "cuda", "--rule", "sam"]).args(small).arg("--out").arg(&folder);
    run(msharp)?;
    ensure!(folder.join("row.json").is_file(), "{} has no row.json; expected the row of a run", folder.display());
    Ok(())
}

/// Every kind of step, a single time.
fn bench(xtask: &mut Command) -> Result<()> {
    let small = ["--only", "resnet8-4", "--steps", "1", "--group", "1", "--product", "32"];
    run(xtask.args(["bench", "cuda"]).args(small))
}

//! The programs with the features `cuda` and `nccl`.

use super::steps::{self, step};
use super::toolkit::Toolkit;
use anyhow::{Context, Result, bail};
use msharp_lab::paths;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What was built.
pub struct Binaries {
    /// The commands of the workspace: reproduce, bench.
    pub xtask: PathBuf,
    /// The program that trains.
    pub msharp: PathBuf,
    /// The tests of the ops.
    pub ops: PathBuf,
    /// Those in the ops' own files.
    pub inside: PathBuf,
    /// What cuDNN itself says without a GPU.
    pub plans: PathBuf,
    /// The tests of rules and runs.
    pub whole: PathBuf,
    /// The tests of reductions between two GPUs.
    pub nccl: PathBuf,
    /// Those of runs on two GPUs.
    pub gpus: PathBuf,
}

/// A target folder of their own: without the feature all crates are built differently.
pub fn target() -> Result<PathBuf> {
    Ok(std::path::absolute(paths::root().join("target/cuda"))?)
}

impl Binaries {
    /// Builds them, the first time for a quarter of an hour: CUDA's compiler has no hurry.
    pub fn build(toolkit: &Toolkit) -> Result<Self> {
        let test = |package, name| {
            built(toolkit, &["test", "--no-run", "-p", package, "--features", "cuda", "--test", name], name)
        };
        // Of several ranks, in one build with the program whose runs they test.
        let ranks = |name| {
            let packages = ["test", "--no-run", "-p", "msharp-cli", "-p", "msharp-dist"];
            let features = ["--features", "msharp-cli/nccl,msharp-dist/nccl", "--test", "gpus", "--test", "nccl"];
            built(toolkit, &[&packages[..], &features].concat(), name)
        };
        Ok(Self {
            xtask: built(toolkit, &["build", "-p", "xtask", "--features", "nccl"], "xtask")?,
            msharp: built(toolkit, &["build", "-p", "msharp-cli", "--features", "nccl"], "msharp")?,
            nccl: ranks("nccl")?,
            gpus: ranks("gpus")?,
            ops: test("msharp-ops", "cuda")?,
            inside: built(
                toolkit,
                &["test", "--no-run", "-p", "msharp-ops", "--features", "cuda", "--lib"],
                "msharp_ops",
            )?,
            plans: test("msharp-ops", "cudnn_plans")?,
            whole: test("msharp-tests", "cuda")?,
        })
    }
}

/// Runs cargo and returns the program that it makes of a target.
fn built(toolkit: &Toolkit, args: &[&str], target_name: &str) -> Result<PathBuf> {
    step(&format!("cargo {}", args.join(" ")), || {
        let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
        let mut command = Command::new(cargo);
        toolkit.set(&mut command).args(args).arg("--message-format=json-render-diagnostics");
        command.current_dir(paths::root()).env("CARGO_TARGET_DIR", target()?);
        let output = command.stderr(Stdio::inherit()).output().context("cannot run cargo")?;
        if !output.status.success() {
            bail!("cargo failed: {}", output.status)
        }
        let lines = String::from_utf8_lossy(&output.stdout);
        let executable = |line: &str| {
            let message: Value = serde_json::from_str(line).ok()?;
            let is_it = message["target"]["name"] == target_name;
            message["executable"].as_str().filter(|_| is_it).map(PathBuf::from)
        };
        lines.lines().find_map(executable).context("cargo named no program that it built")
    })
}

/// The shared libraries that a program asks for by name, found or not.
pub fn asks_for(program: &Path) -> Result<Vec<String>> {
    let said = steps::output(Command::new("ldd").arg(program))?;
    Ok(said.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
}

//! The same step in PyTorch, in the same run.

use super::child;
use super::subject::{Kind, SubjectArgs, WARM_UP};
use anyhow::{Context, Result, bail, ensure};
use msharp_lab::config::{EstimatorName, typed};
use serde::Deserialize;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// The script, which prints a line of JSON for each kind of step.
const SCRIPT: &str = include_str!("pytorch_step.py");

/// What PyTorch needs for a kind of step.
#[derive(Clone, Debug, Deserialize)]
pub struct Theirs {
    /// The step as the script calls it: `m_sam`.
    pub rule: String,
    /// PyTorch's version.
    pub torch: String,
    /// Of a step; absent if it failed, and why in `error`.
    pub median_ms: Option<f64>,
    pub min_ms: Option<f64>,
    /// Of every step, in order of size.
    #[serde(default)]
    pub times_ms: Vec<f64>,
    /// Peak resident memory of the process, in MB.
    pub peak_mb: Option<f64>,
    /// Peak of the memory that PyTorch allocated on a GPU, in MB.
    pub peak_gpu_mb: Option<f64>,
    pub error: Option<String>,
}

/// Runs the script with the interpreter `python` and hands on what it measures, as it comes; at `until` it is ended.
pub fn run(
    python: &Path,
    flags: &[&str],
    until: Option<Instant>,
    mut each: impl FnMut(Theirs) -> Result<()>,
) -> Result<()> {
    let mut command = Command::new(python);
    command.arg("-").args(flags);
    let read = |line: &str| each(serde_json::from_str(line).with_context(|| format!("Python printed {line:?}"))?);
    child::run(&mut command, SCRIPT, until, read)
        .context("--against-pytorch, which needs torch and numpy, and timm for a vision transformer")
}

/// Whether the script has such a step.
///
/// # Errors
/// Names the flag that it does not know.
pub fn check(estimator: EstimatorName) -> Result<()> {
    ensure!(
        estimator == EstimatorName::FiniteDifference,
        "--against-pytorch takes RW-SAM's norms from a finite difference; --estimator is {}",
        typed(estimator)
    );
    Ok(())
}

/// Measures one kind of step on the CPU, of m-SAM that with micro-batches of `m`.
pub fn measure(python: &Path, args: &SubjectArgs, kind: Kind, m: usize) -> Result<Theirs> {
    measure_step(python, args, &kind.name().replace('-', "_"), m, WARM_UP)
}

/// Measures the step that the script calls `only`, after `warm_up` of them.
pub fn measure_step(python: &Path, args: &SubjectArgs, only: &str, m: usize, warm_up: usize) -> Result<Theirs> {
    let (model, norm) = (args.model.to_string(), args.norm.to_string());
    let images = args.images();
    let numbers = [
        ("--m", m),
        ("--batch", args.batch()),
        ("--steps", args.steps),
        ("--warm-up", warm_up),
        ("--threads", rayon::current_num_threads()),
        ("--size", images.side),
        ("--classes", images.classes),
    ]
    .map(|(flag, number)| [flag.to_owned(), number.to_string()]);
    let names = ["--model", &model, "--norm", &norm, "--only", only];
    let flags = names.into_iter().chain(numbers.iter().flatten().map(String::as_str));
    let mut found = None;
    run(python, &flags.collect::<Vec<_>>(), None, |theirs| {
        found = Some(theirs);
        Ok(())
    })?;
    match found {
        Some(Theirs { error: Some(error), .. }) => bail!("--against-pytorch: {error}"),
        Some(theirs) => Ok(theirs),
        None => bail!("--against-pytorch: Python printed nothing"),
    }
}

//! The same step in PyTorch, in the same run.

use super::subject::{Kind, SubjectArgs};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// The script, which prints one line of JSON.
const SCRIPT: &str = include_str!("pytorch_step.py");

/// What PyTorch needs: median milliseconds, and the peak of its memory in MB.
pub struct Theirs {
    pub median_ms: f64,
    pub peak_mb: f64,
}

/// Runs the script with the interpreter `python`, which needs torch and numpy.
pub fn measure(python: &Path, args: &SubjectArgs, kind: Kind) -> Result<Theirs> {
    let model = match args.model.to_string().as_str() {
        "wrn-16-4" => "wrn16_4".to_owned(),
        name @ ("resnet18" | "resnet20") => name.to_owned(),
        name => bail!("--against-pytorch knows resnet18, resnet20 and wrn-16-4, not {name}"),
    };
    ensure!(args.norm.to_string() == "batch", "--against-pytorch knows --norm batch, not {}", args.norm);
    let step = kind.name().replace('-', "_");
    let mut command = Command::new(python);
    command.args(["-", "--model", &model, "--only", &step]);
    command.args(["--batch", &args.batch.to_string(), "--steps", &args.steps.to_string()]);
    command.args(["--threads", &rayon::current_num_threads().to_string()]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let child = child.as_mut().map_err(|error| anyhow::anyhow!("cannot run {}: {error}", python.display()))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(SCRIPT.as_bytes()).context("cannot hand the script to Python")?;
    }
    let mut text = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        std::io::Read::read_to_string(&mut stdout, &mut text).context("cannot read what Python prints")?;
    }
    ensure!(child.wait()?.success(), "{} failed; it needs torch and numpy", python.display());
    let row: Value = serde_json::from_str(text.trim()).with_context(|| format!("Python printed {text:?}"))?;
    let number = |name: &str| row[name].as_f64().with_context(|| format!("Python's line has no number {name:?}"));
    Ok(Theirs { median_ms: number(&format!("{step}_ms"))?, peak_mb: number("peak_mb")? })
}

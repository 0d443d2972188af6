//! Steps that take minutes, each announced, and with its duration when it is done.

use anyhow::{Context, Result, bail};
use msharp_lab::screen::duration;
use std::process::Command;
use std::time::Instant;

/// Runs a step.
///
/// # Errors
/// Those of the step, with its name.
pub fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    println!("\n== {name}");
    let started = Instant::now();
    let result = work().with_context(|| name.to_owned())?;
    println!("== {}: {name}", duration(started.elapsed().as_secs_f64()));
    Ok(result)
}

/// Runs a program whose output is shown.
///
/// # Errors
/// If it is missing or fails.
pub fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("cannot run {program}; expected it to be installed"))?;
    if !status.success() {
        bail!("{program} failed: {status}")
    }
    Ok(())
}

/// Runs a program and returns what it prints on standard output.
///
/// # Errors
/// If it is missing or fails.
pub fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot run {program}; expected it to be installed"))?;
    if !output.status.success() {
        bail!("{program} failed: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim())
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

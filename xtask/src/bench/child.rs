//! A process that measures, and prints what it has as soon as it has it.

use anyhow::{Context, Result, anyhow, bail};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Runs `command` with `input` and hands on every line that it prints, as it comes; at `until` the process is ended.
///
/// # Errors
/// If it cannot be run, if the time is up, if it fails (with the last line of its standard error), or as `line` says.
pub fn run(
    command: &mut Command,
    input: &str,
    until: Option<Instant>,
    mut line: impl FnMut(&str) -> Result<()>,
) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {program}"))?;
    let (Some(mut stdin), Some(stdout), Some(mut stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        bail!("{program} has no standard streams")
    };
    // Each stream has a thread: a process that nobody reads from, or writes to, waits forever.
    let input = input.to_owned();
    thread::spawn(move || stdin.write_all(input.as_bytes()));
    let complaints = thread::spawn(move || {
        let mut text = Vec::new();
        let _ = stderr.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    });
    let (sender, lines) = channel();
    thread::spawn(move || BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));

    let outcome = loop {
        let left = until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
        match lines.recv_timeout(left) {
            Ok(text) => match line(&text) {
                Ok(()) => {}
                Err(error) => break Err(error),
            },
            Err(RecvTimeoutError::Timeout) => break Err(anyhow!("{OUT_OF_TIME}")),
            Err(RecvTimeoutError::Disconnected) => break Ok(()),
        }
    };
    if outcome.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().with_context(|| format!("cannot wait for {program}"))?;
    outcome?;
    if !status.success() {
        let text = complaints.join().unwrap_or_default();
        let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        bail!("{program} failed ({status}): {}", last.trim())
    }
    Ok(())
}

/// What is said of a process that was ended.
pub const OUT_OF_TIME: &str = "the time that --within allows was over";

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, until: Option<Instant>) -> (Vec<String>, Result<()>) {
        let mut seen = Vec::new();
        let outcome = run(Command::new("sh").args(["-c", script]), "in\n", until, |line| {
            seen.push(line.to_owned());
            Ok(())
        });
        (seen, outcome)
    }

    #[test]
    fn lines_come_and_the_end_is_told() {
        let (seen, outcome) = shell("cat; echo out", None);
        assert!(outcome.is_ok());
        assert_eq!(seen, ["in", "out"]);
        let (seen, outcome) = shell("echo out; echo first >&2; echo 'no memory' >&2; exit 3", None);
        assert_eq!(seen, ["out"]);
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains("no memory") && error.contains("exit status: 3"), "{error}");
        assert!(run(&mut Command::new("/none/such"), "", None, |_| Ok(())).is_err());
    }

    #[test]
    fn a_process_that_takes_too_long_is_ended_and_what_it_had_is_kept() {
        let started = Instant::now();
        let (seen, outcome) = shell("echo out; exec sleep 60", Some(started + Duration::from_millis(300)));
        assert_eq!(seen, ["out"]);
        assert!(outcome.unwrap_err().to_string().contains("--within"));
        assert!(started.elapsed() < Duration::from_secs(30));
    }
}

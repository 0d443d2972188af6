//! `mpirun xtask reproduce …`: every job of an experiment by all ranks together.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// `mpirun -n N xtask reproduce … ` for each of `groups`, on one thread a rank.
fn mpirun(groups: &[(usize, &[&str])]) -> Command {
    let mut command = Command::new("mpirun");
    command.args(["--allow-run-as-root", "--oversubscribe"]);
    for (i, (ranks, flags)) in groups.iter().enumerate() {
        if i > 0 {
            command.arg(":");
        }
        command.args(["-n", &ranks.to_string(), env!("CARGO_BIN_EXE_xtask"), "reproduce", "--preset", "smoke"]);
        command.args(["--threads", "1"]).args(*flags);
    }
    command
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

fn rows(out: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(out.join("rows.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn ranks_do_each_job_together_and_go_on_after_an_interruption() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("toy");
    let flags = ["toy", "--out", out.to_str().unwrap()];
    let mut first = mpirun(&[(2, &flags)]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    while rows(&out).is_empty() {
        assert!(started.elapsed() < Duration::from_secs(120), "no row");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(Command::new("kill").args(["-INT", &first.id().to_string()]).status().unwrap().success());
    first.wait().unwrap();
    let done = rows(&out);

    let second = mpirun(&[(2, &flags)]).output().unwrap();
    let text = said(&second);
    assert!(second.status.success(), "{text}");
    assert_eq!(text.matches("page and pictures").count(), 1, "rank 0 alone prints: {text}");
    let all = rows(&out);
    assert!(text.contains(&format!("{} jobs, {} done before", all.len(), done.len())), "{text}");
    assert_eq!(all[..done.len()], done, "what is done is not done again");
    assert!(all.iter().all(|row| row["host"]["ranks"] == 2), "{all:?}");
}

#[test]
fn ranks_that_cannot_do_it_together_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (a, b) = (path("a"), path("b"));
    let (toy, other) = (["toy", "--out", &a], ["escape", "--out", &b]);
    for (groups, part) in [
        (&[(2, &["weak-error", "--out", &a][..])][..], "weak-error without --shared is for one process"),
        (&[(1, &toy[..]), (1, &other[..])][..], "rank 1 has other flags: escape-smoke there and toy-smoke on rank 0"),
    ] {
        let output = mpirun(groups).output().unwrap();
        let text = said(&output);
        assert!(!output.status.success() && text.matches(part).count() == 1, "{text}");
        assert!(rows(Path::new(&a)).is_empty());
    }
}

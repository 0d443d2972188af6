//! `reproduce … --record`: the committed results, over several calls.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A folder that passes for a workspace, so that its results are not those of this one.
fn workspace() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("crates/lab")).unwrap();
    std::fs::write(folder.path().join("crates/lab/Cargo.toml"), "").unwrap();
    folder
}

fn toy(workspace: &Path, preset: &str, out: &str, flags: &[&str]) -> Command {
    reproduce(workspace, "toy", preset, out, flags)
}

fn reproduce(workspace: &Path, experiment: &str, preset: &str, out: &str, flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["reproduce", experiment, "--preset", preset, "--record", "--out", out]).args(flags);
    command.current_dir(workspace).env("CARGO_MANIFEST_DIR", workspace).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[test]
fn jobs_of_committed_rows_are_left_out_and_their_rows_stay() {
    let folder = workspace();
    let results = folder.path().join("results/toy-smoke/rows.jsonl");
    assert!(toy(folder.path(), "smoke", "first", &[]).status().unwrap().success());
    let whole = lines(&results);
    assert_eq!((whole.len(), lines(&folder.path().join("first/rows.jsonl"))), (5, whole.clone()));
    std::fs::write(&results, format!("{}\n{}\n", whole[0], whole[2])).unwrap();

    let second = toy(folder.path(), "smoke", "second", &["--only-missing"]).output().unwrap();
    assert!(second.status.success(), "{}", String::from_utf8_lossy(&second.stderr));
    let said = String::from_utf8_lossy(&second.stdout).into_owned();
    assert!(said.contains("5 jobs, 2 done before") && said.contains("5 rows recorded in"), "{said}");
    let (now, made) = (lines(&results), lines(&folder.path().join("second/rows.jsonl")));
    assert_eq!([&now[0], &now[2]], [&whole[0], &whole[2]], "not done again");
    assert_eq!(made, [now[1].clone(), now[3].clone(), now[4].clone()]);
}

#[test]
fn committed_rows_of_another_experiment_with_the_same_jobs_are_left_out_too() {
    let folder = workspace();
    let run = |experiment: &str, out: &str| {
        let ended = reproduce(folder.path(), experiment, "smoke", out, &["--only-missing"]).output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        lines(&folder.path().join(format!("results/{experiment}-smoke/rows.jsonl")))
    };
    let radius = run("radius", "first");
    let reweighting = run("reweighting", "second");
    let made = lines(&folder.path().join("second/rows.jsonl"));
    let in_common = reweighting.len() - made.len();
    assert!(0 < in_common && in_common < radius.len(), "{in_common} of {}", radius.len());
    let own = |line: &String| line.replacen("\"radius\"", "\"reweighting\"", 1);
    assert_eq!(radius.iter().map(own).filter(|line| reweighting.contains(line)).count(), in_common);
}

#[test]
fn what_is_done_when_the_user_stops_is_recorded() {
    let folder = workspace();
    // The next runs of this preset take seconds each, so that the signal is in time.
    let child = toy(folder.path(), "laptop", "out", &[]).spawn().unwrap();
    let (rows, started) = (folder.path().join("out/rows.jsonl"), Instant::now());
    while lines(&rows).is_empty() {
        assert!(started.elapsed() < Duration::from_secs(120), "no run is done");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130), "{}", String::from_utf8_lossy(&ended.stderr));
    let recorded = lines(&folder.path().join("results/toy-laptop/rows.jsonl"));
    assert!(!recorded.is_empty() && recorded == lines(&rows), "{recorded:?}");
}

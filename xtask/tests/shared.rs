//! Several processes that share the jobs of an experiment, as on several machines: `reproduce … --shared`.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The time of a lease in seconds, where a test waits for its end.
const LEASE: &str = "3";

fn reproduce(experiment: &str, out: &Path, flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["reproduce", experiment, "--preset", "smoke", "--threads", "1", "--out"]).arg(out).args(flags);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a process said that must have succeeded.
#[track_caller]
fn succeeded(child: Child) -> String {
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    assert!(status.success(), "{}", text(&stderr));
    text(&stderr)
}

#[track_caller]
fn alone(experiment: &str, folder: &Path) -> PathBuf {
    let out = folder.join("alone");
    succeeded(reproduce(experiment, &out, &[]).spawn().unwrap());
    out
}

/// What so many processes say that do the jobs of an experiment, none of which ends early.
#[track_caller]
fn succeed_together(count: usize, experiment: &str, out: &Path) -> Vec<String> {
    let start = |_| reproduce(experiment, out, &["--shared", "--lease", "60"]).spawn().unwrap();
    let all: Vec<Child> = (0..count).map(start).collect();
    all.into_iter().map(succeeded).collect()
}

/// The rows, without how long anything took.
fn rows(out: &Path) -> Vec<Value> {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(entries) => {
                entries.retain(|name, _| name != "seconds" && name != "images_per_second");
                entries.values_mut().for_each(strip);
            }
            Value::Array(values) => values.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let text = std::fs::read_to_string(out.join("rows.jsonl")).unwrap();
    let mut all: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    all.iter_mut().for_each(strip);
    all
}

/// The bytes of all files of the name, or of any name, in the folders of runs.
fn files(out: &Path, name: Option<&str>) -> BTreeMap<PathBuf, Vec<u8>> {
    let folders = std::fs::read_dir(out).unwrap().map(|entry| entry.unwrap().path());
    let of_runs = folders.filter(|path| path.join("config.json").exists());
    let all = of_runs.flat_map(|run| std::fs::read_dir(run).unwrap().map(|entry| entry.unwrap().path()));
    let named = all.filter(|path| name.is_none_or(|name| path.ends_with(name)));
    named.map(|path| (path.strip_prefix(out).unwrap().to_owned(), std::fs::read(&path).unwrap())).collect()
}

#[track_caller]
fn assert_equal(out: &Path, alone: &Path) {
    assert_eq!(rows(out), rows(alone));
    let weights = |out| files(out, Some("weights.safetensors"));
    assert!(weights(out) == weights(alone), "weights differ");
}

/// The highest number of each lease, as its file says.
fn holders(out: &Path) -> BTreeMap<String, Value> {
    let mut all: BTreeMap<String, (u64, Value)> = BTreeMap::new();
    for entry in std::fs::read_dir(out.join("shared")).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let Some((key, number)) = name.rsplit_once('.') else { continue };
        let Ok(number) = number.parse::<u64>() else { continue };
        let read = std::fs::read_to_string(&path).ok().and_then(|text| serde_json::from_str(&text).ok());
        if let Some(holder) = read.filter(|_| all.get(key).is_none_or(|(known, _)| *known < number)) {
            all.insert(key.to_owned(), (number, holder));
        }
    }
    all.into_iter().map(|(key, (_, holder))| (key, holder)).collect()
}

/// Waits until a process that is none of `but` is in the middle of a run; its number, and the key of the run.
fn in_mid_run(out: &Path, but: &[u64]) -> (u64, String) {
    let started = Instant::now();
    loop {
        for (key, holder) in holders(out) {
            let log = std::fs::read_to_string(out.join(&key).join("log.jsonl")).unwrap_or_default();
            let is_done = out.join("shared").join(format!("{key}.json")).exists();
            let process = holder["process"].as_u64().unwrap();
            if log.lines().count() == 1 && !is_done && holder["is_free"] == false && !but.contains(&process) {
                return (process, key);
            }
        }
        assert!(started.elapsed() < Duration::from_secs(120), "nobody is in the middle of a run");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn signal(name: &str, process: u64) {
    assert!(Command::new("kill").args([name, &process.to_string()]).status().unwrap().success());
}

#[test]
fn of_four_processes_two_are_killed_and_every_run_is_recorded_once_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let (alone, out) = (alone("toy", folder.path()), folder.path().join("shared"));
    let start = || reproduce("toy", &out, &["--shared", "--lease", LEASE]).spawn().unwrap();
    let mut all: Vec<Child> = (0..4).map(|_| start()).collect();
    let (first, run) = in_mid_run(&out, &[]);
    signal("-KILL", first);
    let (second, other_run) = in_mid_run(&out, &[first]);
    signal("-KILL", second);
    for key in [run, other_run] {
        assert!(!out.join("shared").join(format!("{key}.json")).exists(), "{key} was done before the kill");
    }
    for killed in [first, second] {
        let place = all.iter().position(|child| u64::from(child.id()) == killed).unwrap();
        assert!(!all.swap_remove(place).wait().unwrap().success());
    }
    let said: Vec<String> = all.into_iter().map(succeeded).collect();
    let waited = |killed: u64| said.iter().any(|said| said.contains(&format!("(process {killed} on ")));
    assert!(waited(first) || waited(second), "{said:?}");
    assert_eq!(rows(&out).len(), 5);
    assert_equal(&out, &alone);
    assert!(out.join("page-toy/README.md").exists());
    assert!(holders(&out).values().all(|holder| holder["is_free"] == true));

    // whoever comes later finds all done, alone too
    let before = std::fs::read(out.join("rows.jsonl")).unwrap();
    for flags in [&["--shared"][..], &[]] {
        let output = reproduce("toy", &out, flags).output().unwrap();
        assert!(text(&output.stdout).contains("5 jobs, 5 done before"), "{}", text(&output.stderr));
    }
    assert_eq!(std::fs::read(out.join("rows.jsonl")).unwrap(), before);
}

#[test]
fn a_process_that_slept_notices_that_its_run_was_taken_over_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (alone, out) = (alone("toy", folder.path()), folder.path().join("shared"));
    let start = || reproduce("toy", &out, &["--shared", "--lease", LEASE]).spawn().unwrap();
    let sleeper = start();
    let (process, key) = in_mid_run(&out, &[]);
    assert_eq!(process, u64::from(sleeper.id()));
    signal("-STOP", process);
    let other = start();
    let by = format!("taken over by process {}", other.id());
    succeeded(other);
    let row = || std::fs::read(out.join("shared").join(format!("{key}.json"))).unwrap();
    let (of_runs, of_row) = (files(&out, None), row());
    signal("-CONT", process);
    let said = succeeded(sleeper);
    assert!(said.contains(&by) && said.contains("leaves that job to the other one"), "{said}");
    assert!(files(&out, None) == of_runs && row() == of_row, "the sleeper wrote");
    assert_equal(&out, &alone);
}

#[test]
fn ctrl_c_frees_the_lease_at_once_and_the_next_process_goes_on_from_the_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let (alone, out) = (alone("toy", folder.path()), folder.path().join("shared"));
    let start = || reproduce("toy", &out, &["--shared", "--lease", "3600"]).spawn().unwrap();
    let first = start();
    let (process, key) = in_mid_run(&out, &[]);
    signal("-INT", process);
    assert_eq!(first.wait_with_output().unwrap().status.code(), Some(130));
    assert_eq!(holders(&out)[&key]["is_free"], true);
    assert!(out.join(&key).join("checkpoint.safetensors").exists());
    let log = || std::fs::read_to_string(out.join(&key).join("log.jsonl")).unwrap();
    let begun = log();
    assert!(!begun.is_empty());
    let said = succeeded(start());
    assert!(!said.contains("waiting"), "{said}");
    assert!(log().starts_with(&begun), "the run began again");
    assert_equal(&out, &alone);
}

/// The minimum from which all runs start is a run that one process makes, and the others wait for.
#[test]
fn what_runs_start_from_is_made_once_and_shared() {
    let folder = tempfile::tempdir().unwrap();
    let (alone, out) = (alone("escape", folder.path()), folder.path().join("shared"));
    let said = succeed_together(3, "escape", &out);
    assert!(said.iter().any(|said| said.contains("waiting for other processes, 0 of 5 jobs done")), "{said:?}");
    assert_equal(&out, &alone);
}

#[test]
fn series_of_numbers_are_shared_too() {
    let folder = tempfile::tempdir().unwrap();
    let (alone, out) = (alone("drift", folder.path()), folder.path().join("shared"));
    succeed_together(2, "drift", &out);
    assert_eq!(rows(&out), rows(&alone));
    // each series is a file, and those that are made from one computation have one lease
    let rows = std::fs::read_dir(out.join("shared")).unwrap();
    let rows = rows.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|end| end == "json"));
    assert!(rows.count() > holders(&out).len());
}

#[test]
fn what_processes_cannot_share_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    let refused = |flags: &[&str], parts: &[&str]| {
        let Output { status, stderr, .. } = reproduce("toy", out, flags).output().unwrap();
        let said = text(&stderr);
        assert!(!status.success() && parts.iter().all(|part| said.contains(part)), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    };
    refused(&["--shared", "--lease", "0.5"], &["--lease is 0.5", "at least 1"]);
    refused(&["--lease", "5"], &["--shared"]);
    std::fs::create_dir(out.join("shared")).unwrap();
    std::fs::write(out.join("shared/toy-smoke.plan"), "resnet20-sgd ResNet-20\n").unwrap();
    refused(&["--shared"], &["shared/toy-smoke.plan", "resnet20-sgd ResNet-20", "resnet8-sgd", "same program"]);
    let lock = std::fs::File::create(out.join(".lock")).unwrap();
    lock.lock_shared().unwrap();
    refused(&[], &["in use by another process"]);
    lock.lock().unwrap();
    refused(&["--shared"], &["in use by a process without --shared"]);
    std::fs::write(out.join("shared/file"), "").unwrap();
    let inside = out.join("shared/file");
    let output = reproduce("toy", &inside, &["--shared"]).output().unwrap();
    assert!(!output.status.success() && text(&output.stderr).contains("shared/file"), "{}", text(&output.stderr));
}

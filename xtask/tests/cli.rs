//! The commands of the workspace as a person meets them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn xtask(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(args).env("RUST_BACKTRACE", "1"); // candle appends backtraces then, and a person must not see them
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a command that must fail, with one line on standard error that has all of `parts`.
#[track_caller]
fn refused(args: &[&str], parts: &[&str]) {
    let Output { status, stderr, .. } = xtask(args).output().unwrap();
    let said = text(&stderr);
    assert!(!status.success(), "{args:?} succeeded");
    assert_eq!(said.lines().count(), 1, "{args:?} said more than a line:\n{said}");
    for part in parts {
        assert!(said.contains(part), "{args:?} does not say {part:?}: {said}");
    }
}

#[test]
fn bad_flags_are_named_on_one_line() {
    refused(&["reproduce", "cifar11"], &["cifar11", "cifar10", "toy"]);
    refused(&["reproduce", "drift", "--device", "cuda"], &["--device is cuda", "no network"]);
    refused(&["reproduce", "toy", "--threads", "0"], &["--threads", "at least 1"]);
    refused(&["bench", "estimators", "--models", "resnet19"], &["--models", "resnet19"]);
    refused(&["bench", "estimators", "--draws", "0"], &["--draws", "at least 1"]);
    for name in ["toy", "drift", "estimators"] {
        let args = ["reproduce", name, "--preset", "smoke", "--data-dir", "none"];
        refused(&args, &["--data-dir", name, "--preset smoke", "expected none"]);
    }
    refused(&["reproduce", "estimators", "--preset", "paper"], &["--preset is paper", "smoke or laptop"]);
}

/// What a measuring process would refuse is refused before one starts.
#[test]
fn bad_flags_of_a_benchmark_are_named_once() {
    for (args, parts) in [
        (&["step", "--rule", "sam", "--estimator", "exact"][..], &["--estimator", "rw-sam"][..]),
        (&["ops", "--rule", "sgd", "--estimator", "exact"], &["--estimator", "rw-sam"]),
        (&["norms", "--estimator", "exact"], &["--estimator"]),
        (&["step", "--batch", "0"], &["--batch is 0", "at least 1"]),
        (&["step", "--steps", "0"], &["--steps is 0", "at least 1"]),
        (&["step", "--model", "vit-mini", "--norm", "group"], &["--norm", "vit-mini"]),
        (&["step", "--model", "vit-mini@34"], &["--model", "34"]),
        (&["step", "--rule", "m-sam", "--batch", "8", "--m", "9"], &["--m is 9", "--batch (8)"]),
        (&["step", "--rule", "sam", "--m", "4"], &["--m is about", "m-sam"]),
        (
            &["step", "--estimator", "exact", "--against-pytorch", "python3"],
            &["--against-pytorch", "--estimator is exact"],
        ),
        (&["m", "--batch", "4", "--m", "8"], &["--m contains 8", "at most --batch (4)"]),
        (&["sde", "--dt", "0"], &["--dt is 0", "above 0"]),
        (&["sde", "--dt", "NaN"], &["--dt is NaN", "above 0"]),
        (&["sde", "--paths", "0"], &["--paths is 0", "at least 1"]),
    ] {
        refused(&[&["bench"], args].concat(), parts);
    }
}

/// Rows of toy are no rows of escape, and escape, noise-trace and m-sharpness share their runs.
#[test]
fn rows_of_another_experiment_are_not_added_to() {
    let folder = tempfile::tempdir().unwrap();
    let (rows, out) = (folder.path().join("rows.jsonl"), folder.path().to_str().unwrap());
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../results/toy-laptop/rows.jsonl");
    std::fs::copy(committed, &rows).unwrap();
    let before = std::fs::read(&rows).unwrap();
    for experiment in ["escape", "noise-trace", "m-sharpness"] {
        let args = ["reproduce", experiment, "--preset", "smoke", "--out", out];
        refused(&args, &["rows.jsonl holds rows of toy", "rows of escape or m-sharpness", "another --out"]);
    }
    refused(
        &["reproduce", "drift", "--preset", "smoke", "--out", out],
        &["rows.jsonl holds rows of toy", "rows of drift"],
    );
    assert_eq!(std::fs::read(&rows).unwrap(), before);
}

#[test]
fn the_documents_and_the_plots_are_what_the_rows_say() {
    let output = xtask(&["report", "--check"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// `kill -9` after the first run: the second call trains the other four, the third none.
#[test]
fn a_killed_experiment_goes_on_and_repeats_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let rows = folder.path().join("rows.jsonl");
    let args = ["reproduce", "toy", "--preset", "smoke", "--out", folder.path().to_str().unwrap()];
    let mut child = xtask(&args).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    while !rows.exists() {
        assert!(started.elapsed() < Duration::from_secs(240), "the first run does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
    let first = std::fs::read_to_string(&rows).unwrap();
    assert_eq!(first.lines().count(), 1);

    let again = |expected: &str| {
        let output = xtask(&args).output().unwrap();
        let said = text(&output.stdout);
        assert!(output.status.success() && said.contains(expected), "{said}{}", text(&output.stderr));
        (std::fs::read_to_string(&rows).unwrap(), said)
    };
    let (all, said) = again("5 jobs, 1 done before");
    assert!(all.starts_with(&first) && all.lines().count() == 5, "the row of the run that was done is kept");
    assert!(said.contains("| SGD |") && said.contains("| RW-SAM (m_eff = 16) |"), "{said}");
    assert_eq!(again("5 jobs, 5 done before").0, all);
}

/// Every line of JSON that a benchmark prints.
fn lines(args: &[&str]) -> Vec<serde_json::Value> {
    let Output { status, stdout, stderr } = xtask(args).output().unwrap();
    assert!(status.success(), "{args:?}: {}", text(&stderr));
    text(&stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn benchmarks_print_what_they_promise() {
    let small = ["--model", "resnet8", "--batch", "4", "--steps", "1", "--threads", "1", "--json"];
    let with =
        |command: &[&'static str]| lines(&["bench"].iter().chain(command).chain(&small).copied().collect::<Vec<_>>());

    let steps = with(&["step"]);
    let rules: Vec<&str> = steps.iter().map(|line| line["rule"].as_str().unwrap()).collect();
    assert_eq!(rules, ["forward", "sgd", "sam", "m-sam", "rw-sam"]);
    for line in &steps {
        assert_eq!((&line["model"], &line["batch"], &line["threads"]), (&"resnet8".into(), &4.into(), &1.into()));
        for number in ["median_ms", "img_per_s", "gflop_per_s", "share_of_peak"] {
            assert!(line[number].as_f64().unwrap() > 0., "{number} of {line}");
        }
        assert_eq!(line["times_ms"][0], line["median_ms"], "one step: {line}");
        assert!(line["pytorch"].is_null(), "{line}");
        assert!(cfg!(not(target_os = "linux")) || line["peak_mb"].as_f64().unwrap() > 1., "{line}");
    }

    let ops = with(&["ops", "--rule", "sgd"]);
    let of = |line: &serde_json::Value| line["op"].as_str().unwrap().to_owned();
    assert!(ops.iter().any(|line| of(line).contains("conv 3×3/1 16→16 at 32×32 dw")), "{ops:?}");
    assert_eq!(ops.last().map(of), Some("the rest".to_owned()));

    let micro = with(&["m", "--m", "1,4"]);
    let sizes: Vec<_> = micro.iter().map(|line| (line["rule"].as_str().unwrap(), line["m"].as_u64())).collect();
    let together_and_one_by_one = [("m-sam", Some(1)), ("m-sam", Some(1)), ("m-sam", Some(4))];
    assert_eq!(sizes[..3], together_and_one_by_one);
    assert_eq!(sizes[3..], [("sam", None), ("rw-sam", None), ("rw-sam-ghost", None)]);

    refused(&["bench", "step", "--rule", "sham"], &["--rule", "sham", "rw-sam"]);
    refused(&["bench", "ops", "--batch", "0"], &["--batch", "at least 1"]);
    refused(&["bench", "m", "--m", "0"], &["--m", "at least 1"]);
}

#[test]
fn help_says_what_can_be_done_for_a_gpu() {
    let help = |args: &[&str]| text(&xtask(args).arg("--help").output().unwrap().stdout);
    for (args, words) in [
        (&["cuda"][..], &["check", "bundle"][..]),
        (&["cuda", "check"], &["--toolkit", "--build-only", "CUDA_PATH", "RUSTFLAGS"]),
        (&["cuda", "bundle"], &["--out", "--data-dir", "--toolkit", "run.sh"]),
        (
            &["bench", "cuda"],
            &["--only", "--precision", "--quick", "--against-pytorch", "--within", "--json", "--rows"],
        ),
    ] {
        let said = help(args);
        words.iter().for_each(|word| assert!(said.contains(word), "{args:?} does not say {word}: {said}"));
    }
}

#[test]
fn a_benchmark_of_a_gpu_says_what_it_needs() {
    refused(&["bench", "cuda", "--only", "resnet18"], &["--only", "resnet18-128"]);
    refused(&["bench", "cuda", "--precision", "f16"], &["--precision", "f16", "bf16"]);
    refused(&["bench", "cuda", "--group", "0"], &["--group", "at least 1"]);
    if cfg!(not(feature = "cuda")) {
        refused(&["bench", "cuda"], &["bench cuda", "without CUDA", "cargo xtask cuda check"]);
    }
    let none = tempfile::tempdir().unwrap();
    let none = none.path().to_str().unwrap();
    refused(&["cuda", "check", "--toolkit", none], &["--toolkit", none]);
    refused(&["cuda", "bundle", "--data-dir", none], &["--data-dir", none]);
}

/// The scripts that run where there is no Rust, with programs that succeed at once.
#[test]
#[cfg(target_os = "linux")]
fn the_scripts_are_sound() {
    let script = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cuda").join(name);
    for name in ["run.sh", "toolkit.sh"] {
        let checked = Command::new("bash").arg("-n").arg(script(name)).output().unwrap();
        assert!(checked.status.success() && checked.stderr.is_empty(), "{name}: {}", text(&checked.stderr));
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(script("run.sh"), folder.path().join("run.sh")).unwrap();
    for program in ["xtask", "msharp", "test-ops", "test-runs", "test-nccl", "test-gpus"] {
        std::fs::copy("/bin/true", folder.path().join(program)).unwrap();
    }
    let run = |args: &[&str]| {
        let mut bash = Command::new("bash");
        bash.arg(folder.path().join("run.sh")).args(args).env("OUT", folder.path().join("out")).output().unwrap()
    };
    let help = text(&run(&["help"]).stdout);
    for command in ["all", "test", "gpus", "learn", "bench", "paper"] {
        assert!(help.contains(&format!("run.sh {command} ")), "{help}");
    }
    assert!(!folder.path().join("out").exists(), "help writes nothing");
    let unknown = run(&["tset"]);
    assert!(!unknown.status.success() && text(&unknown.stderr).contains("tset"), "{}", text(&unknown.stderr));

    let tested = run(&["test"]);
    assert!(tested.status.success(), "{}{}", text(&tested.stdout), text(&tested.stderr));
    assert!(text(&tested.stdout).contains("== test-runs"), "{}", text(&tested.stdout));
    if Command::new("nvidia-smi").output().is_err() {
        assert!(text(&tested.stdout).contains("left out, for this machine has 0"), "{}", text(&tested.stdout));
    }
    let written = |folder: &Path| {
        let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(written(&folder.path().join("out")), ["about.txt", "test.log"]);
    let all = ["msharp", "out", "run.sh", "test-gpus", "test-nccl", "test-ops", "test-runs", "xtask"];
    assert_eq!(written(folder.path()), all);
    let unpacked = run(&["paper"]);
    assert!(text(&unpacked.stderr).contains("cifar10.tar.xz.00"), "{}", text(&unpacked.stderr));
}

fn ended(args: &[&str]) -> Output {
    let output = xtask(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    output
}

/// In smoke size: stopped after the first cell it goes on with the second, and repeats nothing.
#[test]
fn estimators_are_measured_and_a_stopped_benchmark_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let args = ["bench", "estimators", "--preset", "smoke", "--out", out];
    let rows = folder.path().join("rows.jsonl");
    let mut child = xtask(&args).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    while !rows.exists() {
        assert!(started.elapsed() < Duration::from_secs(120), "the first cell does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let first = std::fs::read_to_string(&rows).unwrap();
    assert!(first.lines().count() < 3 && !folder.path().join("page-estimators/README.md").exists());

    let said = String::from_utf8_lossy(&ended(&args).stdout).into_owned();
    assert!(said.contains("3 jobs, ") && !said.contains(" 0 done before"), "{said}");
    let all = std::fs::read_to_string(&rows).unwrap();
    assert!(all.starts_with(first.trim_end()) && all.lines().count() == 3);
    for line in all.lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let row = &row["content"];
        let names: Vec<&str> =
            row["estimators"].as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap()).collect();
        for name in ["exact", "last layer", "finite difference", "adaptive δ", "Gaussian", "sphere", "central"] {
            assert!(names.contains(&name), "{name} is not among {names:?}");
        }
        assert_eq!(row["sweep"][0]["refused"], "too small", "{}", row["sweep"]);
        assert!(row["sweep"][1]["refused"].is_null() && row["sweep"][1]["error"]["mean"].as_f64().unwrap() < 0.2);
    }
    let page = std::fs::read_to_string(folder.path().join("page-estimators/README.md")).unwrap();
    for part in ["Do one probe's weights carry information?", "## Which δ?", "(step-1.svg)", "resnet8 (group-32), late"]
    {
        assert!(page.contains(part), "{part}");
    }
}

/// Examples first, and no more than two screens of 40 lines.
#[test]
fn the_help_of_every_command_begins_with_examples() {
    let bench = ["step", "ops", "m", "norms", "estimators", "sde", "cuda"].map(|name| vec!["bench", name]);
    let others = [vec!["reproduce"], vec!["report"], vec!["cuda"], vec!["bench"]];
    for command in others.into_iter().chain(bench) {
        let help = text(&xtask(&[&command[..], &["--help"]].concat()).output().unwrap().stdout);
        assert!(help.starts_with("Examples:\n  cargo xtask "), "{command:?}: {help}");
        assert!(help.lines().count() <= 80, "{command:?}: {} lines", help.lines().count());
    }
}

//! A run's folder over its life: what is lost, what another run left there, what can be known before the first step,
//! and what its weights are taken for afterwards.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use candle_core::{DType, Device, Tensor};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// `train` on 96 images in batches of 16, two epochs: 12 steps.
const SMALL: [&str; 9] = ["train", "--subset", "96", "--test-subset", "50", "--batch-size", "16", "--epochs", "2"];

fn msharp(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_msharp"));
    command.args(args);
    command
}

fn small(out: &Path, more: &[&str]) -> Command {
    let mut command = msharp(&SMALL);
    command.args(["--out", out.to_str().unwrap()]).args(more);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn done(mut command: Command) -> String {
    let Output { status, stderr, .. } = command.output().unwrap();
    assert!(status.success(), "{}", text(&stderr));
    text(&stderr)
}

/// That a command fails and says all of `parts`, on one line.
#[track_caller]
fn refused(mut command: Command, parts: &[&str]) {
    let Output { status, stderr, .. } = command.output().unwrap();
    let said = text(&stderr);
    assert!(!status.success(), "{command:?} succeeded");
    assert!(parts.iter().all(|part| said.contains(part)) && said.lines().count() == 1, "{command:?}: {said}");
}

fn read(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap()
}

fn remove(folder: &Path, names: &[&str]) {
    names.iter().for_each(|name| std::fs::remove_file(folder.join(name)).unwrap());
}

/// The row is made of the checkpoint: a log that is lost takes nothing away, and a resumption that makes no step
/// changes nothing, whatever program and however many threads it has.
#[test]
fn a_finished_run_keeps_its_row_whatever_becomes_of_its_log() {
    let folder = tempfile::tempdir().unwrap();
    done(small(folder.path(), &["--threads", "1"]));
    let (row, rows) = (read(folder.path(), "row.json"), read(folder.path(), "rows.jsonl"));
    remove(folder.path(), &["log.jsonl", "epochs.csv"]);
    done(small(folder.path(), &["--threads", "2", "--resume"]));
    assert_eq!((read(folder.path(), "row.json"), read(folder.path(), "rows.jsonl")), (row.clone(), rows));
    let row: serde_json::Value = serde_json::from_str(&row).unwrap();
    assert_eq!(row["host"]["threads"], 1);
    let content = &row["content"];
    assert_eq!(content["curve"].as_array().unwrap().len(), 2);
    assert!(content["metrics"]["test_accuracy"].is_number() && content["metrics"]["train_loss"].is_number(), "{row}");
    assert_eq!(read(folder.path(), "log.jsonl").lines().count(), 2, "the epochs are in the log again");
}

#[test]
fn a_new_run_takes_nothing_from_another_in_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("r");
    let at = |seed: &str| small(&run, &["--seed", seed, "--after-random-labels", "1"]);
    done(at("1"));
    remove(&run, &["checkpoint.safetensors"]);
    for seed in ["1", "2"] {
        refused(at(seed), &["weights.safetensors of a run whose checkpoint is gone", "empty folder"]);
    }
    remove(&run, &["weights.safetensors", "row.json", "rows.jsonl"]);
    refused(at("2"), &["files of another run", "--seed was 1 and is 2"]);
    assert!(run.join("log.jsonl").exists(), "what is refused changes nothing");
    done(at("1")); // the same run begins again
    let row: serde_json::Value = serde_json::from_str(&read(&run, "row.json")).unwrap();
    let epochs: Vec<u64> =
        row["content"]["curve"].as_array().unwrap().iter().map(|line| line["epoch"].as_u64().unwrap()).collect();
    assert_eq!(epochs, [0, 1, 2]);
}

/// With --out, everything that a run makes is inside it; a run that goes on does not make its start again.
#[test]
fn what_a_run_starts_from_is_inside_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("r");
    let at = || small(&run, &["--norm", "group", "--after-random-labels", "1", "--after-true-labels", "1"]);
    done(at());
    let folders = |path: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.is_dir()).collect()
    };
    assert_eq!(folders(folder.path()), std::slice::from_ref(&run), "nothing is written beside it");
    let starts = folders(&run);
    assert_eq!(starts.len(), 2, "{starts:?}");
    let made = |start: &PathBuf| start.join("weights.safetensors").metadata().unwrap().modified().unwrap();
    let before: Vec<_> = starts.iter().map(made).collect();
    remove(&run, &["checkpoint.safetensors", "weights.safetensors", "row.json", "rows.jsonl"]);
    done(at());
    assert_eq!(starts.iter().map(made).collect::<Vec<_>>(), before);
    let listed = text(&msharp(&["runs", folder.path().to_str().unwrap()]).output().unwrap().stdout);
    assert_eq!(listed.lines().count(), 2, "one run: {listed}");
}

/// As of an experiment whose jobs several processes share.
#[test]
fn the_list_of_runs_says_which_process_does_one() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("resnet8-sam");
    done(small(&run, &[]));
    std::fs::create_dir(folder.path().join("shared")).unwrap();
    let holder = |is_free: bool| format!(r#"{{"host":"node1","process":7,"seconds":60.0,"is_free":{is_free}}}"#);
    let mut number = 0;
    let mut listed = |is_free: bool| {
        number += 1;
        std::fs::write(folder.path().join(format!("shared/resnet8-sam.{number}")), holder(is_free)).unwrap();
        text(&msharp(&["runs", folder.path().to_str().unwrap()]).output().unwrap().stdout)
    };
    assert!(!listed(false).contains("node1"), "it is over");
    remove(&run, &["row.json"]);
    assert!(listed(false).contains("taken by process 7 on node1"));
    assert!(!listed(true).contains("node1"));
}

#[test]
fn a_checkpoint_or_a_row_that_is_damaged_is_named_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    done(small(folder.path(), &[]));
    let row = read(folder.path(), "row.json");
    let accuracy = row.split_once("\"test_accuracy\":").unwrap().1.split([',', '}']).next().unwrap();
    let impossible = row.replacen(&format!("\"test_accuracy\":{accuracy}"), "\"test_accuracy\":1.5", 1);
    std::fs::write(folder.path().join("row.json"), impossible).unwrap();
    let listed = text(&msharp(&["runs", folder.path().to_str().unwrap()]).output().unwrap().stdout);
    assert!(listed.contains("row.json") && listed.contains("test_accuracy is 1.5"), "{listed}");

    let checkpoint = folder.path().join("checkpoint.safetensors");
    let bytes = std::fs::read(&checkpoint).unwrap();
    std::fs::write(&checkpoint, &bytes[..bytes.len() / 2]).unwrap();
    refused(small(folder.path(), &["--resume"]), &["checkpoint.safetensors", "restore it", "delete it", "--resume"]);
    remove(folder.path(), &["weights.safetensors", "row.json", "rows.jsonl", "checkpoint.safetensors"]);
    done(small(folder.path(), &[])); // as it advises
}

/// Nothing is computed, and no folder of a start is made, before what can be known is said.
#[test]
fn what_cannot_matter_or_cannot_be_is_said_before_the_first_step() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("r");
    for (flags, parts) in [
        (&["--perturb", "layer9.*", "--from", "0.5"][..], &["--perturb layer9.*", "no parameter"][..]),
        (&["--perturb", "layer9.*", "--after-random-labels", "2"], &["--perturb layer9.*", "no parameter"]),
        (&["--from", "0.95"], &["--from 0.95", "12 steps"]),
        (&["--rule", "rw-sam:lambda=32"], &["lambda is 32", "16 samples"]),
        (&["--label-noise", "0.001"], &["--label-noise", "no label of 96"]),
        (&["--noise-samples", "4"], &["--noise-samples", "--noise-every"]),
        (&["--schedule", "step:0.99:0.1"], &["--schedule", "12 steps"]),
    ] {
        refused(small(&out, flags), parts);
    }
    let on = |flags: &[&str]| {
        let mut command = msharp(&["train", "--out", out.to_str().unwrap()]);
        command.args(flags);
        command
    };
    refused(on(&["--subset", "20", "--rule", "rw-sam"]), &["--batch-size is 128", "20 training images"]);
    refused(on(&["--subset", "10000"]), &["--subset is 10000", "as many images"]);
    let entries: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(entries, ["r"], "no start was made");
    assert!(!out.join("log.jsonl").exists() && !out.join("config.json").exists());
    std::fs::create_dir(out.join("weights.safetensors")).unwrap();
    refused(small(&out, &[]), &["weights.safetensors"]);
}

/// Ctrl-C in a start phase leaves a folder without a checkpoint: what is printed is a command that goes on.
#[test]
fn what_is_printed_on_an_interruption_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("r");
    let command = || small(&out, &["--after-random-labels", "12"]);
    let mut child = command().stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let logs = || -> Vec<PathBuf> {
        let starts = std::fs::read_dir(&out).into_iter().flatten();
        let all = starts.map(|entry| entry.unwrap().path().join("log.jsonl"));
        all.filter(|log| log.metadata().is_ok_and(|log| log.len() > 0)).collect()
    };
    let started = Instant::now();
    while logs().is_empty() {
        assert!(started.elapsed() < Duration::from_secs(60), "the start logs nothing");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
    assert!(said.contains("the same command goes on") && !said.contains("--resume"), "{said}");
    assert!(!out.join("checkpoint.safetensors").exists());
    done(command());
    assert!(out.join("row.json").exists());
}

/// Without --out a folder is named by the flags: more epochs are another folder, and which run is near is said.
#[test]
fn a_run_with_other_flags_and_no_folder_is_told_which_run_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let at = |epochs: &str, more: &[&str]| {
        let mut command = msharp(&["train", "--subset", "32", "--test-subset", "20", "--batch-size", "16", "--epochs"]);
        command.arg(epochs).args(more).env_remove("CARGO_MANIFEST_DIR").current_dir(folder.path());
        command
    };
    done(at("1", &[]));
    refused(at("2", &["--resume"]), &["--resume needs", "resnet8-sam-seed0-", "--epochs was 1 and is 2"]);
}

fn predict(weights: &Path, input: &Path, output: &Path, more: &[&str]) -> Command {
    let [weights, input, output] = [weights, input, output].map(|path| path.to_str().unwrap());
    let mut command = msharp(&["predict", "--model", "resnet8", "--weights", weights, "--input", input]);
    command.args(["--output", output]).args(more);
    command
}

fn save(path: &Path, tensors: HashMap<String, Tensor>) {
    candle_core::safetensors::save(&tensors, path).unwrap();
}

#[test]
fn weights_keep_their_meaning_and_inputs_that_cannot_be_right_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (run, path) = (folder.path().join("r"), |name: &str| folder.path().join(name));
    done(small(&run, &["--norm", "group"]));
    let (weights, checkpoint) = (run.join("weights.safetensors"), run.join("checkpoint.safetensors"));
    let image = |name: &str, image: Tensor| {
        save(&path(name), HashMap::from([("input".to_owned(), image)]));
        path(name)
    };
    let normal = Tensor::rand(-1f32, 1., (2, 3, 32, 32), &Device::Cpu).unwrap();
    let good = image("good", normal.clone());
    let logits = |weights: &Path, more: &[&str]| {
        let said = done(predict(weights, &good, &path("out"), more));
        let all = candle_core::safetensors::load(path("out"), &Device::Cpu).unwrap();
        (all["logits"].to_vec2::<f32>().unwrap(), said)
    };
    let (expected, _) = logits(&weights, &[]);
    assert_eq!(logits(&weights, &["--norm", "group"]).0, expected);
    assert_eq!(logits(&checkpoint, &[]).0, expected, "a checkpoint says what its weights are of");
    for weights in [&weights, &checkpoint] {
        refused(
            predict(weights, &good, &path("out"), &["--norm", "group-8"]),
            &["--norm group-32", "--norm is group-8"],
        );
        let other = ["--model", "resnet20"];
        let mut command = predict(weights, &good, &path("out"), &[]);
        command.args(other);
        assert!(!command.output().unwrap().status.success());
    }

    // Of PyTorch's DataParallel: names with a prefix, nothing about the network.
    let plain = candle_core::safetensors::load(&weights, &Device::Cpu).unwrap();
    save(&path("parallel"), plain.iter().map(|(name, t)| (format!("module.{name}"), t.clone())).collect());
    let (found, said) = logits(&path("parallel"), &["--norm", "group"]);
    assert!(found == expected && said.contains("\"module.\""), "{said}");

    save(&path("plain"), plain.clone());
    let bytes = Tensor::rand(0f32, 255., (2, 3, 32, 32), &Device::Cpu).unwrap().to_dtype(DType::U8).unwrap();
    let whole = bytes.to_dtype(DType::F32).unwrap();
    let mut undefined = vec![0f32; 3 * 32 * 32];
    undefined[7] = f32::NAN;
    let undefined = Tensor::from_vec(undefined, (1, 3, 32, 32), &Device::Cpu).unwrap();
    for (name, tensor, part) in [
        ("bytes", bytes, "elements of U8"),
        ("whole", whole.clone(), "whole numbers from 0 to"),
        ("scaled", (whole * 0.05).unwrap(), "channel 0"),
        ("undefined", undefined, "not finite"),
    ] {
        let input = image(name, tensor);
        let parts = ["\"input\"", part];
        refused(predict(&weights, &input, &path("none"), &[]), &parts);
        if name != "scaled" {
            refused(predict(&path("plain"), &input, &path("none"), &["--norm", "group"]), &parts);
        }
    }
    let mut broken = plain;
    let matrix = broken["fc.weight"].affine(f64::NAN, 0.).unwrap();
    broken.insert("fc.weight".to_owned(), matrix);
    save(&path("broken"), broken);
    refused(
        predict(&path("broken"), &good, &path("none"), &["--norm", "group"]),
        &["logits of 2 of 2 images", "finite"],
    );
    assert!(!path("none").exists(), "nothing is written");
    refused(predict(&weights, &good, &weights, &[]), &["--output", "--weights"]);
    refused(predict(&weights, &good, &run, &[]), &["cannot write"]);
}

/// Pictures through weights from elsewhere are resized and normalised as the `config.json` beside them says.
#[test]
fn predictions_follow_the_configuration_beside_the_weights() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let run = path("r");
    done(small(&run, &["--norm", "group"]));
    save(&path("plain"), candle_core::safetensors::load(run.join("weights.safetensors"), &Device::Cpu).unwrap());
    let mut picture = b"P6 48 40 255\n".to_vec();
    picture.extend((0..48 * 40 * 3).map(|i: u32| (i * i / 7 % 251) as u8));
    std::fs::write(path("picture.ppm"), picture).unwrap();
    let (weights, picture) = (path("plain"), path("picture.ppm"));
    let [weights, picture] = [&weights, &picture].map(|path| path.to_str().unwrap());
    let predict = |more: &[&str]| {
        let mut command = msharp(&["predict", "--model", "resnet8", "--norm", "group", "--weights", weights]);
        command.args(more);
        command
    };
    let of_picture = |more: &[&str]| predict(&[&[picture], more].concat());
    let printed = |command: &mut Command| text(&command.output().unwrap().stdout);
    refused(of_picture(&[]), &["expected --mean and --std"]);
    let normalised = ["--mean", "0.4,0.5,0.6", "--std", "0.2,0.2,0.2"];
    let plain = printed(&mut of_picture(&normalised));
    assert!(plain.contains('%'), "{plain}");
    let beside = |more: &str| {
        let text = format!(r#"{{"pretrained_cfg": {{"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.2, 0.2]{more}}}}}"#);
        std::fs::write(path("config.json"), text).unwrap();
    };
    beside("");
    assert_eq!(printed(&mut of_picture(&[])), plain);
    beside(r#", "interpolation": "bilinear", "crop_pct": 0.8"#);
    let cropped = printed(&mut of_picture(&[]));
    assert_ne!(cropped, plain);
    assert_eq!(printed(&mut of_picture(&["--interpolation", "bilinear", "--crop-pct", "0.8"])), cropped);
    beside(r#", "interpolation": "lanczos""#);
    refused(of_picture(&[]), &["config.json", "lanczos", "--interpolation"]);
    beside(r#", "crop_mode": "squash""#);
    refused(of_picture(&[]), &["config.json", "squash", "--crop-pct"]);
    // Images that are neither resized nor cropped need none of that.
    beside(r#", "crop_mode": "squash", "interpolation": "lanczos""#);
    let evaluate = ["evaluate", "--model", "resnet8", "--norm", "group", "--weights", weights, "--data", "synthetic"];
    let on_synthetic = |more: &[&str]| printed(msharp(&evaluate).args(["--test-subset", "20"]).args(more));
    let with_file = on_synthetic(&[]);
    beside("");
    assert!(with_file.contains("top-1") && with_file == on_synthetic(&[]), "{with_file}");

    refused(of_picture(&["--mean", "124,116,103", "--std", "58,57,57"]), &["--mean is 124,116,103", "255"]);
    refused(of_picture(&["--output", "o"]), &["--output"]);
    refused(of_picture(&["--batch-size", "7"]), &["--batch-size"]);
    refused(predict(&["--input", "i", "--output", "o", "--crop-pct", "0.8"]), &["--crop-pct"]);
    refused(msharp(&["evaluate", "--model", "resnet8", "--norm", "group", "--weights", weights]), &["--data"]);
    let mut to_full = of_picture(&[]);
    to_full.stdout(std::fs::File::create("/dev/full").unwrap());
    refused(to_full, &["cannot write to standard output"]);
}

//! The program as a person meets it: what it does, and what it says to bad input.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use candle_core::safetensors::load;
use candle_core::{DType, Device, Tensor};
use clap::Args;
use msharp_lab::config::RunConfig;
use msharp_lab::run::CHECKPOINT_EVERY;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn msharp(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_msharp"));
    command.args(args).env("RUST_BACKTRACE", "1"); // candle appends backtraces then, and a person must not see them
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a command that must fail, with one line on standard error that has all of `parts`.
#[track_caller]
fn refused(args: &[&str], parts: &[&str]) {
    let Output { status, stderr, .. } = msharp(args).output().unwrap();
    let said = text(&stderr);
    assert!(!status.success(), "{args:?} succeeded");
    assert_eq!(said.lines().count(), 1, "{args:?} said more than a line:\n{said}");
    for part in parts {
        assert!(said.contains(part), "{args:?} does not say {part:?}: {said}");
    }
}

/// A run of a few seconds: 96 images, batches of 16, two epochs.
fn small<'a>(folder: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["train", "--subset", "96", "--test-subset", "50", "--batch-size", "16", "--epochs", "2"];
    args.extend(["--out", folder]);
    args.extend(more);
    args
}

#[test]
fn bad_flags_are_named_on_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    refused(&["train", "--model", "resnet19"], &["--model", "resnet19", "resnet18"]);
    refused(&["train", "--rule", "sham"], &["--rule", "sham", "rw-sam"]);
    refused(&["train", "--rho", "-1"], &["--rho is -1", "above 0"]);
    refused(&["train", "--rule", "sam:rho=0.1", "--rho", "0.2"], &["--rho is 0.2", "once"]);
    refused(&["train", "--rho", "NaN"], &["--rho", "NaN", "expected"]);
    refused(&["train", "--rule", "rw-sam:lambda=NaN"], &["--rule", "lambda", "expected"]);
    refused(&["train", "--rule", "esam:k=3"], &["--rule", "esam", "k", "rho, beta, gamma"]);
    refused(&["train", "--delta", "-1e-5"], &["--delta", "above 0"]);
    refused(&["train", "--micro-batch", "0"], &["--micro-batch", "from 1"]);
    refused(&["train", "--micro-batch", "256"], &["--micro-batch", "256", "128"]);
    refused(&["train", "--subset", "0"], &["--subset", "at least 1"]);
    refused(&["train", "--subset", "1000000", "--out", out], &["subset", "1000000", "10000"]);
    refused(&["train", "--validation", "0"], &["--validation", "at least 1"]);
    refused(&["train", "--validation", "10000", "--out", out], &["--validation", "10000 images", "fewer"]);
    refused(&["train", "--validation", "9000", "--subset", "1000", "--out", out], &["--subset", "1000", "fewer"]);
    refused(&["train", "--validation", "100", "--test-subset", "100", "--out", out], &["--test-subset", "fewer"]);
    refused(&["train", "--norm", "layer"], &["--norm", "layer", "batch"]);
    refused(&["train", "--model", "vit-mini", "--norm", "group"], &["--norm", "group-32", "vit-mini"]);
    refused(&["train", "--model", "vit-tiny"], &["--model", "vit_tiny_patch16_224", "--image-size 224"]);
    refused(&["train", "--schedule", "linear"], &["--schedule", "linear", "cosine"]);
    refused(&["train", "--threads", "0"], &["--threads", "at least 1"]);
    refused(&["train", "--data-dir", out], &["--data-dir", "--data is synthetic"]);
    let evaluate = ["evaluate", "--weights", out, "--data", "synthetic", "--data-dir", out];
    refused(&evaluate, &["--data-dir", "--data is synthetic"]);
    refused(&["data", "fetch"], &["cifar10", "cifar100"]);
    refused(&["data", "fetch", "synthetic"], &["synthetic", "cifar10, cifar100"]);
}

#[test]
fn bad_files_are_named_on_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (data, out) = (path("data"), path("out"));

    let on_cifar = |name: &'static str| {
        ["train", "--data", name, "--data-dir"].into_iter().chain([data.as_str(), "--out", out.as_str()]).collect()
    };
    let cifar: Vec<&str> = on_cifar("cifar10");
    refused(&cifar, &["data_batch_1.bin", "data fetch cifar10"]);
    std::fs::create_dir_all(folder.path().join("data/cifar-10-batches-bin")).unwrap();
    std::fs::write(folder.path().join("data/cifar-10-batches-bin/data_batch_1.bin"), [0; 3072]).unwrap();
    refused(&cifar, &["data_batch_1.bin", "3072", "30730000"]);
    refused(&["data", "verify", "--data-dir", &data], &["data_batch_1.bin"]);

    std::fs::write(folder.path().join("file"), b"").unwrap();
    refused(&small(&path("file"), &[]), &["file"]);
    refused(&small(&out, &["--resume"]), &["--resume", "checkpoint.safetensors"]);

    let missing = path("none.safetensors");
    let predict = |weights: &str, input: &str| {
        let args =
            ["predict", "--model", "resnet8", "--norm", "batch", "--weights", weights, "--input", input, "--output"];
        args.into_iter().chain([out.as_str()]).map(str::to_owned).collect::<Vec<_>>()
    };
    let refused_prediction = |weights: &str, input: &str, parts: &[&str]| {
        let args = predict(weights, input);
        refused(&args.iter().map(String::as_str).collect::<Vec<_>>(), parts);
    };
    refused_prediction(&missing, &missing, &["none.safetensors"]);
    let other = path("other.safetensors");
    let tensor = Tensor::zeros((2, 3), DType::F32, &Device::Cpu).unwrap();
    candle_core::safetensors::save(&[("fc.weight".to_owned(), tensor)].into(), &other).unwrap();
    refused_prediction(&other, &missing, &["other.safetensors", "resnet8", "bn1.bias"]);
}

#[test]
fn an_interrupted_run_goes_on_and_ends_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let rule = ["--rule", "rw-sam:lambda=4", "--seed", "3"];
    let (whole, parts) = (path("whole"), path("parts"));
    assert!(msharp(&small(&whole, &rule)).output().unwrap().status.success());

    let args = small(&parts, &rule);
    let mut child = msharp(&args).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    while !Path::new(&parts).join("log.jsonl").metadata().is_ok_and(|file| file.len() > 0) {
        assert!(started.elapsed() < Duration::from_secs(60), "the run logs nothing");
        std::thread::sleep(Duration::from_millis(5));
    }
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupted.unwrap().success());
    let code = child.wait().unwrap().code();
    assert_eq!(code, Some(130), "the run is stopped in its first steps");
    assert!(!Path::new(&parts).join("row.json").exists());

    refused(&args, &["already holds a run", "--resume"]);
    let resumed: Vec<&str> = args.iter().copied().chain(["--resume"]).collect();
    refused(
        &resumed.iter().copied().chain(["--lr", "0.2"]).collect::<Vec<_>>(),
        &["checkpoint", "--lr was 0.1 and is 0.2"],
    );
    let longer: Vec<&str> = resumed.iter().map(|arg| if *arg == "2" { "3" } else { *arg }).collect();
    refused(&longer, &["--epochs was 2 and is 3", "start another one"]);
    let config = std::fs::read_to_string(Path::new(&parts).join("config.json")).unwrap();
    assert!(!config.contains("\"lr\""), "a refused run changes nothing: {config}");
    let output = msharp(&resumed).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));

    let weights = |folder: &str| {
        let tensors = load(Path::new(folder).join("weights.safetensors"), &Device::Cpu).unwrap();
        let bits = |t: &Tensor| t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let mut named: Vec<_> = tensors.iter().map(|(name, tensor)| (name.clone(), bits(tensor))).collect();
        named.sort_by(|a, b| a.0.cmp(&b.0));
        named
    };
    assert_eq!(weights(&whole), weights(&parts));

    let line = |folder: &str| std::fs::read_to_string(Path::new(folder).join("epochs.csv")).unwrap();
    let accuracies = |csv: String| -> Vec<String> {
        csv.lines().map(|line| line.split(',').take(4).collect::<Vec<_>>().join(",")).collect()
    };
    assert_eq!(accuracies(line(&whole)), accuracies(line(&parts)));

    // the weights go on to `predict`, in evaluation mode, a sample's logits alone as in the batch
    let input = path("in.safetensors");
    let images = Tensor::rand(-1f32, 1., (5, 3, 32, 32), &Device::Cpu).unwrap();
    candle_core::safetensors::save(&[("input".to_owned(), images)].into(), &input).unwrap();
    let logits = |weights: &str, batch: &str| {
        let (weights, output) = (Path::new(&whole).join(weights), path("out.safetensors"));
        let weights = weights.to_str().unwrap();
        let args = ["predict", "--model", "resnet8", "--weights", weights, "--input", &input];
        let run = msharp(&args).args(["--output", &output, "--batch-size", batch]).output().unwrap();
        assert!(run.status.success(), "{}", text(&run.stderr));
        load(&output, &Device::Cpu).unwrap()["logits"].to_vec2::<f32>().unwrap()
    };
    let once = logits("weights.safetensors", "5");
    assert_eq!((once.len(), once[0].len()), (5, 10));
    assert_eq!(once, logits("weights.safetensors", "1"));
    assert_eq!(once, logits("checkpoint.safetensors", "2"), "a checkpoint serves as weights");
}

#[test]
fn what_a_launcher_says_and_cannot_be_served_is_an_error_that_names_the_variable() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    for (variables, part) in [
        (&[("WORLD_SIZE", "2"), ("RANK", "0")][..], "WORLD_SIZE is 2"),
        (&[("WORLD_SIZE", "two"), ("RANK", "0")], "WORLD_SIZE is \"two\""),
        (&[("PMI_SIZE", "2")], "PMI_RANK is not set"),
    ] {
        let output = msharp(&small(out, &[])).envs(variables.iter().copied()).output().unwrap();
        let said = text(&output.stderr);
        assert!(!output.status.success() && said.contains(part) && said.contains("expected"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    refused(&small(out, &["--local-perturbation"]), &["--local-perturbation", "--micro-batch"]);
    refused(&small(out, &["--sync-batch-norm"]), &["--sync-batch-norm", "this is one process"]);
}

#[test]
fn a_run_that_diverges_says_where_and_fails() {
    for rule in [&["sgd"][..], &["sam"], &["rw-sam:lambda=4"]] {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().to_str().unwrap();
        let flags = [&["--lr", "1e20", "--rule"], rule].concat();
        let output = msharp(&small(out, &flags)).output().unwrap();
        assert!(!output.status.success());
        assert!(text(&output.stderr).lines().last().unwrap().contains("diverged"), "{}", text(&output.stderr));
        let row = std::fs::read_to_string(folder.path().join("row.json")).unwrap();
        assert!(row.contains("\"diverged\":{\"epoch\":0,\"step\":"), "{row}");
    }
}

/// A run of a vision transformer, and its weights in `predict`.
#[test]
fn a_vision_transformer_trains_and_predicts() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let run = path("run");
    let output = msharp(&small(&run, &["--model", "vit-mini", "--lr", "0.01"])).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let (input, logits, weights) = (path("in.safetensors"), path("out.safetensors"), path("run/weights.safetensors"));
    let images = Tensor::rand(-1f32, 1., (3, 3, 32, 32), &Device::Cpu).unwrap();
    candle_core::safetensors::save(&[("input".to_owned(), images)].into(), &input).unwrap();
    let predict = ["predict", "--model", "vit-mini", "--weights", &weights, "--input", &input, "--output", &logits];
    let output = msharp(&predict).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(load(&logits, &Device::Cpu).unwrap()["logits"].dims(), [3, 10]);
    let other = ["predict", "--model", "resnet8", "--weights", &weights, "--input", &input, "--output", &logits];
    refused(&other, &["holds the weights of vit-mini", "--model is resnet8"]);
    let evaluated = |file: &str| {
        let output = msharp(&["evaluate", "--test-subset", "32", "--weights", &path(file)]).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    assert_eq!(evaluated("run/checkpoint.safetensors"), evaluated("run/weights.safetensors"));
    let elsewhere = ["train", "--model", "vit-mini", "--data", "thumbnails"];
    refused(&elsewhere, &["images of 32×32, and those of --data are 16×16"]);
}

/// Settings are chosen on images that are neither trained nor tested on.
#[test]
fn a_run_is_tested_on_images_that_were_held_out_and_its_weights_on_the_test_images() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run").to_str().unwrap().to_owned();
    let mut train = vec!["train", "--subset", "96", "--validation", "40", "--train-accuracy", "--batch-size", "16"];
    train.extend(["--epochs", "1", "--out", &run]);
    let output = msharp(&train).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    let line = |start: &str| said.lines().any(|line| line.starts_with(start) && line.contains(" %"));
    assert!(line("validation") && line("train accuracy") && !line("test accuracy"), "{said}");
    let row = std::fs::read_to_string(format!("{run}/row.json")).unwrap();
    let row: serde_json::Value = serde_json::from_str(&row).unwrap();
    let measures = &row["content"]["curve"][0]["measures"];
    let share = |value: &serde_json::Value, n: f64| {
        let images = n * value.as_f64().unwrap();
        assert!((images - images.round()).abs() < 1e-9, "{images}");
    };
    share(&measures["train_accuracy"], 96.);
    share(&row["content"]["metrics"]["test_accuracy"], 40.);
    let weights = format!("{run}/weights.safetensors");
    let output = msharp(&["evaluate", "--weights", &weights]).output().unwrap();
    assert!(text(&output.stdout).contains("of 2000 images"), "{}{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn weights_of_a_deeper_network_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (weights, none) = (folder.path().join("resnet20.safetensors"), folder.path().join("none"));
    let (weights, none) = (weights.to_str().unwrap(), none.to_str().unwrap());
    for (norm, about) in [("batch", "layer1.1"), ("group", "--norm")] {
        let init = msharp_core::Seeded::new(0, DType::F32, &Device::Cpu);
        let network: msharp_models::Architecture = "resnet20".parse().unwrap();
        network.build(norm.parse().unwrap(), 10, init.var_builder()).unwrap();
        init.params().unwrap().save(Path::new(weights)).unwrap();
        let args = ["predict", "--model", "resnet8", "--weights", weights, "--input", none, "--output", none];
        refused(&args, &["resnet20.safetensors", about]);
    }
}

/// A command without its subcommand shows the help as it is.
#[test]
fn nothing_is_answered_with_help() {
    for args in [&[][..], &["data"]] {
        let said = text(&msharp(args).output().unwrap().stderr);
        assert!(said.lines().count() > 5 && said.contains("Usage: msharp"), "{said}");
    }
}

#[test]
fn help_documents_every_flag() {
    let help = text(&msharp(&["train", "--help"]).output().unwrap().stdout);
    let all = text(&msharp(&["train", "--help-all"]).output().unwrap().stdout);
    for flag in ["--model", "--norm", "--data-dir", "--rho", "--micro-batch", "--rule", "--delta", "--help-all"] {
        assert!(help.contains(flag) && all.contains(flag), "{flag}");
    }
    let every = RunConfig::augment_args(clap::Command::new("train"));
    for flag in every.get_arguments().filter_map(|arg| arg.get_long()) {
        assert!(
            all.contains(&format!("--{flag} ")) || all.contains(&format!("--{flag}\n")),
            "--{flag} is not in {all}"
        );
    }
    assert!(all.starts_with("Examples:") && all.lines().count() > help.lines().count());
    assert!(!help.contains("--rho-groups"), "rarer flags are in --help-all");
    let seconds = CHECKPOINT_EVERY.as_secs();
    assert!(help.split_whitespace().collect::<Vec<_>>().join(" ").contains(&format!("written every {seconds} s")));
}

#[test]
fn the_catalogue_is_listed_and_described() {
    let said = |args: &[&str]| text(&msharp(args).output().unwrap().stdout);
    let all = said(&["rules"]);
    for part in ["sgd", "esam:rho=0.1,beta=0.6,gamma=0.5", "sampa:rho=0.1,lambda=0.2", "delta-sam", "--micro-batch"] {
        assert!(all.contains(part), "{part} is missing from {all}");
    }
    let esam = said(&["rules", "esam"]);
    for part in ["ESAM", "gamma=0.5", "⌊γb⌋", "2 + 2", "Du et al., ICLR 2022"] {
        assert!(esam.contains(part), "{part} is missing from {esam}");
    }
    assert!(said(&["rules", "--offsets"]).contains("unified:l=0.5"));
    assert!(said(&["rules", "--combinations"]).contains("look-sam:k=5,alpha=0.7"));
    refused(&["rules", "esma"], &["esma", "esam"]);
}

/// Examples first, and no more than two screens of 50 lines, at 100 columns.
#[test]
fn the_help_of_every_command_begins_with_examples() {
    for command in ["train", "evaluate", "predict", "rules", "data", "runs"] {
        let help = text(&msharp(&[command, "--help"]).output().unwrap().stdout);
        assert!(help.starts_with("Examples:\n  msharp "), "{command}: {help}");
        assert!(help.lines().count() <= 100, "{command}: {} lines", help.lines().count());
    }
}

//! The command line as a person meets it: what it does, and what it says to bad input.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use candle_core::safetensors::load;
use candle_core::{DType, Device, Tensor};
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
    refused(&["train", "--rho", "-1"], &["--rho", "-1", "at least 0"]);
    refused(&["train", "--rho", "NaN"], &["--rho", "NaN", "expected"]);
    refused(&["train", "--rule", "rw-sam:lambda=NaN"], &["--rule", "lambda", "expected"]);
    refused(&["train", "--rule", "esam:k=3"], &["--rule", "esam", "k", "rho, beta, gamma"]);
    refused(&["train", "--delta", "-1e-5"], &["--delta", "above 0"]);
    refused(&["train", "--micro-batch", "0"], &["--micro-batch", "from 1"]);
    refused(&["train", "--micro-batch", "256"], &["--micro-batch", "256", "128"]);
    refused(&["train", "--subset", "0"], &["--subset", "at least 1"]);
    refused(&["train", "--subset", "1000000", "--out", out], &["subset", "1000000", "10000"]);
    refused(&["train", "--norm", "layer"], &["--norm", "layer", "batch"]);
    refused(&["train", "--model", "vit-mini", "--norm", "group"], &["--norm", "group-32", "vit-mini"]);
    refused(&["train", "--model", "vit-tiny"], &["--model", "vit-tiny", "224", "vit-mini"]);
    refused(&["train", "--schedule", "linear"], &["--schedule", "linear", "cosine"]);
    refused(&["train", "--threads", "0"], &["--threads", "at least 1"]);
    refused(&["reproduce", "cifar11"], &["cifar11", "cifar10", "toy"]);
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
    assert!(xtask(&small(&whole, &rule)).output().unwrap().status.success());

    let args = small(&parts, &rule);
    let mut child = xtask(&args).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
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
    refused(&resumed.iter().copied().chain(["--lr", "0.2"]).collect::<Vec<_>>(), &["checkpoint", "--lr"]);
    let config = std::fs::read_to_string(Path::new(&parts).join("config.json")).unwrap();
    assert!(config.contains("\"lr\":0.1"), "a refused run changes nothing: {config}");
    let output = xtask(&resumed).output().unwrap();
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
        let run = xtask(&args).args(["--output", &output, "--batch-size", batch]).output().unwrap();
        assert!(run.status.success(), "{}", text(&run.stderr));
        load(&output, &Device::Cpu).unwrap()["logits"].to_vec2::<f32>().unwrap()
    };
    let once = logits("weights.safetensors", "5");
    assert_eq!((once.len(), once[0].len()), (5, 10));
    assert_eq!(once, logits("weights.safetensors", "1"));
    assert_eq!(once, logits("checkpoint.safetensors", "2"), "a checkpoint serves as weights");
}

#[test]
fn a_run_that_diverges_says_where_and_fails() {
    for rule in [&["sgd"][..], &["sam"], &["rw-sam:lambda=4"]] {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().to_str().unwrap();
        let flags = [&["--lr", "1e20", "--rule"], rule].concat();
        let output = xtask(&small(out, &flags)).output().unwrap();
        assert!(!output.status.success());
        assert!(text(&output.stderr).lines().last().unwrap().contains("diverged"), "{}", text(&output.stderr));
        let row = std::fs::read_to_string(folder.path().join("row.json")).unwrap();
        assert!(row.contains("\"diverged\":{\"epoch\":0,\"step\":"), "{row}");
    }
}

#[test]
fn the_readme_and_the_plots_are_what_the_rows_say() {
    let output = xtask(&["report", "--check"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// A run of a vision transformer, and its weights in `predict`.
#[test]
fn a_vision_transformer_trains_and_predicts() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let run = path("run");
    let output = xtask(&small(&run, &["--model", "vit-mini", "--lr", "0.01"])).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let (input, logits, weights) = (path("in.safetensors"), path("out.safetensors"), path("run/weights.safetensors"));
    let images = Tensor::rand(-1f32, 1., (3, 3, 32, 32), &Device::Cpu).unwrap();
    candle_core::safetensors::save(&[("input".to_owned(), images)].into(), &input).unwrap();
    let predict = ["predict", "--model", "vit-mini", "--weights", &weights, "--input", &input, "--output", &logits];
    let output = xtask(&predict).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(load(&logits, &Device::Cpu).unwrap()["logits"].dims(), [3, 10]);
    let other = ["predict", "--model", "resnet8", "--weights", &weights, "--input", &input, "--output", &logits];
    refused(&other, &["holds the weights of vit-mini", "--model is resnet8"]);
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

/// `kill -9` after the first run: the second call trains the other three, the third none.
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
    let (all, said) = again("4 runs, 1 done before");
    assert!(all.starts_with(&first) && all.lines().count() == 4, "the row of the run that was done is kept");
    assert!(said.contains("| SGD |") && said.contains("| RW-SAM (m_eff = 16) |"), "{said}");
    assert_eq!(again("4 runs, 4 done before").0, all);
}

/// A command without its subcommand shows the help as it is.
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
        for number in ["median_ms", "min_ms", "img_per_s", "gflop_per_s", "share_of_peak"] {
            assert!(line[number].as_f64().unwrap() > 0., "{number} of {line}");
        }
        assert!(line["pytorch_ms"].is_null() && line["ratio"].is_null(), "{line}");
        assert!(cfg!(not(target_os = "linux")) || line["peak_mb"].as_f64().unwrap() > 1., "{line}");
    }

    let ops = with(&["ops", "--rule", "sgd"]);
    let of = |line: &serde_json::Value| line["op"].as_str().unwrap().to_owned();
    assert!(ops.iter().any(|line| of(line).contains("conv 3×3/1 16→16 at 32×32 dw")), "{ops:?}");
    assert_eq!(ops.last().map(of), Some("the rest".to_owned()));

    let micro = with(&["m", "--m", "1,4"]);
    let sizes: Vec<_> = micro.iter().map(|line| (line["rule"].as_str().unwrap(), line["m"].as_u64())).collect();
    assert_eq!(sizes, [("m-sam", Some(1)), ("m-sam", Some(4)), ("sam", None), ("rw-sam", None)]);

    refused(&["bench", "step", "--rule", "sham"], &["--rule", "sham", "rw-sam"]);
    refused(&["bench", "ops", "--batch", "0"], &["--batch", "at least 1"]);
    refused(&["bench", "m", "--m", "0"], &["--m", "at least 1"]);
}

#[test]
fn nothing_is_answered_with_help() {
    for args in [&[][..], &["data"], &["cuda"]] {
        let said = text(&xtask(args).output().unwrap().stderr);
        assert!(said.lines().count() > 5 && said.contains("Usage: cargo xtask"), "{said}");
    }
}

#[test]
fn help_documents_every_flag() {
    let help = text(&xtask(&["train", "--help"]).output().unwrap().stdout);
    for flag in ["--model", "--norm", "--data-dir", "--rho", "--micro-batch", "--rule", "--offset", "--delta"] {
        assert!(help.contains(flag), "{flag}");
    }
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
    for program in ["xtask", "test-ops", "test-runs"] {
        std::fs::copy("/bin/true", folder.path().join(program)).unwrap();
    }
    let run = |args: &[&str]| {
        let mut bash = Command::new("bash");
        bash.arg(folder.path().join("run.sh")).args(args).env("OUT", folder.path().join("out")).output().unwrap()
    };
    let help = text(&run(&["help"]).stdout);
    for command in ["all", "test", "learn", "bench", "paper"] {
        assert!(help.contains(&format!("run.sh {command} ")), "{help}");
    }
    assert!(!folder.path().join("out").exists(), "help writes nothing");
    let unknown = run(&["tset"]);
    assert!(!unknown.status.success() && text(&unknown.stderr).contains("tset"), "{}", text(&unknown.stderr));

    let tested = run(&["test"]);
    assert!(tested.status.success(), "{}{}", text(&tested.stdout), text(&tested.stderr));
    assert!(text(&tested.stdout).contains("== test-runs"), "{}", text(&tested.stdout));
    let written = |folder: &Path| {
        let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(written(&folder.path().join("out")), ["about.txt", "test.log"]);
    assert_eq!(written(folder.path()), ["out", "run.sh", "test-ops", "test-runs", "xtask"]);
    let unpacked = run(&["paper"]);
    assert!(text(&unpacked.stderr).contains("cifar10.tar.xz.00"), "{}", text(&unpacked.stderr));
}

#[test]
fn the_catalogue_is_listed_and_described() {
    let said = |args: &[&str]| text(&xtask(args).output().unwrap().stdout);
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

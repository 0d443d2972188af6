//! Noise on the command line: logged beside a run without touching it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::process::{Command, Output};

fn msharp(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_msharp"));
    command.args(args);
    command
}

fn ended(args: &[&str]) -> Output {
    let output = msharp(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn read(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap()
}

#[test]
fn logging_the_noise_of_a_run_changes_no_bit_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, more: &[&str]| {
        let out = folder.path().join(name);
        let mut args = vec!["train", "--subset", "48", "--test-subset", "20", "--batch-size", "16", "--epochs", "2"];
        args.extend(["--rule", "rw-sam:lambda=4", "--out", out.to_str().unwrap()]);
        args.extend(more);
        ended(&args);
        out
    };
    let plain = run("plain", &[]);
    let logged = run("logged", &["--noise-every", "2", "--noise-samples", "6"]);
    let weights = |folder: &Path| -> std::collections::BTreeMap<String, Vec<f64>> {
        let tensors = candle_core::safetensors::load(folder.join("weights.safetensors"), &candle_core::Device::Cpu);
        let values = |t: candle_core::Tensor| t.to_dtype(candle_core::DType::F64)?.flatten_all()?.to_vec1();
        tensors.unwrap().into_iter().map(|(name, t)| (name, values(t).unwrap())).collect()
    };
    assert!(weights(&plain) == weights(&logged), "the weights differ");

    let lines = |folder: &Path| -> Vec<serde_json::Value> {
        let text = read(folder, "log.jsonl");
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .filter(|line: &serde_json::Value| line["kind"] == "step")
            .collect()
    };
    assert!(lines(&plain).iter().all(|line| line["noise_trace"].is_null()));
    let measured = lines(&logged);
    let at: Vec<(u64, u64)> = measured
        .iter()
        .filter(|line| line["noise_trace"].as_f64().is_some_and(|trace| trace > 0.))
        .map(|line| (line["epoch"].as_u64().unwrap(), line["step"].as_u64().unwrap()))
        .collect();
    assert_eq!(at, [(0, 0), (0, 2), (1, 1)], "every other step of the run, three an epoch");
    for name in ["noise_mean_norm", "noise_q05", "noise_q50", "noise_q95", "noise_octave_0", "m_eff"] {
        assert!(measured[0][name].is_number(), "{name} of {}", measured[0]);
    }
    let row: serde_json::Value = serde_json::from_str(&read(&logged, "row.json")).unwrap();
    assert!(row["content"]["metrics"]["measures"]["noise_q50"].as_f64().unwrap() > 0.);
    let measuring = &row["content"]["config"]["measuring"];
    assert_eq!((&measuring["noise_every"], &measuring["noise_samples"]), (&2.into(), &6.into()));
    let cost = |folder: &Path| {
        let row: serde_json::Value = serde_json::from_str(&read(folder, "row.json")).unwrap();
        (row["content"]["cost"]["forward"].clone(), row["content"]["cost"]["backward"].clone())
    };
    assert_eq!(cost(&plain), cost(&logged), "the passes of the rule are the rule's own");
}

#[test]
fn bad_flags_of_noise_are_named() {
    for (args, parts) in [
        (&["train", "--noise-samples", "1"][..], &["--noise-samples", "from 2"][..]),
        (&["train", "--noise-estimator", "last-layer"], &["--noise-estimator", "exact"]),
        (&["train", "--adapt-delta", "--delta", "1e-5"], &["--adapt-delta", "--delta"]),
    ] {
        let Output { status, stderr, .. } = msharp(args).output().unwrap();
        let said = String::from_utf8_lossy(&stderr);
        assert!(!status.success() && said.lines().count() == 1, "{args:?}: {said}");
        parts.iter().for_each(|part| assert!(said.contains(part), "{args:?} does not say {part}: {said}"));
    }
}

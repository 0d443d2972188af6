//! Whole runs under `mpirun`: what several processes compute, and how they end.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod whole;

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use whole::{distance, fails, pictures, signal, small, start, succeeds, text, wait_for_steps, weights};

/// `mpirun -n N msharp train …` for each of `groups`, on one thread a rank.
fn mpirun(groups: &[(usize, &[&str])]) -> Command {
    let mut command = Command::new("mpirun");
    command.args(["--allow-run-as-root", "--oversubscribe"]);
    for (i, (ranks, flags)) in groups.iter().enumerate() {
        if i > 0 {
            command.arg(":");
        }
        command.args(["-n", &ranks.to_string(), env!("CARGO_BIN_EXE_msharp"), "train", "--threads", "1"]).args(*flags);
    }
    command
}

/// The process of a rank that `mpirun` has started.
fn process(mpirun: &Child, rank: usize) -> String {
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", mpirun.id())).unwrap();
    let wanted = format!("OMPI_COMM_WORLD_RANK={rank}");
    let is_wanted = |pid: &&str| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
    };
    children.split_whitespace().find(is_wanted).expect("the process of a rank").to_owned()
}

#[test]
fn ranks_train_what_one_process_trains_and_repeat_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let mut ends: Vec<Vec<f64>> = Vec::new();
    for rule in [&["--lr", "0.01", "--rule", "sam"][..], &["--lr", "0.01", "--rule", "m-sam:m=4"]] {
        let (alone, two, four, again) = (path("alone"), path("two"), path("four"), path("again"));
        let mut one = Command::new(env!("CARGO_BIN_EXE_msharp"));
        one.arg("train").args(small(&alone, rule));
        succeeds(one);
        for (ranks, out) in [(2, &two), (4, &four), (4, &again)] {
            let output = succeeds(mpirun(&[(ranks, &small(out, rule))]));
            let said = text(&output.stdout);
            assert_eq!(said.matches("training loss").count(), 1, "rank 0 alone prints: {said}");
            let off = distance(&weights(out), &weights(&alone));
            println!("{}, {ranks} ranks: {off:.1e}", rule[3]);
            assert!(off < 3e-4, "{ranks} ranks end {off:e} away");
        }
        assert!(weights(&four) == weights(&again), "other bits when repeated");
        let row = |out: &str| std::fs::read_to_string(Path::new(out).join("row.json")).unwrap();
        assert!(row(&four).contains("\"ranks\":4") && !row(&alone).contains("\"ranks\""));
        let config = |out: &str| std::fs::read_to_string(Path::new(out).join("config.json")).unwrap();
        assert_eq!(config(&four), config(&alone));
        ends.push(weights(&alone));
        for out in [&alone, &two, &four, &again] {
            std::fs::remove_dir_all(out).unwrap();
        }
    }
    assert!(distance(&ends[0], &ends[1]) > 6e-4, "the two rules are far apart, and roundings in f32 are not");
    // SAMPa, whose halves are one rank each
    let (alone, halves) = (path("alone"), path("halves"));
    let mut one = Command::new(env!("CARGO_BIN_EXE_msharp"));
    one.arg("train").args(small(&alone, &["--rule", "sampa"]));
    succeeds(one);
    succeeds(mpirun(&[(2, &small(&halves, &["--rule", "sampa"]))]));
    assert!(weights(&alone) == weights(&halves), "each half has the batches of one process");
    // m-SAM with the samples of a rank
    let (local, micro) = (path("local"), path("micro"));
    succeeds(mpirun(&[(4, &small(&local, &["--local-perturbation"]))]));
    succeeds(mpirun(&[(4, &small(&micro, &["--rule", "m-sam:m=4"]))]));
    assert!(weights(&local) == weights(&micro));
}

/// SAM and RW-SAM with batch normalisation over the 16 samples of a batch, on ranks of 8, and of 6, 6 and 4.
#[test]
fn batch_normalisation_over_all_ranks_is_that_of_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: String| folder.path().join(name).to_str().unwrap().to_owned();
    let sync = "--sync-batch-norm";
    for rule in ["sam", "rw-sam:lambda=4"] {
        let flags = |out: &str, more: &[&str]| -> Vec<String> {
            let small = small(out, &["--rule", rule, "--lr", "0.01"]);
            let without_norm = [&small[..6], &small[8..], more].concat();
            without_norm.into_iter().map(str::to_owned).collect()
        };
        let go = |ranks: usize, more: &[&str]| {
            let out = path(format!("{rule}-{ranks}-{}", more.len()));
            let flags = flags(&out, more);
            succeeds(mpirun(&[(ranks, &flags.iter().map(String::as_str).collect::<Vec<_>>())]));
            out
        };
        let (alone, unsynced) = (go(1, &[]), go(2, &[]));
        let far = distance(&weights(&unsynced), &weights(&alone));
        for ranks in [2, 3] {
            let synced = go(ranks, &[sync]);
            let off = distance(&weights(&synced), &weights(&alone));
            println!("{rule}, {ranks} ranks: {off:.1e}, and {far:.1e} without {sync}");
            assert!(off < 0.1 * far, "{rule}, {ranks} ranks: {off:e}, and {far:e} without {sync}");
            let row = |out: &str| std::fs::read_to_string(Path::new(out).join("row.json")).unwrap();
            assert!(row(&synced).contains("\"sync_batch_norm\":true") && !row(&unsynced).contains("sync_batch_norm"));
        }
    }
    let out = path("other".to_owned());
    let (with, without) = ([&small(&out, &[])[..6], &["--out", &out, sync]].concat(), small(&out, &[])[..6].to_vec());
    let without = [&without[..], &["--out", &out]].concat();
    let started = Instant::now();
    let said = fails(start(mpirun(&[(1, &without), (1, &with)])), started);
    assert!(said.contains("rank 1 has other flags: --sync-batch-norm there and none on rank 0"), "{said}");
}

#[test]
fn a_rank_with_another_configuration_is_found_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run").to_str().unwrap().to_owned();
    for (other, parts) in [
        (&["--lr", "0.2"][..], ["rank 2", "--lr is 0.2 there and 0.1 on rank 0"]),
        (&["--subset", "1000000"], ["rank 2", "1000000 images"]),
    ] {
        let (same, other) = (small(&out, &[]), [&small(&out, &[])[2..], other].concat());
        let other = if other.contains(&"--subset") { other } else { [&["--subset", "96"], &other[..]].concat() };
        let started = Instant::now();
        let said = fails(start(mpirun(&[(2, &same), (1, &other)])), started);
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
        assert_eq!(said.matches("error:").count(), 1, "{said}");
        assert!(!Path::new(&out).join("checkpoint.safetensors").exists());
    }
}

#[test]
fn a_rank_that_is_killed_ends_all_and_the_run_goes_on_with_other_ranks() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (whole, parts) = (path("whole"), path("parts"));
    let flags = |out| [&small(out, &[])[..8], &["--epochs", "8", "--lr", "0.01", "--out", out]].concat();
    succeeds(mpirun(&[(4, &flags(&whole))]));

    // One rank is interrupted: all stop after the same step, and a checkpoint is written.
    let child = start(mpirun(&[(4, &flags(&parts))]));
    wait_for_steps(&parts, 0);
    signal("-INT", &process(&child, 1));
    let output = child.wait_with_output().unwrap();
    let said = text(&output.stderr);
    assert!(said.contains("stopped; the same command with --resume"), "{said}");
    let checkpoint = Path::new(&parts).join("checkpoint.safetensors");
    let saved = std::fs::read(&checkpoint).unwrap();

    // One rank is killed: all end.
    let resumed = [&flags(&parts)[..], &["--resume"]].concat();
    let lines = std::fs::read_to_string(Path::new(&parts).join("log.jsonl")).unwrap().lines().count();
    let child = start(mpirun(&[(4, &resumed)]));
    wait_for_steps(&parts, lines);
    let killed = Instant::now();
    signal("-KILL", &process(&child, 2));
    let said = fails(child, killed);
    println!("{said}");
    assert!(said.contains("rank 2") && said.contains("signal 9"), "{said}");
    assert!(std::fs::read(&checkpoint).unwrap() == saved, "the checkpoint is what it was");

    // As many ranks go on from there to the same bits, and two to the same numbers.
    let two = path("two");
    std::fs::create_dir(&two).unwrap();
    for entry in std::fs::read_dir(&parts).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), Path::new(&two).join(entry.file_name())).unwrap();
    }
    succeeds(mpirun(&[(4, &resumed)]));
    assert!(weights(&parts) == weights(&whole), "other bits after an interruption and a death");
    let output = succeeds(mpirun(&[(2, &[&flags(&two)[..], &["--resume"]].concat())]));
    let said = text(&output.stderr);
    assert!(said.contains("made by 4 ranks, and 2 go on: bits differ"), "{said}");
    let off = distance(&weights(&two), &weights(&whole));
    println!("4 ranks, then 2: {off:.1e}");
    assert!(off > 0. && off < 1e-2, "{off:e}");
}

#[test]
fn a_rank_that_fails_names_itself_and_a_run_that_diverges_says_so_once() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run").to_str().unwrap().to_owned();
    let started = Instant::now();
    let said = fails(start(mpirun(&[(4, &small(&out, &["--lr", "1e20"]))])), started + Duration::from_secs(20));
    assert_eq!(said.matches("the run diverged").count(), 1, "{said}");
    assert!(Path::new(&out).join("row.json").exists());

    // Of 16 pictures in one batch the last of class b, which cannot be decoded, is read by one rank.
    let (out, data) = (folder.path().join("other"), pictures(folder.path()));
    let flags = ["--data", &data, "--image-size", "32", "--norm", "group", "--batch-size", "16", "--epochs", "1"];
    let child = start(mpirun(&[(4, &[&flags[..], &["--out", out.to_str().unwrap()]].concat())]));
    let said = fails(child, Instant::now());
    println!("{said}");
    assert_eq!(said.matches("error on rank").count(), 1, "{said}");
    assert!(said.contains("7.ppm") && said.contains("epoch 0, step 0"), "{said}");
}

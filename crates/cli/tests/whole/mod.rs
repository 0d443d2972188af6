//! Whole runs of the program, as tests of several processes need them.

#![allow(dead_code, reason = "each test takes what it needs")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use candle_core::safetensors::load;
use candle_core::{DType, Device};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long ranks may go on after one of them has ended.
pub const END: Duration = Duration::from_secs(10);

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// 96 images in batches of 16, SAM, group normalisation.
pub fn small<'a>(folder: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let flags = ["--subset", "96", "--test-subset", "50", "--batch-size", "16", "--norm", "group", "--epochs", "2"];
    [&flags[..], &["--out", folder], more].concat()
}

pub fn weights(folder: &str) -> Vec<f64> {
    let mut tensors: Vec<_> =
        load(Path::new(folder).join("weights.safetensors"), &Device::Cpu).unwrap().into_iter().collect();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let values = |(_, t): (String, candle_core::Tensor)| {
        t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap()
    };
    tensors.into_iter().flat_map(values).collect()
}

/// ‖a − b‖/‖b‖
pub fn distance(a: &[f64], b: &[f64]) -> f64 {
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / norm(&mut b.iter().copied())
}

#[track_caller]
pub fn succeeds(mut command: Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    output
}

/// A run that must fail within `END` of `since`; what it said.
#[track_caller]
pub fn fails(child: Child, since: Instant) -> String {
    let output = child.wait_with_output().unwrap();
    let (took, said) = (since.elapsed(), text(&output.stderr));
    assert!(!output.status.success(), "it succeeded: {said}");
    assert!(took < END, "it took {took:?} to end: {said}");
    said
}

pub fn start(mut command: Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

pub fn signal(name: &str, pid: &str) {
    assert!(Command::new("kill").args([name, pid]).status().unwrap().success());
}

/// Waits until the log of a run has more than `lines`.
pub fn wait_for_steps(folder: &str, lines: usize) {
    let (log, started) = (Path::new(folder).join("log.jsonl"), Instant::now());
    while std::fs::read_to_string(&log).map_or(0, |text| text.lines().count()) <= lines {
        assert!(started.elapsed() < Duration::from_secs(120), "the run logs nothing");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A data set below `folder` of 16 pictures to train with, of which the last cannot be decoded; as `--data` takes it.
pub fn pictures(folder: &Path) -> String {
    let data = folder.join("pictures");
    for (part, count) in [("train", 8), ("val", 2)] {
        for class in ["a", "b"] {
            std::fs::create_dir_all(data.join(part).join(class)).unwrap();
            for i in 0..count {
                let pixels: Vec<u8> = (0..192).map(|k| ((k * 7 + i * 31) % 256) as u8).collect();
                let bytes = [b"P6 8 8 255\n".as_slice(), &pixels].concat();
                std::fs::write(data.join(part).join(class).join(format!("{i}.ppm")), bytes).unwrap();
            }
        }
    }
    std::fs::write(data.join("train/b/7.ppm"), b"P6 8 8 255\nshort").unwrap();
    format!("folder:{}", data.display())
}

//! The measuring process: one workload on this machine's GPU.

use super::CudaArgs;
use super::row::{Case, Figures, Program, Row};
use super::workload::Workload;
use crate::bench::rounded;
use crate::bench::subject::Subject;
use anyhow::Result;
use candle_core::{Device, Tensor};
use msharp_lab::config::device::{DeviceName, PrecisionName};
use msharp_lab::host::{Host, revision};
#[cfg(feature = "cuda")]
use msharp_ops::gpu_memory_peak;
use msharp_ops::{FeatureMap, linear, no_grad, with_precision};
use std::time::Instant;

/// Steps before the clock runs: plans are made, and the velocity exists.
const WARM_UP: usize = 3;

/// Prints a row for each kind of step as soon as it is measured; one that fails does not stop the others.
pub fn measure(args: &CudaArgs, workload: &Workload) -> Result<()> {
    let device = DeviceName::Cuda.open()?;
    let peak = product_speed(&device, args.precision, args.product)?;
    let flop = workload.flop()?;
    let mut subject = workload.subject(DeviceName::Cuda, args.precision)?;
    let gpu = Host::this(DeviceName::Cuda).gpu;
    for case in Case::ALL {
        let (figures, error) = match time(&mut subject, case, args, &device) {
            Ok((times, bytes)) => (Some(figures(&times, bytes, workload.batch, flop * case.forwards(), peak)), None),
            Err(error) => (None, Some(msharp_lab::program::one_line(&format!("{error:#}")))),
        };
        let row = Row {
            workload: workload.to_string(),
            case,
            program: Program::Msharp,
            version: revision().to_owned(),
            precision: args.precision,
            gpu: gpu.clone(),
            figures,
            error,
        };
        println!("{}", serde_json::to_string(&row)?);
    }
    Ok(())
}

/// Milliseconds of a step, from each group, in order of size; and the most memory that was taken in them, if the driver
/// tells.
fn time(subject: &mut Subject, case: Case, args: &CudaArgs, device: &Device) -> Result<(Vec<f64>, Option<u64>)> {
    if let Some(estimator) = case.estimator() {
        subject.config.weighting.estimator = estimator;
    }
    subject.config.perturbation.micro_path = case.path();
    let (kind, m) = case.rule();
    let mut rule = subject.rule(kind, m);
    (0..WARM_UP).try_for_each(|_| subject.step(&mut rule))?;
    device.synchronize()?;
    let begun = gpu_memory_peak(device); // from here on
    let mut times = Vec::with_capacity(args.steps());
    for _ in 0..args.steps() {
        let started = Instant::now();
        (0..args.group()).try_for_each(|_| subject.step(&mut rule))?;
        device.synchronize()?;
        times.push(1e3 * started.elapsed().as_secs_f64() / args.group() as f64);
    }
    times.sort_by(f64::total_cmp);
    Ok((times, begun.and_then(|_| gpu_memory_peak(device)).ok()))
}

fn figures(times: &[f64], bytes: Option<u64>, batch: usize, work: f64, peak: f64) -> Figures {
    let median = times[times.len() / 2];
    let speed = 1e-9 * work / median;
    Figures {
        median_ms: rounded(median),
        min_ms: rounded(times[0]),
        img_per_s: rounded(1e3 * batch as f64 / median),
        tflop_per_s: Some(rounded(speed)),
        share_of_peak: Some(rounded(speed / peak)),
        peak_mb: bytes.map(|bytes| (bytes as f64 / (1u64 << 20) as f64).round()),
    }
}

/// The TFLOP/s that the GPU reaches in a product of large matrices of normal numbers: the best of ten.
///
/// The first matrix has eight times as many rows as columns, for each call also rounds the second one, which is a
/// parameter; so that this is a hundredth of the time.
fn product_speed(device: &Device, precision: PrecisionName, side: usize) -> Result<f64> {
    let rows = 8 * side;
    let (x, w) = (Tensor::randn(0f32, 1., (rows, side), device)?, Tensor::randn(0f32, 1., (side, side), device)?);
    let best = no_grad(|| {
        with_precision(precision.precision(), || -> Result<f64> {
            let (x, mut best) = (FeatureMap::enter(&x)?, f64::INFINITY);
            for _ in 0..10 {
                device.synchronize()?;
                let started = Instant::now();
                let product = linear(&x, &w, None)?;
                device.synchronize()?;
                best = best.min(started.elapsed().as_secs_f64());
                drop(product);
            }
            Ok(best)
        })
    })?;
    Ok(2e-12 * (rows * side * side) as f64 / best)
}

/// Nothing has a peak where there is no GPU.
#[cfg(not(feature = "cuda"))]
fn gpu_memory_peak(_: &Device) -> Result<u64> {
    Ok(0)
}

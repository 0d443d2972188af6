//! Times `conv2d` and `batch_norm` on the layers of ResNet-20 (batch 128) and of ResNet-18 for small images (batch 64).
//!
//! `cargo run -p msharp-ops --example conv_speed [part of a row's name]` prints milliseconds and GFLOP/s (a multiply-add
//! is 2) of forward, and of forward and backward; best of three.

use candle_core::{DType, Device, Result, Tensor, Var};
use msharp_ops::{Epilogue, RunningStats, batch_norm, conv2d, no_grad};
use std::time::Instant;

/// Best of three, in seconds; the first run only warms up.
fn best(mut f: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut best = f64::INFINITY;
    for run in 0..4 {
        let start = Instant::now();
        f()?;
        if run > 0 {
            best = best.min(start.elapsed().as_secs_f64());
        }
    }
    Ok(best)
}

/// One row of the table; `x` untracked if `first`. Returns the seconds and the work of forward and backward.
fn conv_row(name: &str, b: usize, size: usize, c: (usize, usize), k: usize, s: usize, first: bool) -> Result<[f64; 2]> {
    let x = Var::randn(0f32, 1.0, (b, size, size, c.0), &Device::Cpu)?;
    let x = if first { x.as_detached_tensor() } else { x.as_tensor().clone() };
    let weight = Var::randn(0f32, 0.1, (c.1, c.0, k, k), &Device::Cpu)?;
    let (stride, padding) = ((s, s), (k / 2, k / 2));
    let forward = best(|| no_grad(|| conv2d(&x, &weight, None, stride, padding)).map(drop))?;
    let both = best(|| conv2d(&x, &weight, None, stride, padding)?.backward().map(drop))?;
    let out = (size + 2 * (k / 2) - k) / s + 1;
    let work = 2e-9 * (b * out * out * k * k * c.0 * c.1) as f64;
    let products = if first { 2.0 } else { 3.0 };
    println!(
        "{name:28} forward {:7.2} ms {:6.1} GFLOP/s   forward+backward {:7.2} ms {:6.1} GFLOP/s",
        1e3 * forward,
        work / forward,
        1e3 * both,
        products * work / both
    );
    Ok([both, products * work])
}

fn norm_row(b: usize, size: usize, c: usize) -> Result<()> {
    let x = Var::randn(0f32, 1.0, (b, size, size, c), &Device::Cpu)?;
    let (weight, bias) = (Var::ones(c, DType::F32, &Device::Cpu)?, Var::zeros(c, DType::F32, &Device::Cpu)?);
    let (mean, var) = (Var::zeros(c, DType::F32, &Device::Cpu)?, Var::ones(c, DType::F32, &Device::Cpu)?);
    let stats = RunningStats { mean: &mean, var: &var, batches: None, momentum: 0.1 };
    let epilogue = Epilogue { residual: None, relu: true };
    let norm = || batch_norm(&x, &weight, &bias, &stats, true, 1e-5, epilogue);
    let forward = best(|| no_grad(norm).map(drop))?;
    let both = best(|| norm()?.backward().map(drop))?;
    let bytes = 4e-9 * x.elem_count() as f64;
    println!(
        "batch norm {size:2} x {size:2} x {c:3}       forward {:7.2} ms {:6.1} GB/s      forward+backward {:7.2} ms {:6.1} GB/s",
        1e3 * forward,
        3.0 * bytes / forward, // reads x twice, writes y
        1e3 * both,
        10.0 * bytes / both, // the backward reads y, dy; g, x; g, x and writes g, dx
    );
    Ok(())
}

fn main() -> Result<()> {
    let only = std::env::args().nth(1).unwrap_or_default();
    let nets: [(&str, usize, &[(usize, (usize, usize), usize, usize)]); 2] = [
        (
            "resnet-20",
            128,
            &[
                (32, (3, 16), 3, 1),
                (32, (16, 16), 3, 1),
                (32, (16, 32), 3, 2),
                (16, (32, 32), 3, 1),
                (16, (32, 64), 3, 2),
                (8, (64, 64), 3, 1),
                (32, (16, 32), 1, 2),
            ],
        ),
        (
            "resnet-18",
            64,
            &[
                (32, (3, 64), 3, 1),
                (32, (64, 64), 3, 1),
                (32, (64, 128), 3, 2),
                (16, (128, 128), 3, 1),
                (16, (128, 256), 3, 2),
                (8, (256, 256), 3, 1),
                (8, (256, 512), 3, 2),
                (4, (512, 512), 3, 1),
                (8, (256, 512), 1, 2),
            ],
        ),
    ];
    for (net, batch, layers) in nets {
        for &(size, c, kernel, stride) in layers {
            let name = format!("{net} {size}² {}→{} {kernel}×{kernel}/{stride}", c.0, c.1);
            if name.contains(&only) {
                conv_row(&name, batch, size, c, kernel, stride, c.0 == 3)?;
            }
        }
    }
    if "batch norm".contains(&only) {
        for (size, c) in [(32, 16), (32, 64), (16, 128), (8, 64)] {
            norm_row(128, size, c)?;
        }
    }
    Ok(())
}

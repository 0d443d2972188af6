//! Times `conv2d` and `batch_norm` on the layers of ResNet-20 (batch 128) and of ResNet-18 for small images (batch 64).
//!
//! `cargo run -p msharp-ops --example conv_speed [part of a row's name]` prints milliseconds and GFLOP/s (a multiply-add
//! is 2) of forward, and of forward and backward; best of three.

use candle_core::{DType, Device, Result, Var};
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

/// A convolution of square images, padded to keep their size at stride 1.
struct Layer {
    size: usize,
    c_in: usize,
    c_out: usize,
    kernel: usize,
    stride: usize,
}

const fn layer(size: usize, c_in: usize, c_out: usize, kernel: usize, stride: usize) -> Layer {
    Layer { size, c_in, c_out, kernel, stride }
}

const RESNET_20: [Layer; 7] = [
    layer(32, 3, 16, 3, 1),
    layer(32, 16, 16, 3, 1),
    layer(32, 16, 32, 3, 2),
    layer(16, 32, 32, 3, 1),
    layer(16, 32, 64, 3, 2),
    layer(8, 64, 64, 3, 1),
    layer(32, 16, 32, 1, 2),
];

const RESNET_18: [Layer; 9] = [
    layer(32, 3, 64, 3, 1),
    layer(32, 64, 64, 3, 1),
    layer(32, 64, 128, 3, 2),
    layer(16, 128, 128, 3, 1),
    layer(16, 128, 256, 3, 2),
    layer(8, 256, 256, 3, 1),
    layer(8, 256, 512, 3, 2),
    layer(4, 512, 512, 3, 1),
    layer(8, 256, 512, 1, 2),
];

/// Prints one row; a layer of three channels sees images, which need no gradient.
fn conv_row(name: &str, batch: usize, layer: &Layer) -> Result<()> {
    let Layer { size, c_in, c_out, kernel, stride } = *layer;
    let x = Var::randn(0f32, 1.0, (batch, size, size, c_in), &Device::Cpu)?;
    let (x, products) = if c_in == 3 { (x.as_detached_tensor(), 2.0) } else { (x.as_tensor().clone(), 3.0) };
    let weight = Var::randn(0f32, 0.1, (c_out, c_in, kernel, kernel), &Device::Cpu)?;
    let conv = || conv2d(&x, &weight, None, (stride, stride), (kernel / 2, kernel / 2));
    let forward = best(|| no_grad(conv).map(drop))?;
    let both = best(|| conv()?.backward().map(drop))?;
    let out = (size + 2 * (kernel / 2) - kernel) / stride + 1;
    let work = 2e-9 * (batch * out * out * kernel * kernel * c_in * c_out) as f64;
    println!(
        "{name:28} forward {:7.2} ms {:6.1} GFLOP/s   forward+backward {:7.2} ms {:6.1} GFLOP/s",
        1e3 * forward,
        work / forward,
        1e3 * both,
        products * work / both
    );
    Ok(())
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
        10.0 * bytes / both, // the backward reads x, dy and y twice, writes dx
    );
    Ok(())
}

fn main() -> Result<()> {
    let only = std::env::args().nth(1).unwrap_or_default();
    for (net, batch, layers) in [("resnet-20", 128, &RESNET_20[..]), ("resnet-18", 64, &RESNET_18[..])] {
        for layer in layers {
            let Layer { size, c_in, c_out, kernel, stride } = layer;
            let name = format!("{net} {size}² {c_in}→{c_out} {kernel}×{kernel}/{stride}");
            if name.contains(&only) {
                conv_row(&name, batch, layer)?;
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

//! cuDNN itself, which needs no GPU to make plans for one that is described: every convolution of our networks has a
//! plan on an H100, in every precision, that repeats to the bit.
//!
//! Needs NVIDIA's cuDNN from 9.8 on, not the software GPU's: `cargo xtask cuda check`.

use candle_core::{DType, Device, Result, Tensor};
use msharp_ops::{Precision, convolution_plans_for};

/// Batch, size of the image, channels in and out, kernel and stride; the padding keeps the size.
type Shape = (usize, usize, usize, usize, usize, usize);

/// The convolutions of ResNet-18 on 32 × 32 images, which is ResNet-34's too.
fn resnet18(batch: usize) -> Vec<Shape> {
    let mut all = vec![(batch, 32, 3, 64, 3, 1), (batch, 32, 64, 64, 3, 1)];
    for (size, c) in [(32, 64), (16, 128), (8, 256)] {
        all.extend([
            (batch, size, c, 2 * c, 3, 2),
            (batch, size, c, 2 * c, 1, 2),
            (batch, size / 2, 2 * c, 2 * c, 3, 1),
        ]);
    }
    all
}

/// Those of WRN-28-10.
fn wrn28_10(batch: usize) -> Vec<Shape> {
    let mut all = vec![(batch, 32, 3, 16, 3, 1), (batch, 32, 16, 160, 3, 1), (batch, 32, 160, 160, 3, 1)];
    for (size, c) in [(32, 160), (16, 320)] {
        all.extend([
            (batch, size, c, 2 * c, 3, 2),
            (batch, size, c, 2 * c, 1, 2),
            (batch, size / 2, 2 * c, 2 * c, 3, 1),
        ]);
    }
    all
}

/// Those of ResNet-50 on 224 × 224 images that are no product of matrices.
fn resnet50(batch: usize) -> Vec<Shape> {
    let mut all = vec![(batch, 224, 3, 64, 7, 2), (batch, 56, 64, 64, 3, 1)];
    for (size, c) in [(56, 128), (28, 256), (14, 512)] {
        all.extend([(batch, size, c, c, 3, 2), (batch, size, 2 * c, 4 * c, 1, 2), (batch, size / 2, c, c, 3, 1)]);
    }
    all
}

#[test]
fn every_convolution_has_a_plan_on_an_h100() -> Result<()> {
    let shapes = [resnet18(128), resnet18(512), resnet18(32), wrn28_10(128), resnet50(256)].concat();
    let mut tensors = Vec::new();
    for &(batch, size, c_in, c_out, kernel, _) in &shapes {
        // Only the sizes count; a number that is broadcast takes no memory.
        let of = |shape: [usize; 4]| Tensor::zeros(1, DType::F32, &Device::Cpu)?.broadcast_as(&shape);
        tensors.push((of([batch, size, size, c_in])?, of([c_out, c_in, kernel, kernel])?));
    }
    let convolutions: Vec<_> = tensors
        .iter()
        .zip(&shapes)
        .map(|((x, weight), &(_, _, _, _, kernel, stride))| (x, weight, stride, kernel / 2))
        .collect();
    for precision in [Precision::F32, Precision::Tf32, Precision::Bf16] {
        let lines = convolution_plans_for(include_str!("h100.json"), precision, &convolutions)?;
        assert_eq!(lines.len(), 3 * shapes.len());
        lines.iter().for_each(|line| println!("{line}"));
    }
    assert!(convolution_plans_for("{}", Precision::F32, &convolutions).is_err());
    Ok(())
}

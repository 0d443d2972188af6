//! What the fast convolutions do to training: nothing that a seed would not do.

use candle_core::{DType, Device, Result};
use msharp_core::{BatchLoss, DataSource, Optimizer, Perturbation, Seeded};
use msharp_data::{Loader, synthetic};
use msharp_models::{Norm, resnet8};
use msharp_ops::direct_convolutions;
use msharp_perturb::sam;
use msharp_train::{Classifier, Sgd};
use std::sync::Arc;

/// The loss of each of 32 steps of SAM on ResNet-8 with batch normalisation; the order of the batches is the seed's.
fn curve(seed: u64) -> Result<Vec<f64>> {
    let init = Seeded::new(3, DType::F32, &Device::Cpu);
    let objective = Classifier::new(resnet8(Norm::Batch, 10, init.var_builder())?);
    let params = init.params()?;
    let train = Loader::train(Arc::new(synthetic(64, 1, 0).train), 16, seed);
    let (mut rule, mut sgd) = (sam(0.02), Sgd { momentum: 0.9, ..Sgd::default() });
    let mut losses = Vec::new();
    for epoch in 0..8 {
        for batch in train.epoch(epoch) {
            let step = rule.gradient(BatchLoss::new(&objective, &params, &batch?))?;
            sgd.step(&params, &step.grads, 0.05)?;
            let Some(of_batch) = step.losses else { candle_core::bail!("SAM reports the clean losses") };
            losses.push(of_batch.mean_all()?.to_scalar::<f32>()?.into());
        }
    }
    Ok(losses)
}

/// Both begin as one curve, part as rounding grows, and stay closer than two orders of the same batches are.
#[test]
fn training_with_winograd_is_training_with_direct_convolutions() -> Result<()> {
    let (fast, direct, other) = (curve(7)?, direct_convolutions(|| curve(7))?, curve(8)?);
    println!("step: Winograd, direct, Winograd with other batches");
    for k in (0..fast.len()).step_by(7) {
        println!("{k:2}: {:.5} {:.5} {:.5}", fast[k], direct[k], other[k]);
    }
    let apart = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f64>() / a.len() as f64;
    for (fast, direct) in fast.iter().zip(&direct).take(5) {
        assert!((fast - direct).abs() < 1e-3 * direct, "{fast} and {direct} in the first five steps");
    }
    assert!(fast != direct, "the scope must choose other convolutions");
    let (algorithms, seeds) = (apart(&fast, &direct), apart(&fast, &other));
    println!("mean distance: {algorithms:.4} between algorithms, {seeds:.4} between seeds");
    assert!(algorithms < seeds, "{algorithms} between algorithms, {seeds} between seeds");
    let end = |losses: &[f64]| losses[24..].iter().sum::<f64>() / 8.;
    assert!(end(&fast) < 0.9 * fast[0] && end(&direct) < 0.9 * direct[0], "both learn");
    Ok(())
}

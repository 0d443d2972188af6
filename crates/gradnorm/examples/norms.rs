//! The estimators alone: a candle-nn network of one's own, candle's own cross-entropy, no trainer.
//!
//! `cargo run -p msharp-gradnorm --example norms` prints the norm of every sample's gradient, exactly and from probes,
//! and what they say about the noise of the batch's gradient.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{Module, linear, ops};
use msharp_core::{Batch, BatchLoss, GradNormEstimator, Key, Seeded, Temperature};
use msharp_gradnorm::{Exact, FiniteDifference, Noise};

fn main() -> Result<()> {
    let (samples, inputs, classes) = (12, 20, 4);
    let init = Seeded::new(1, DType::F32, &Device::Cpu);
    let vb = init.var_builder(); // candle's own, with seeded weights
    let (first, second) = (linear(inputs, 32, vb.pp("first"))?, linear(32, classes, vb.pp("second"))?);
    let params = init.params()?;

    // The one thing to provide: a loss for each sample. No mean.
    let losses = |batch: &Batch, _train: bool| -> Result<Tensor> {
        let logits = second.forward(&first.forward(&batch.inputs)?.relu()?)?; // [b, classes]
        let picked = ops::log_softmax(&logits, 1)?.gather(&batch.targets.unsqueeze(1)?, 1)?; // [b, 1]
        picked.squeeze(1)?.neg() // [b]
    };
    // Points around a centre for each class, some much longer than others.
    let drawn = Seeded::new(2, DType::F32, &Device::Cpu).var_builder();
    let normal = candle_nn::Init::Randn { mean: 0., stdev: 1. };
    let centres = drawn.get_with_hints((classes, inputs), "centres", normal)?;
    let points = drawn.get_with_hints((samples, inputs), "points", normal)?;
    let targets = Tensor::from_iter((0..samples).map(|i| (i % classes) as u32), &Device::Cpu)?;
    let lengths = Tensor::arange(1f32, 1. + samples as f32, &Device::Cpu)?.affine(0.2, 0.)?.unsqueeze(1)?; // [b, 1]
    let points = (points + centres.index_select(&targets, 0)?)?.broadcast_mul(&lengths)?;
    let batch = Batch::new(points.detach(), targets, Key::new(3));

    let exact = Exact.norms(BatchLoss::new(&losses, &params, &batch))?.to_vec1::<f64>()?;
    let mut probes = FiniteDifference { check_every: 1, ..FiniteDifference::adaptive(6) };
    let estimate = probes.estimate(BatchLoss::new(&losses, &params, &batch))?;
    println!("{:>8} {:>8} {:>10}", "sample", "exact", "6 probes");
    for (i, (exact, estimated)) in exact.iter().zip(estimate.norms.to_vec1::<f64>()?).enumerate() {
        println!("{i:>8} {exact:>8.3} {estimated:>10.3}");
    }
    let ratio = |name: &str| estimate.measures[name].to_scalar::<f64>();
    println!("step: ‖δz‖ = {:.1e}·‖x‖, noise to signal of a slope {:.4}", ratio("probe_ratio")?, ratio("probe_noise")?);

    let estimated = Noise::measure(&mut probes, BatchLoss::new(&losses, &params, &batch))?;
    let exact = Noise::measure(&mut Exact, BatchLoss::new(&losses, &params, &batch))?;
    for (name, noise) in [("exact", &exact), ("6 probes", &estimated)] {
        println!(
            "{name:>8}: tr V {:.3}, noise scale {:.1}, m_eff at λ = 1 relative {:.1} of {samples}",
            noise.trace(),
            noise.scale(),
            noise.m_eff(Temperature::Relative(1.))
        );
    }
    assert!((estimated.trace() / exact.trace() - 1.).abs() < 0.8, "six probes are right within their scatter");
    Ok(())
}

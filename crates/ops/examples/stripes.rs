//! Trains a small convolutional network with candle-nn's own optimizer: which way do the stripes of an image run?
//!
//! `cargo run -p msharp-ops --example stripes`

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{Optimizer, SGD, VarBuilder, VarMap};
use msharp_ops::{Activation, FeatureMap, KeepBlocks, conv2d, cross_entropy, global_avg_pool2d, linear, no_grad, relu};

#[global_allocator]
static ALLOCATOR: KeepBlocks = KeepBlocks::new();

/// Two convolutions and a classifier.
struct Network {
    conv1: Tensor, // [16, 1, 3, 3]
    conv2: Tensor, // [16, 16, 3, 3]
    head: Tensor,  // [2, 16]
}

impl Network {
    fn new(vb: VarBuilder) -> Result<Self> {
        let normal = |stdev| candle_nn::Init::Randn { mean: 0., stdev };
        Ok(Self {
            conv1: vb.get_with_hints((16, 1, 3, 3), "conv1", normal(0.3))?,
            conv2: vb.get_with_hints((16, 16, 3, 3), "conv2", normal(0.1))?,
            head: vb.get_with_hints((2, 16), "head", normal(0.2))?,
        })
    }

    /// Feature maps `[b, h, w, 1]` to `[b, 16]`.
    fn features<X: Activation>(&self, xs: &X) -> Result<X> {
        let h = relu(&conv2d(xs, &self.conv1, None, (1, 1), (1, 1))?)?; // [b, h, w, 16]
        let h = relu(&conv2d(&h, &self.conv2, None, (1, 1), (1, 1))?)?;
        global_avg_pool2d(&h)
    }

    /// Images to logits, `[b, 2]`.
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        linear(&self.features(&FeatureMap::enter(xs)?)?.leave()?, &self.head, None)
    }
}

/// Noisy images of 12 × 12 whose stripes lie (0) or stand (1).
fn images(count: usize) -> Result<(Tensor, Tensor)> {
    let pixel = |i: usize| {
        let (image, y, x) = (i / 144, i / 12 % 12, i % 12);
        let along = if image % 2 == 0 { y } else { x };
        if (along + image / 2) % 4 < 2 { 1f32 } else { -1. }
    };
    let clean = Tensor::from_vec((0..144 * count).map(pixel).collect(), (count, 12, 12, 1), &Device::Cpu)?;
    let noise = Tensor::randn(0f32, 1., clean.shape(), &Device::Cpu)?;
    Ok(((clean + noise)?, Tensor::from_iter((0..count).map(|i| (i % 2) as u32), &Device::Cpu)?))
}

fn main() -> Result<()> {
    let variables = VarMap::new();
    let network = Network::new(VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu))?;
    let mut sgd = SGD::new(variables.all_vars(), 0.5)?;
    for step in 0..=60 {
        let (xs, targets) = images(64)?;
        let loss = cross_entropy(&network.forward(&xs)?, &targets, 0.)?.mean_all()?;
        sgd.backward_step(&loss)?;
        if step % 20 == 0 {
            println!("step {step:2}: loss {:.4}", loss.to_scalar::<f32>()?);
        }
    }
    let (xs, targets) = images(200)?;
    let found = no_grad(|| network.forward(&xs))?.detach().argmax(1)?;
    let right = found.eq(&targets)?.to_dtype(DType::F32)?.mean_all()?.to_scalar::<f32>()?;
    println!("right: {:.1} % of 200 new images", 100. * right);
    assert!(right > 0.9, "the network should have learnt this");
    Ok(())
}

//! Weights that others have trained and published give the test errors that others measure with them.

use candle_core::{DType, Device, Result};
use msharp_core::Seeded;
use msharp_data::{Loader, cifar10};
use msharp_models::{Norm, resnet_a};
use msharp_train::{Classifier, evaluate};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

fn folder(variable: &str) -> PathBuf {
    let path = std::env::var_os(variable);
    path.unwrap_or_else(|| panic!("{variable} is not set; expected a folder, as the reason of this test says")).into()
}

/// The CIFAR-10 ResNets of github.com/akamaster/pytorch_resnet_cifar10, with ImageNet's mean and deviation. The errors
/// are those of PyTorch on the same files, in percent.
#[test]
#[ignore = "needs PUBLISHED_RESNETS with resnet{20,32,44,56}.safetensors, and CIFAR10 with cifar-10-batches-bin"]
fn published_resnets_make_the_errors_that_pytorch_makes_with_them() -> Result<()> {
    let (weights, images) = (folder("PUBLISHED_RESNETS"), folder("CIFAR10"));
    let mut test = cifar10(images)?.test;
    (test.mean, test.std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    let data = Loader::eval(Arc::new(test), 500);
    for (depth, expected) in [(20, 8.27), (32, 7.37), (44, 6.89), (56, 6.61)] {
        let init = Seeded::new(0, DType::F32, &Device::Cpu);
        let network = resnet_a(depth, Norm::Batch, 10, init.var_builder())?;
        let tensors = candle_core::safetensors::load(weights.join(format!("resnet{depth}.safetensors")), &Device::Cpu)?;
        let renamed = |name: String| name.replace("linear.", "fc."); // their name of the classifier
        let tensors: BTreeMap<_, _> = tensors.into_iter().map(|(name, tensor)| (renamed(name), tensor)).collect();
        init.params()?.assign(&tensors)?;
        let found = evaluate(&Classifier::new(network), &data)?;
        let error = 100. * (1. - found.accuracy);
        println!("resnet{depth}a: {error:.2} %, PyTorch {expected} %, cross-entropy {:.4}", found.loss);
        assert!((error - expected).abs() < 0.02, "resnet{depth}a: {error} %, PyTorch {expected} %");
    }
    Ok(())
}

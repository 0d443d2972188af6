//! Weights that others have trained and published give the errors, tokens and logits that others compute with them.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::ModuleT;
use msharp_core::Seeded;
use msharp_data::{Loader, cifar10};
use msharp_models::{Architecture, Loaded, Model, Norm, Pretrained, resnet_a};
use msharp_ops::no_grad;
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

/// The network `name` of ours with the weights `file` of `TIMM_NETWORKS`, the images `[b, h, w, 3]` of `answers` there,
/// and what timm computes with them.
fn of_timm(name: &str, file: &str, answers: &str) -> Result<(Model, Loaded, Tensor, Tensor)> {
    let folder = folder("TIMM_NETWORKS");
    let (architecture, init): (Architecture, _) = (name.parse()?, Seeded::new(0, DType::F32, &Device::Cpu));
    let model = architecture.build(Norm::Batch, 1000, init.var_builder())?;
    let pretrained = Pretrained::read(&folder.join(format!("{file}.safetensors")))?;
    let loaded = pretrained.load_into(&init.params()?, architecture, Norm::Batch)?;
    let answers = candle_core::safetensors::load(folder.join(format!("{answers}.safetensors")), &Device::Cpu)?;
    let images = answers["input"].permute((0, 2, 3, 1))?.contiguous()?;
    Ok((model, loaded, images, answers["expected"].clone()))
}

fn largest(x: &Tensor) -> Result<f32> {
    x.abs()?.flatten_all()?.max(0)?.to_scalar()
}

/// The ViT-S/14 of DINOv2 at 224 and at 98 pixels, with positions that either side resamples from 37×37.
#[test]
#[ignore = "needs TIMM_NETWORKS, a folder that tests/parity/vit.py wrote"]
fn a_published_vision_transformer_makes_timms_tokens_with_timms_positions() -> Result<()> {
    for (size, grid) in [(224, 16), (98, 7)] {
        let (name, file) = (format!("vit_small_patch14_dinov2@{size}"), "vit_small_patch14_dinov2");
        let (model, loaded, images, expected) = of_timm(&name, file, &format!("{file}-{size}"))?;
        assert_eq!(loaded.resized, Some([[37, 37], [grid, grid]]));
        assert!(loaded.fit.missing.keys().eq(["head.bias", "head.weight"]), "{loaded}");
        let Model::VisionTransformer(vit) = model else { panic!("{name} is a vision transformer") };
        let found = no_grad(|| vit.tokens(&images))?;
        assert_eq!(found.dims(), expected.dims());
        let error = largest(&(found - &expected)?)?;
        println!("{name}: tokens up to {}, off by {error:e} at most", largest(&expected)?);
        assert!(error < 1e-4, "{name}: tokens are off by {error:e}");
    }
    Ok(())
}

#[test]
#[ignore = "needs TIMM_NETWORKS, a folder that tests/parity/vit.py wrote"]
fn whole_networks_of_timm_make_timms_logits() -> Result<()> {
    for (name, file) in [("vit_base_patch16_224", "vit_base_patch16_224"), ("resnet50-imagenet", "resnet50")] {
        let (model, loaded, images, expected) = of_timm(name, file, &format!("{file}-224"))?;
        assert!(loaded.fit.is_complete(), "{loaded}");
        let found = no_grad(|| model.forward_t(&images, false))?;
        assert_eq!(found.dims(), expected.dims());
        let error = largest(&(found - &expected)?)? / largest(&expected)?;
        println!("{name}: logits are off by {error:e} of the largest at most");
        assert!(error < 1e-4, "{name}: logits are off by {error:e} of the largest");
    }
    Ok(())
}

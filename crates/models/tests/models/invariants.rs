//! What must hold of every network: a gradient for all, samples apart in evaluation, checkpoints that move both ways.

use crate::{fixture, row};
use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{Init, ModuleT, VarBuilder};
use msharp_core::{Params, Role, Seeded};
use msharp_models::*;
use std::collections::HashMap;

/// Networks small enough to run; the others of the catalogue differ from them in depth and width only.
const SMALL: [(&str, Norm); 4] =
    [("resnet8", Norm::Batch), ("resnet8", Norm::Group(32)), ("wrn-10-1", Norm::Batch), ("wrn-10-2", Norm::Group(8))];

fn small(seed: u64, (name, norm): (&str, Norm)) -> Result<(Model, Params)> {
    let init = Seeded::new(seed, DType::F32, &Device::Cpu);
    let model = name.parse::<Architecture>()?.build(norm, 4, init.var_builder())?;
    Ok((model, init.params()?))
}

/// `[b, 12, 10, 3]`, standard normal.
fn images(b: usize) -> Result<Tensor> {
    let noise = Init::Randn { mean: 0., stdev: 1. };
    let seeded = Seeded::new(1, DType::F32, &Device::Cpu);
    Ok(seeded.var_builder().get_with_hints((b, 12, 10, 3), "images", noise)?.detach())
}

fn values(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// A vision transformer for these images, which are not square: their first ten rows.
fn vit(seed: u64) -> Result<(Model, Params)> {
    let init = Seeded::new(seed, DType::F32, &Device::Cpu);
    let config = ViTConfig { image: 10, patch: 5, width: 12, depth: 2, heads: 2, layer_scale: seed > 0 };
    Ok((Model::VisionTransformer(config.build(4, init.var_builder())?), init.params()?))
}

#[test]
fn every_parameter_receives_a_gradient() -> Result<()> {
    let bottleneck = ResNetConfig { width: 8, blocks: &[1, 1, 1, 1], ..RESNET50 }.imagenet();
    let init = Seeded::new(0, DType::F32, &Device::Cpu);
    let deep = Model::ResNet(bottleneck.build(Norm::Batch, 4, init.var_builder())?);
    let small = SMALL.map(|network| small(0, network).unwrap());
    for (model, params) in small.into_iter().chain([(deep, init.params()?), vit(0)?, vit(1)?]) {
        let xs = match model {
            Model::VisionTransformer(_) => images(6)?.narrow(1, 0, 10)?,
            _ => images(6)?,
        };
        let targets = Tensor::new(&[0u32, 1, 2, 3, 0, 1], &Device::Cpu)?;
        let loss = msharp_ops::cross_entropy(&model.forward_t(&xs, true)?, &targets, 0.)?.mean_all()?;
        let grads = loss.backward()?;
        for param in params.iter() {
            let grad = grads.get(&param.var).unwrap_or_else(|| panic!("no gradient for {}", param.name));
            let norm = msharp_ops::dot(&[grad], &[grad])?.to_scalar::<f64>()?.sqrt();
            assert!(norm.is_finite() && norm > 0., "the gradient of {} has the norm {norm}", param.name);
        }
        assert!(grads.get(&xs).is_none(), "the gradient of the images was not asked for");
    }
    Ok(())
}

#[test]
fn in_evaluation_a_sample_does_not_see_its_batch() -> Result<()> {
    for network in SMALL {
        let (model, _) = small(0, network)?;
        // Group normalisation keeps the samples apart in training too.
        for train in [false, true].into_iter().take(if network.1 == Norm::Batch { 1 } else { 2 }) {
            let together = model.forward_t(&images(5)?, train)?;
            for i in 0..5 {
                let alone = model.forward_t(&images(5)?.narrow(0, i, 1)?, train)?;
                for (a, b) in values(&alone).into_iter().zip(values(&together.narrow(0, i, 1)?)) {
                    assert!(
                        (a - b).abs() <= 1e-5 * (1. + b.abs()),
                        "{network:?}, sample {i}: {a} alone, {b} in its batch"
                    );
                }
            }
        }
    }
    Ok(())
}

#[test]
fn under_batch_norm_training_sees_the_batch_and_counts_it() -> Result<()> {
    let (model, params) = small(0, SMALL[0])?;
    let together = model.forward_t(&images(5)?, true)?.narrow(0, 0, 2)?;
    let fewer = model.forward_t(&images(5)?.narrow(0, 0, 2)?, true)?;
    let differs = values(&together).iter().zip(values(&fewer)).any(|(a, b)| (a - b).abs() > 1e-2);
    assert!(differs, "a batch of 5 and one of 2 gave the same logits");
    let counts = params.buffers().iter().filter(|(name, _)| name.ends_with("num_batches_tracked"));
    let counts: Vec<i64> = counts.map(|(_, var)| var.to_scalar()).collect::<Result<_>>()?;
    assert_eq!(counts, [2; 9]); // the stem, 3 blocks of 2, 2 shortcuts
    assert!(small(0, SMALL[1])?.1.buffers().is_empty(), "group normalisation has no state");
    Ok(())
}

#[test]
fn features_are_what_the_classifier_sees() -> Result<()> {
    for (network, channels) in SMALL.into_iter().zip([64, 64, 64, 128]) {
        let (model, params) = small(0, network)?;
        let features = model.features(&images(3)?, false)?;
        assert_eq!(features.dims(), [3, channels]);
        let tensors = params.named_tensors();
        let logits = features.matmul(&tensors["fc.weight"].t()?)?.broadcast_add(&tensors["fc.bias"])?;
        for (a, b) in values(&logits).into_iter().zip(values(&model.forward_t(&images(3)?, false)?)) {
            assert!((a - b).abs() <= 1e-5 * (1. + b.abs()), "{network:?}: {a}, {b}");
        }
    }
    Ok(())
}

#[test]
fn a_saved_network_is_pytorchs_state_dict() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("resnet20.safetensors");
    let build = |seed| -> Result<_> {
        let init = Seeded::new(seed, DType::F32, &Device::Cpu);
        Ok((resnet20(Norm::Batch, 10, init.var_builder())?, init.params()?))
    };
    let (model, params) = build(0)?;
    model.forward_t(&images(4)?, true)?; // moves the running statistics
    params.save(&path)?;

    let saved = candle_core::safetensors::load(&path, &Device::Cpu)?;
    let mut rows: Vec<String> = saved.iter().map(|(name, t)| row(name, t.dtype(), t.dims())).collect();
    rows.sort();
    let theirs = std::fs::read_to_string(fixture("resnet20.txt"))?;
    assert_eq!(rows, theirs.lines().collect::<Vec<_>>());

    // Back into another network, and into one that only predicts: the same bits.
    let expected = values(&model.forward_t(&images(4)?, false)?);
    let (other, other_params) = build(1)?;
    assert_ne!(values(&other.forward_t(&images(4)?, false)?), expected);
    other_params.load(&path)?;
    assert_eq!(values(&other.forward_t(&images(4)?, false)?), expected);
    let predictor = resnet20(Norm::Batch, 10, VarBuilder::from_tensors(saved, DType::F32, &Device::Cpu))?;
    assert_eq!(values(&predictor.forward_t(&images(4)?, false)?), expected);
    Ok(())
}

#[test]
fn an_old_checkpoint_has_no_counts_and_an_incomplete_one_is_refused() -> Result<()> {
    let (model, params) = small(0, SMALL[0])?;
    let mut tensors: HashMap<String, Tensor> = params.named_tensors().into_iter().collect();
    tensors.retain(|name, _| !name.ends_with("num_batches_tracked"));
    let build = |tensors| resnet8(Norm::Batch, 4, VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu));
    let old = build(tensors.clone())?;
    assert_eq!(values(&old.forward_t(&images(2)?, false)?), values(&model.forward_t(&images(2)?, false)?));

    for missing in ["layer2.0.conv1.weight", "layer3.0.bn2.running_var", "layer2.0.downsample.1.bias", "fc.bias"] {
        let mut tensors = tensors.clone();
        tensors.remove(missing);
        assert!(build(tensors).unwrap_err().to_string().contains(missing), "{missing}");
    }
    Ok(())
}

/// The last block computes the class token only, where no other is asked for.
#[test]
fn the_features_of_a_vision_transformer_are_its_first_token() -> Result<()> {
    let xs = images(3)?.narrow(1, 0, 10)?;
    for depth in [0, 1, 2] {
        let init = Seeded::new(5, DType::F64, &Device::Cpu);
        let config = ViTConfig { image: 10, patch: 5, width: 12, depth, heads: 2, layer_scale: true };
        let vit = config.build(4, init.var_builder())?;
        let xs = xs.to_dtype(DType::F64)?;
        let of_all: Vec<f64> = vit.tokens(&xs)?.narrow(1, 0, 1)?.flatten_all()?.to_vec1()?;
        let features: Vec<f64> = vit.features(&xs)?.flatten_all()?.to_vec1()?;
        for (all, alone) in of_all.into_iter().zip(features) {
            assert!((all - alone).abs() <= 1e-12, "{depth} blocks: {all} of all tokens, {alone} alone");
        }
    }
    Ok(())
}

/// Each sample by itself, in training too; another size of images, or another normalisation, is refused.
#[test]
fn a_vision_transformer_keeps_samples_apart_and_says_what_it_takes() -> Result<()> {
    let (model, params) = vit(1)?;
    let xs = images(5)?.narrow(1, 0, 10)?.contiguous()?;
    for train in [false, true] {
        let together = model.forward_t(&xs, train)?;
        for i in 0..5 {
            let alone = model.forward_t(&xs.narrow(0, i, 1)?, train)?;
            assert_eq!(values(&alone), values(&together.narrow(0, i, 1)?), "sample {i}, train {train}");
        }
    }
    assert!(params.buffers().is_empty());
    let roles = |name: &str| params.iter().find(|param| param.name == name).map(|param| param.role);
    let expected = [
        ("cls_token", Role::Bias),
        ("pos_embed", Role::Bias),
        ("patch_embed.proj.weight", Role::Weight),
        ("blocks.1.norm2.bias", Role::Norm),
        ("blocks.1.attn.qkv.weight", Role::Weight),
        ("blocks.1.attn.qkv.bias", Role::Bias),
        ("blocks.1.ls1.gamma", Role::Bias),
        ("norm.weight", Role::Norm),
        ("head.bias", Role::Bias),
    ];
    expected.into_iter().for_each(|(name, role)| assert_eq!(roles(name), Some(role), "{name}"));

    let message = model.forward_t(&images(2)?, false).unwrap_err().to_string();
    assert!(message.contains("[b, 10, 10, 3]") && message.contains("[2, 12, 10, 3]"), "{message}");
    let vb = || VarBuilder::zeros(DType::F32, &Device::Cpu);
    let mini = Architecture::ViT { vit: ViT::Mini, image: 32 };
    let message = mini.build(Norm::Group(32), 10, vb()).unwrap_err().to_string();
    assert!(message.contains("vit-mini has layer normalisation") && message.contains("group-32"), "{message}");
    let odd = ViTConfig { image: 30, ..VIT_MINI };
    assert!(odd.build(10, vb()).unwrap_err().to_string().contains("the patch must divide the image"));
    Ok(())
}

#[test]
fn images_of_another_layout_and_impossible_networks_are_refused() -> Result<()> {
    let (model, _) = small(0, SMALL[0])?;
    assert!(model.forward_t(&images(2)?.permute((0, 3, 1, 2))?.contiguous()?, false).is_err());
    let vb = || VarBuilder::zeros(DType::F32, &Device::Cpu);
    assert!(wide_resnet(27, 10, Norm::Batch, 10, vb()).unwrap_err().to_string().contains("6n + 4"));
    assert!(resnet8(Norm::Group(0), 10, vb()).unwrap_err().to_string().contains("at least one group"));
    Ok(())
}

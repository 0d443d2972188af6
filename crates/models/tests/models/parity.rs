//! timm's networks at their full size: the same logits from the same weights, which both sides draw from their names.

use crate::fixture;
use crate::recorder::asked;
use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{ModuleT, VarBuilder};
use msharp_models::*;
use std::collections::HashMap;

/// `uniform` of fixtures/parity.py.
fn uniform(name: &str, shape: &[usize]) -> Vec<f64> {
    let seed =
        name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |seed, byte| (seed ^ byte as u64).wrapping_mul(0x0100_0000_01b3));
    let draw = |i: u64| {
        let z = seed.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f64 / (1u64 << 23) as f64 - 1.
    };
    (1..=shape.iter().product::<usize>() as u64).map(draw).collect()
}

/// `weights` of fixtures/parity.py.
fn weights(name: &str, shape: &[usize]) -> Result<Tensor> {
    let (_, last) = name.rsplit_once('.').unwrap_or(("", name));
    let (centre, spread) = match (last, shape) {
        ("num_batches_tracked", _) => return Tensor::new(0i64, &Device::Cpu),
        ("running_var", _) => (1., 0.5),
        ("cls_token" | "pos_embed", _) => (0., 0.5),
        (_, [_, inner @ .., last]) => (0., (3. / (inner.iter().product::<usize>() * last) as f64).sqrt()),
        ("weight", _) => (1., 0.2),
        _ => (0., 0.2),
    };
    let values: Vec<f32> = uniform(name, shape).into_iter().map(|u| (centre + spread * u) as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu)
}

fn check<M: ModuleT>(name: &str, build: impl Fn(VarBuilder) -> Result<M>) -> Result<()> {
    let tensors: HashMap<String, Tensor> = asked(&build)
        .iter()
        .map(|asked| Ok((asked.name.clone(), weights(&asked.name, asked.shape.dims())?)))
        .collect::<Result<_>>()?;
    let model = build(VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu))?;
    let image = Tensor::from_vec(uniform("image", &[1, 3, 224, 224]), (1, 3, 224, 224), &Device::Cpu)?;
    let image = image.to_dtype(DType::F32)?.permute((0, 2, 3, 1))?.contiguous()?;
    let expected = &candle_core::safetensors::load(fixture("parity.safetensors"), &Device::Cpu)?[name];
    let found = msharp_ops::no_grad(|| model.forward_t(&image, false))?;
    assert_eq!(found.dims(), expected.dims());
    let largest = |t: &Tensor| t.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>();
    let (error, scale) = (largest(&(found - expected)?)?, largest(expected)?);
    assert!(error <= 1e-4 * scale, "{name}: logits are off by {error:e}, the largest is {scale:e}");
    Ok(())
}

#[test]
fn timms_resnet50() -> Result<()> {
    check("resnet50", |vb| RESNET50.imagenet().build(Norm::Batch, 1000, vb))
}

#[test]
fn timms_vit_tiny() -> Result<()> {
    check("vit_tiny_patch16_224", |vb| vit_tiny(1000, vb))
}

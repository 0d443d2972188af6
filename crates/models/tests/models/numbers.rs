//! Logits, running statistics and gradients of small networks against PyTorch's, which computed them in f64.

use crate::fixture;
use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{ModuleT, VarBuilder};
use msharp_core::{Params, Seeded};
use msharp_models::*;
use std::collections::BTreeMap;

/// The fixtures are rounded to f32, so f64 agrees to that, and f32 to a few of its roundings more.
const TOLERANCES: [(DType, f64); 2] = [(DType::F64, 1e-6), (DType::F32, 1e-4)];

const SMALL: ResNetConfig = ResNetConfig { width: 8, ..RESNET8 };
const BOTTLENECK: ResNetConfig = ResNetConfig { width: 8, blocks: &[1, 2], ..RESNET50 }.imagenet();

#[test]
fn resnet_with_batch_norm() -> Result<()> {
    check("resnet_batch.safetensors", |vb| SMALL.build(Norm::Batch, 4, vb))
}

#[test]
fn resnet_with_group_norm() -> Result<()> {
    check("resnet_group.safetensors", |vb| SMALL.build(Norm::Group(32), 4, vb))
}

#[test]
fn bottleneck_resnet_with_the_imagenet_stem() -> Result<()> {
    check("bottleneck.safetensors", |vb| BOTTLENECK.build(Norm::Batch, 4, vb))
}

#[test]
fn wide_resnet_10_1() -> Result<()> {
    check("wrn_10_1.safetensors", |vb| wide_resnet(10, 1, Norm::Batch, 4, vb))
}

#[test]
fn vision_transformer() -> Result<()> {
    let config = ViTConfig { image: 12, patch: 4, width: 24, depth: 2, heads: 3, layer_scale: false };
    check("vit.safetensors", |vb| config.build(4, vb))
}

#[test]
fn vision_transformer_with_patches_of_14_and_layer_scale() -> Result<()> {
    let config = ViTConfig { image: 28, patch: 14, width: 8, depth: 2, heads: 2, layer_scale: true };
    check("vit_layer_scale.safetensors", |vb| config.build(4, vb))
}

fn check<M: ModuleT>(file: &str, build: impl Fn(VarBuilder) -> Result<M>) -> Result<()> {
    let tensors: BTreeMap<_, _> = candle_core::safetensors::load(fixture(file), &Device::Cpu)?.into_iter().collect();
    TOLERANCES.into_iter().try_for_each(|(dtype, tolerance)| {
        let init = Seeded::new(0, dtype, &Device::Cpu);
        let model = build(init.var_builder())?;
        Fixture { tensors: &tensors, what: format!("{file} in {dtype:?}"), tolerance }.check(&model, &init.params()?)
    })
}

struct Fixture<'a> {
    tensors: &'a BTreeMap<String, Tensor>,
    what: String,
    tolerance: f64,
}

impl Fixture<'_> {
    fn check(&self, model: &impl ModuleT, params: &Params) -> Result<()> {
        params.assign(&self.below("state."))?;
        let x = self.tensors["x"]
            .permute((0, 2, 3, 1))?
            .contiguous()?
            .to_dtype(params.iter().next().unwrap().var.dtype())?;
        let targets = self.tensors["targets"].to_dtype(DType::U32)?;

        self.compare("logits.eval", &model.forward_t(&x, false)?)?;
        self.buffers("state.", params)?; // evaluation leaves them alone
        let logits = model.forward_t(&x, true)?;
        self.compare("logits.train", &logits)?;
        self.buffers("after.", params)?;

        let grads = msharp_ops::cross_entropy(&logits, &targets, 0.)?.mean_all()?.backward()?;
        assert!(grads.get(&x).is_none(), "{}: the gradient of the images was not asked for", self.what);
        let mut compared = 0;
        for param in params.iter() {
            let grad = grads.get(&param.var).unwrap_or_else(|| panic!("{}: no gradient for {}", self.what, param.name));
            let whole = format!("grad.{}", param.name);
            match self.tensors.contains_key(&whole) {
                true => self.compare(&whole, grad)?,
                false => self.compare(&format!("grad_norm.{}", param.name), &grad.sqr()?.sum_all()?.sqrt()?)?,
            }
            compared += 1;
        }
        assert_eq!(compared, self.below("grad.").len() + self.below("grad_norm.").len(), "{}", self.what);
        Ok(())
    }

    /// The buffers, as many as there are in the fixture.
    fn buffers(&self, prefix: &str, params: &Params) -> Result<()> {
        let is_buffer = |name: &&String| name.contains("running_") || name.ends_with("num_batches_tracked");
        assert_eq!(self.below(prefix).keys().filter(is_buffer).count(), params.buffers().len(), "{}", self.what);
        params.buffers().iter().try_for_each(|(name, var)| self.compare(&format!("{prefix}{name}"), var))
    }

    /// The largest difference is at most the tolerance times the largest value expected.
    fn compare(&self, name: &str, found: &Tensor) -> Result<()> {
        let expected = &self.tensors[name];
        assert_eq!(found.dims(), expected.dims(), "{}: {name}", self.what);
        if expected.dtype() == DType::I64 {
            assert_eq!(found.to_scalar::<i64>()?, expected.to_scalar::<i64>()?, "{}: {name}", self.what);
            return Ok(());
        }
        let expected = expected.to_dtype(DType::F64)?;
        let largest = |t: &Tensor| t.abs()?.flatten_all()?.max(0)?.to_scalar::<f64>();
        let (error, scale) = (largest(&(found.to_dtype(DType::F64)? - &expected)?)?, largest(&expected)?);
        assert!(error <= self.tolerance * scale, "{}: {name} is off by {error:e}, its scale is {scale:e}", self.what);
        Ok(())
    }

    fn below(&self, prefix: &str) -> BTreeMap<String, Tensor> {
        let stripped = |(name, t): (&String, &Tensor)| Some((name.strip_prefix(prefix)?.to_owned(), t.clone()));
        self.tensors.iter().filter_map(stripped).collect()
    }
}

//! The problems that the tests share: linear models with gradients by hand, and small networks.

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::{Init, Module, ModuleT, VarBuilder};
use msharp_core::{
    Alone, Batch, BatchLoss, Batches, DataSource, Key, Objective, Optimizer, Params, Perturbation, Seeded,
    TrainingPoint,
};
use msharp_data::{Loader, synthetic};
use msharp_models::{Architecture, Linear, Model, Norm, ViTConfig};
use msharp_train::{Classifier, Schedule, Task};
use std::sync::Arc;

/// Where the batches of these problems stand in a run: at its beginning, at the base learning rate.
pub const START: TrainingPoint = TrainingPoint { progress: 0., lr: 0.1, lr_factor: 1. };

/// A tensor of standard normal numbers, a function of `seed` and shape.
pub fn normal(shape: impl Into<candle_core::Shape>, seed: u64, dtype: DType) -> Result<Tensor> {
    let init = Seeded::new(seed, dtype, &Device::Cpu);
    let drawn = init.var_builder().get_with_hints(shape, "normal", Init::Randn { mean: 0., stdev: 1. })?;
    Ok(drawn.detach())
}

/// What a row's product s = ⟨aᵢ, x⟩ and its target t cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Link {
    /// s
    Linear,
    /// (s − t)²
    Squares,
    /// log(1 + exp(−ts)), t = ±1
    Logistic,
}

/// ℓᵢ(x) = φ(⟨aᵢ, x⟩, tᵢ) in f64, with the derivatives by hand.
pub struct Rows {
    pub link: Link,
    pub a: Vec<Vec<f64>>, // [n, d]
    pub t: Vec<f64>,      // [n]
    pub params: Params,
    pub batch: Batch,
}

impl Rows {
    pub fn new(link: Link, n: usize, d: usize, seed: u64) -> Result<Self> {
        let a = normal((n, d), seed, DType::F64)?;
        let t = normal(n, seed + 1, DType::F64)?;
        let t = if link == Link::Logistic { t.sign()? } else { t };
        let params = Params::new([("x".to_owned(), Var::from_tensor(&normal(d, seed + 2, DType::F64)?)?)])?;
        let batch = Batch::new(a.clone(), t.clone(), Key::new(seed)).at(START);
        Ok(Self { link, a: a.to_vec2()?, t: t.to_vec1()?, params, batch })
    }

    pub fn x(&self) -> Result<Vec<f64>> {
        self.var().to_vec1()
    }

    /// ∇ℓᵢ(x) = φ′(s, t) aᵢ
    pub fn grad(&self, i: usize, x: &[f64]) -> Vec<f64> {
        let (s, t) = (dot(&self.a[i], x), self.t[i]);
        let slope = match self.link {
            Link::Linear => 1.,
            Link::Squares => 2. * (s - t),
            Link::Logistic => -t / (1. + (t * s).exp()),
        };
        self.a[i].iter().map(|a| slope * a).collect()
    }

    /// Σ wᵢ ∇ℓᵢ(x) over `(i, wᵢ)`.
    pub fn weighted(&self, weights: impl IntoIterator<Item = (usize, f64)>, x: &[f64]) -> Vec<f64> {
        weights.into_iter().fold(vec![0.; x.len()], |sum, (i, w)| along(&sum, w, &self.grad(i, x)))
    }

    /// The mean of ∇ℓᵢ(x) over `rows`.
    pub fn mean(&self, rows: std::ops::Range<usize>, x: &[f64]) -> Vec<f64> {
        let share = 1. / rows.len() as f64;
        self.weighted(rows.map(|i| (i, share)), x)
    }

    /// The rows at `indices` as a batch.
    pub fn rows(&self, indices: &[u32]) -> Result<Batch> {
        let indices = Tensor::new(indices, &Device::Cpu)?;
        let Batch { inputs, targets, key, .. } = &self.batch;
        Ok(Batch::new(inputs.index_select(&indices, 0)?, targets.index_select(&indices, 0)?, *key).at(START))
    }

    fn var(&self) -> &Var {
        &self.params.iter().next().expect("one parameter").var
    }
}

impl Objective for Rows {
    fn losses(&self, batch: &Batch, _train: bool) -> Result<Tensor> {
        let s = batch.inputs.matmul(&self.var().unsqueeze(1)?)?.squeeze(1)?; // [b]
        match self.link {
            Link::Linear => Ok(s),
            Link::Squares => (s - &batch.targets)?.sqr(),
            Link::Logistic => ((s * &batch.targets)?.neg()?.exp()? + 1.)?.log(),
        }
    }
}

pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

pub fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

/// x + c·g
pub fn along(x: &[f64], c: f64, g: &[f64]) -> Vec<f64> {
    x.iter().zip(g).map(|(x, g)| x + c * g).collect()
}

/// ‖a − b‖/‖b‖
pub fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    norm(&along(a, -1., b)) / norm(b)
}

/// A classifier and its parameters.
pub struct Net<M = Model> {
    pub classifier: Classifier<M>,
    pub params: Params,
}

impl<M: ModuleT> Objective for Net<M> {
    fn losses(&self, batch: &Batch, train: bool) -> Result<Tensor> {
        self.classifier.losses(batch, train)
    }
}

/// Builds a model in f32 from `seed`.
pub fn built<M>(seed: u64, build: impl FnOnce(VarBuilder) -> Result<M>) -> Result<Net<M>> {
    built_on(&Device::Cpu, seed, build)
}

/// The same model on a device.
pub fn built_on<M>(device: &Device, seed: u64, build: impl FnOnce(VarBuilder) -> Result<M>) -> Result<Net<M>> {
    let init = Seeded::new(seed, DType::F32, device);
    let classifier = Classifier::new(build(init.var_builder())?);
    Ok(Net { classifier, params: init.params()? })
}

/// The smallest ResNet of the catalogue, for ten classes.
pub fn resnet8(norm: Norm, seed: u64) -> Result<Net> {
    built(seed, |vb| Architecture::ResNet8.build(norm, 10, vb))
}

/// WRN-10-1, for ten classes.
pub fn wrn10(norm: Norm, seed: u64) -> Result<Net> {
    built(seed, |vb| Architecture::WideResNet { depth: 10, widen: 1 }.build(norm, 10, vb))
}

/// A vision transformer of 17 tokens, for ten classes.
pub fn vit(seed: u64) -> Result<Net> {
    built(seed, small_vit)
}

/// Its weights from `vb`.
pub fn small_vit(vb: VarBuilder) -> Result<Model> {
    let config = ViTConfig { image: 32, patch: 8, width: 24, depth: 2, heads: 3, layer_scale: false };
    Ok(Model::VisionTransformer(config.build(10, vb)?))
}

/// A network from its seed.
pub type Build = fn(u64) -> Result<Net>;

/// What rules and estimators are tried on: batch normalisation, group normalisation, and none of either.
pub const NETS: [(&str, Build); 3] = [
    ("resnet8, batch", |seed| resnet8(Norm::Batch, seed)),
    ("resnet8, group-32", |seed| resnet8(Norm::Group(32), seed)),
    ("a vision transformer", vit),
];

/// `b` synthetic images with their labels, `[b, 32, 32, 3]`.
pub fn images(b: usize, seed: u64) -> Result<Batch> {
    let whole = Loader { prefetch: 0, ..Loader::eval(Arc::new(synthetic(b, 0, seed).train), b) };
    let batch = whole.epoch(0).next().expect("one batch")?;
    Ok(Batch { key: Key::new(seed), ..batch }.at(START))
}

/// Two hidden layers of `hidden` units.
#[derive(Debug)]
pub struct Mlp([Linear; 3]);

pub fn mlp(inputs: usize, hidden: usize, classes: usize, seed: u64) -> Result<Net<Mlp>> {
    built(seed, |vb| mlp_of(inputs, hidden, classes, vb))
}

/// Its weights from `vb`.
pub fn mlp_of(inputs: usize, hidden: usize, classes: usize, vb: VarBuilder) -> Result<Mlp> {
    let first = Linear::new(inputs, hidden, vb.pp("first"))?;
    let second = Linear::new(hidden, hidden, vb.pp("second"))?;
    Ok(Mlp([first, second, Linear::new(hidden, classes, vb.pp("third"))?]))
}

impl Module for Mlp {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let [first, second, third] = &self.0;
        let hidden = msharp_ops::relu(&first.forward(xs)?)?; // [b, hidden]
        third.forward(&msharp_ops::relu(&second.forward(&hidden)?)?) // [b, classes]
    }
}

/// `b` points of noise with labels that go round the classes: nothing to learn but by heart.
pub fn noise(b: usize, inputs: usize, classes: u32, seed: u64) -> Result<Batch> {
    let targets: Vec<u32> = (0..b as u32).map(|i| i % classes).collect();
    let targets = Tensor::new(targets, &Device::Cpu)?;
    Ok(Batch::new(normal((b, inputs), seed, DType::F32)?, targets, Key::new(seed)).at(START))
}

/// The same batches in every epoch.
#[derive(Clone)]
pub struct Fixed(pub Vec<Batch>);

impl DataSource for Fixed {
    fn steps(&self) -> usize {
        self.0.len()
    }

    fn samples(&self) -> usize {
        self.0.iter().map(Batch::len).sum()
    }

    fn epoch_from(&self, _epoch: usize, step: usize) -> Batches<'_> {
        Box::new(self.0[step..].iter().cloned().map(Ok))
    }
}

/// The bits of tensors, one after another.
pub fn bits<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Result<Vec<u64>> {
    let mut bits = Vec::new();
    for tensor in tensors {
        let flat = tensor.flatten_all()?;
        match tensor.dtype() {
            DType::F32 => bits.extend(flat.to_vec1::<f32>()?.iter().map(|v| v.to_bits() as u64)),
            DType::F64 => bits.extend(flat.to_vec1::<f64>()?.iter().map(|v| v.to_bits())),
            DType::I64 => bits.extend(flat.to_vec1::<i64>()?.iter().map(|&v| v as u64)),
            DType::U8 => bits.extend(flat.to_vec1::<u8>()?.iter().map(|&v| v as u64)),
            other => candle_core::bail!("no test has tensors of {other:?}"),
        }
    }
    Ok(bits)
}

/// The bits of the parameters.
pub fn weights(params: &Params) -> Result<Vec<u64>> {
    bits(params.iter().map(|p| p.var.as_tensor()))
}

/// The bits of the buffers.
pub fn buffers(params: &Params) -> Result<Vec<u64>> {
    bits(params.buffers().iter().map(|(_, var)| var.as_tensor()))
}

/// What `rule` descends on a small network in one step for each of `batches`, at the points that it reaches.
pub fn directions(rule: &mut dyn Perturbation, batches: &[Batch]) -> Result<Vec<Vec<f64>>> {
    let net = mlp(8, 16, 4, 1)?;
    let step = |batch: &Batch| -> Result<Vec<f64>> {
        let step = rule.gradient(BatchLoss::new(&net, &net.params, batch))?;
        for (param, g) in net.params.iter().zip(step.grads.tensors()) {
            param.var.set(&(param.var.as_detached_tensor() - (g * 0.1)?)?)?;
        }
        step.grads.to_vec()
    };
    batches.iter().map(step).collect()
}

/// That `found` is an error whose text has all of `parts`.
#[track_caller]
pub fn refused<T>(what: &str, found: Result<T>, parts: &[&str]) {
    let Err(error) = found else { panic!("{what} is accepted") };
    let error = error.to_string();
    assert!(parts.iter().all(|part| error.contains(part)), "{what}: {error}");
}

/// A run of two epochs; its data are to be given.
pub fn task<'a>(
    objective: &'a dyn Objective,
    params: &'a Params,
    rule: &'a mut dyn Perturbation,
    optimizer: &'a mut dyn Optimizer,
) -> Task<'a> {
    Task {
        objective,
        params,
        rule,
        optimizer,
        data: &Nothing,
        epochs: 2,
        schedule: Schedule::cosine(0.1),
        checkpoint: None,
        read_every: 1,
        ranks: &Alone,
    }
}

/// No batch at all.
struct Nothing;

impl DataSource for Nothing {
    fn steps(&self) -> usize {
        0
    }

    fn samples(&self) -> usize {
        0
    }

    fn epoch_from(&self, _: usize, _: usize) -> Batches<'_> {
        Box::new(std::iter::empty())
    }
}

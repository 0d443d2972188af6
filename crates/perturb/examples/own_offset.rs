//! An offset of your own in a trainer of your own: in SAM, in m-SAM and combined as in GSAM.
//!
//! `cargo run -p msharp-perturb --example own_offset`

use candle_core::{DType, Device, Result, Tensor};
use msharp_core::{Batch, BatchLoss, Component, Key, Offset, ParamVec, Perturbation, Seeded, testing};
use msharp_perturb::{Descend, Gsam, Mean, Micro, Sharp};

/// ε = ρ · g / √(|g| ‖g‖) element by element: between [`L2`](msharp_perturb::L2), which is proportional to the entries,
/// and [`Linf`](msharp_perturb::Linf), which has their signs only.
struct Root {
    rho: f64,
}

impl Component for Root {} // no state, nothing to check

impl Offset for Root {
    fn offset(&mut self, loss: BatchLoss, g: &ParamVec) -> Result<ParamVec> {
        let norm = g.norm()?;
        let root = |g: &Tensor| g / (g.abs()?.affine(norm, 1e-12)?.sqrt())?;
        g.map(loss.params, |_, g| root(g))?.scale(self.rho)
    }
}

fn main() -> Result<()> {
    let mut rules: Vec<(&str, Box<dyn Perturbation>)> = vec![
        ("root SAM", Box::new(Sharp { ascent: Mean, offset: Root { rho: 0.05 }, combine: Descend })),
        ("root GSAM", Box::new(Sharp { ascent: Mean, offset: Root { rho: 0.05 }, combine: Gsam { alpha: 0.3 } })),
        (
            "root m-SAM, m = 4",
            Box::new(Micro::new(Sharp { ascent: Mean, offset: Root { rho: 0.05 }, combine: Descend }, 4)),
        ),
    ];
    for (name, rule) in &mut rules {
        let (first, last) = train(rule.as_mut())?;
        println!("{name}: the loss was {first:.4} and is {last:.4}");
        assert!(last < 0.1 * first, "{name} does not learn");
    }
    testing::check_resumes(|| Sharp { ascent: Mean, offset: Root { rho: 0.05 }, combine: Descend })
}

/// Fits a line by plain gradient descent; the mean losses of the first step and the last.
fn train(rule: &mut dyn Perturbation) -> Result<(f32, f32)> {
    let init = Seeded::new(0, DType::F32, &Device::Cpu);
    let w = init.var_builder().get((3, 1), "w")?;
    let params = init.params()?;
    let squares = |batch: &Batch, _train: bool| (batch.inputs.matmul(&w)?.squeeze(1)? - &batch.targets)?.sqr(); // [b]

    let inputs =
        Tensor::from_iter((0..48).map(|i| ((i * 37 % 48) as f32 / 24.) - 1.), &Device::Cpu)?.reshape((16, 3))?;
    let targets = inputs.matmul(&Tensor::new(&[[1f32], [-2.], [0.5]], &Device::Cpu)?)?.squeeze(1)?;
    let mut losses = Vec::new();
    for k in 0..60 {
        let batch = Batch::new(inputs.clone(), targets.clone(), Key::new(0).fold(k));
        let step = rule.gradient(BatchLoss::new(&squares, &params, &batch))?;
        for (param, grad) in params.iter().zip(step.grads.tensors()) {
            param.var.set(&(param.var.as_detached_tensor() - (grad * 0.2)?)?)?;
        }
        losses.extend(step.losses.map(|losses| losses.mean_all()?.to_scalar::<f32>()).transpose()?);
    }
    Ok((losses[0], losses[losses.len() - 1]))
}

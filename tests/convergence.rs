//! Training ends where it should: low losses for every rule, flat minima for SAM, closed forms on quadratics.

use crate::problems::{Fixed, Link, Net, Rows, images, mlp, noise, vit};
use crate::rules::{Named, every_rule};
use candle_core::{Device, Result, Tensor, Var};
use msharp_core::{Alone, Batch, BatchLoss, Key, Objective, Optimizer, Params, Perturbation};
use msharp_perturb::{Plain, sam, usam};
use msharp_train::{AdamW, Outcome, Progress, Schedule, Sgd, Task, fit};

#[test]
fn every_rule_fits_a_convex_problem() -> Result<()> {
    let names = every_rule(0.05, &Fixed(vec![])).into_iter().map(|(name, _)| name);
    for (i, name) in names.enumerate() {
        // few rows in many dimensions, so that all can be fitted
        let rows = Rows::new(Link::Squares, 8, 20, 1)?;
        let mean = |rows: &Rows| rows.losses(&rows.batch, true)?.mean_all()?.to_scalar::<f64>();
        let before = mean(&rows)?;
        let data = Fixed(rows.batch.chunks(4)?);
        let (_, mut rule): Named = every_rule(0.02, &data).swap_remove(i);
        let task = Task {
            objective: &rows,
            params: &rows.params,
            rule: &mut rule,
            optimizer: &mut Sgd { momentum: 0.5, ..Sgd::default() },
            data: &data,
            epochs: 150,
            schedule: Schedule::cosine(0.03),
            checkpoint: None,
            read_every: 1,
            ranks: &Alone,
        };
        assert_eq!(fit(task, Progress::default(), &mut ())?.0, Outcome::Finished);
        let after = mean(&rows)?;
        assert!(after < 0.01 * before, "{name}: {before} became {after}");
    }
    Ok(())
}

#[test]
fn every_rule_memorises_noise_with_a_small_network() -> Result<()> {
    let names = every_rule(0.05, &Fixed(vec![])).into_iter().map(|(name, _)| name);
    for (i, name) in names.enumerate() {
        let net = mlp(16, 32, 4, 2)?;
        let data = Fixed(noise(24, 16, 4, 3)?.chunks(12)?);
        let (_, mut rule): Named = every_rule(0.05, &data).swap_remove(i);
        let task = Task {
            objective: &net,
            params: &net.params,
            rule: &mut rule,
            optimizer: &mut Sgd { momentum: 0.9, ..Sgd::default() },
            data: &data,
            epochs: 60,
            schedule: Schedule::cosine(0.1),
            checkpoint: None,
            read_every: 1,
            ranks: &Alone,
        };
        let (outcome, progress) = fit(task, Progress::default(), &mut ())?;
        assert_eq!((outcome, progress.whole_run.steps), (Outcome::Finished, 120));
        let evaluation = msharp_train::evaluate(&net.classifier, &data)?;
        assert!(evaluation.loss < 0.1 && evaluation.accuracy == 1., "{name}: {evaluation:?}, chance is log 4 = 1.39");
    }
    Ok(())
}

/// A few variables, and one sample whose loss is `f(x)`.
struct Landscape<F> {
    f: F,
    x: Var,
    params: Params,
    batch: Batch,
}

impl<F: Fn(&Tensor) -> Result<Tensor>> Landscape<F> {
    fn new(start: &[f64], f: F) -> Result<Self> {
        let x = Var::new(start, &Device::Cpu)?;
        let params = Params::new([("x".to_owned(), x.clone())])?;
        let inputs = Tensor::new(&[0f64], &Device::Cpu)?;
        Ok(Self { f, x, params, batch: Batch::new(inputs.clone(), inputs, Key::new(0)) })
    }

    /// x after `steps` of gradient descent with `rule`.
    fn descend(&self, rule: &mut dyn Perturbation, steps: usize, lr: f64) -> Result<Vec<f64>> {
        let f = |_: &Batch, _: bool| (self.f)(&self.x);
        for _ in 0..steps {
            let step = rule.gradient(BatchLoss::new(&f, &self.params, &self.batch))?;
            Sgd::default().step(&self.params, &step.grads, lr)?;
        }
        self.x.to_vec1()
    }
}

/// ½(uv − 1)² has a valley of minima uv = 1 with the curvature u² + v² across it. Descent enters the valley where it
/// meets it and stays; SAM goes on along it to its flattest points, ±(1, 1).
#[test]
fn sam_finds_the_flattest_minimum_of_a_valley() -> Result<()> {
    let f = |x: &Tensor| (x.narrow(0, 0, 1)? * x.narrow(0, 1, 1)?)?.affine(1., -1.)?.sqr()?.affine(0.5, 0.);
    let curvature = |x: &[f64]| x[0] * x[0] + x[1] * x[1];
    for start in [[3., 0.5], [-0.2, -2.5]] {
        let plain = Landscape::new(&start, f)?.descend(&mut Plain, 3000, 0.05)?;
        assert!((plain[0] * plain[1] - 1.).abs() < 1e-9 && curvature(&plain) > 5., "descent ends at {plain:?}");
        let sharp = Landscape::new(&start, f)?.descend(&mut sam(0.2), 3000, 0.05)?;
        assert!((sharp[0] * sharp[1] - 1.).abs() < 0.05, "SAM ends at {sharp:?}, outside of the valley");
        assert!(curvature(&sharp) < 2.05, "SAM ends at {sharp:?}, with the curvature {}", curvature(&sharp));
    }
    Ok(())
}

/// On ½hx²: SGD multiplies x by 1 − lr·h, USAM by 1 − lr·h(1 + ρh), and SAM ends by jumping to and fro between
/// ±lr·hρ/(2 − lr·h), from where a step x ← x − lr·h(x + ρ·sign x) leads to −x.
#[test]
fn descent_on_a_parabola_is_its_closed_form() -> Result<()> {
    let (h, lr, rho) = (3., 0.05, 0.4);
    let f = |x: &Tensor| x.sqr()?.affine(0.5 * h, 0.);
    let plain = Landscape::new(&[1.7], f)?.descend(&mut Plain, 40, lr)?[0];
    assert!((plain / (1.7 * (1. - lr * h).powi(40)) - 1.).abs() < 1e-12, "{plain}");
    let unnormalised = Landscape::new(&[1.7], f)?.descend(&mut usam(rho), 40, lr)?[0];
    assert!((unnormalised / (1.7 * (1. - lr * h * (1. + rho * h)).powi(40)) - 1.).abs() < 1e-12, "{unnormalised}");
    let (jumper, cycle) = (Landscape::new(&[1.7], f)?, lr * h * rho / (2. - lr * h));
    let here = jumper.descend(&mut sam(rho), 400, lr)?[0];
    let there = jumper.descend(&mut sam(rho), 1, lr)?[0];
    assert!((here.abs() - cycle).abs() < 1e-9 && (here + there).abs() < 1e-9, "{here}, {there}, cycle of ±{cycle}");
    Ok(())
}

/// In ten dimensions, with momentum: the velocity of a constant gradient g is g(1 − μᵏ)/(1 − μ).
#[test]
fn momentum_on_a_plane_is_a_geometric_series() -> Result<()> {
    let rows = Rows::new(Link::Linear, 5, 10, 4)?;
    let (x, g) = (rows.x()?, rows.mean(0..5, &rows.x()?));
    let (mu, lr, steps) = (0.9f64, 0.01, 30);
    let mut sgd = Sgd { momentum: mu, ..Sgd::default() };
    for _ in 0..steps {
        sgd.step(&rows.params, &sam(0.1).gradient(BatchLoss::new(&rows, &rows.params, &rows.batch))?.grads, lr)?;
    }
    let travelled: f64 = (1..=steps).map(|k| (1. - mu.powi(k)) / (1. - mu)).sum();
    for ((now, before), g) in rows.x()?.iter().zip(x).zip(g) {
        assert!((now - (before - lr * travelled * g)).abs() < 1e-12);
    }
    Ok(())
}

/// A network without any normalisation over the batch learns 32 images by heart, under plain gradients and under SAM.
#[test]
fn a_vision_transformer_learns_by_heart() -> Result<()> {
    let batch = images(32, 4)?;
    let rules: [(&str, Box<dyn Perturbation>); 2] = [("plain", Box::new(Plain)), ("sam", Box::new(sam(0.02)))];
    for (name, mut rule) in rules {
        let (net, mut adamw) = (vit(1)?, AdamW::default());
        let loss = |net: &Net| net.losses(&batch, false)?.mean_all()?.to_scalar::<f32>();
        let before = loss(&net)?;
        for _ in 0..120 {
            let step = rule.gradient(BatchLoss::new(&net, &net.params, &batch))?;
            adamw.step(&net.params, &step.grads, 3e-3)?;
        }
        let after = loss(&net)?;
        println!("{name}: {before} to {after}");
        assert!(after < 0.1 * before, "{name}: {before} to {after}");
    }
    Ok(())
}

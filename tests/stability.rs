//! What must not go wrong: side effects, NaN, zero gradients, huge logits, graphs that live too long.

use crate::problems::{Fixed, Link, Rows, bits, buffers, images, mlp, noise, weights, wrn10};
use crate::rules::every_rule;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor};
use msharp_core::{Batch, BatchLoss, GradNormEstimator, Objective, Optimizer, Perturbation};
use msharp_gradnorm::{Exact, FiniteDifference, Ghost};
use msharp_models::Norm;
use msharp_perturb::sam;
use msharp_train::Sgd;
use std::cell::Cell;
use std::sync::Arc;

const RHO: f64 = 0.05;

#[test]
fn norms_have_no_side_effects() -> Result<()> {
    let (net, batch) = (wrn10(Norm::Batch, 1)?, images(6, 1)?);
    let before = (weights(&net.params)?, buffers(&net.params)?);
    let two = FiniteDifference { probes: 2, ..FiniteDifference::default() };
    let estimators: [(&str, Box<dyn GradNormEstimator>); 4] = [
        ("exact", Box::new(Exact)),
        ("ghost", Box::new(Ghost::default())),
        ("one-sided", Box::new(two)),
        ("central", Box::new(FiniteDifference { central: true, ..two })),
    ];
    for (name, mut estimator) in estimators {
        let norms = estimator.norms(BatchLoss::new(&net, &net.params, &batch))?;
        assert_eq!((norms.dims(), norms.dtype(), norms.track_op()), (&[6][..], DType::F64, false));
        assert!((weights(&net.params)?, buffers(&net.params)?) == before, "{name} left something behind");
    }
    // whereas an estimate is a training step's clean pass
    Exact.estimate(BatchLoss::new(&net, &net.params, &batch))?;
    assert!(weights(&net.params)? == before.0 && buffers(&net.params)? != before.1);
    Ok(())
}

/// A loss that is not finite is the trainer's to see: a rule neither panics nor hides it nor leaves the weights
/// displaced.
#[test]
fn no_rule_panics_or_moves_the_weights_on_losses_that_are_not_finite() -> Result<()> {
    let (net, batch) = (wrn10(Norm::Batch, 2)?, images(6, 1)?);
    let set = Fixed(vec![batch.clone()]);
    let before = weights(&net.params)?;
    for (value, whole) in [(f64::NAN, true), (f64::INFINITY, true), (f64::NAN, false)] {
        let spoilt = |batch: &Batch, train: bool| {
            let losses = net.losses(batch, train)?;
            let factors: Vec<f32> = (0..batch.len()).map(|i| if whole || i == 1 { value as f32 } else { 1. }).collect();
            losses * Tensor::new(factors, batch.inputs.device())?
        };
        for (name, mut rule) in every_rule(RHO, &set) {
            let outcome = rule.gradient(BatchLoss::new(&spoilt, &net.params, &batch));
            assert!(weights(&net.params)? == before, "{name}: the weights moved on {value}");
            if let Ok(step) = outcome {
                assert!(!step.grads.norm()?.is_finite(), "{name}: {value} in the loss and a finite gradient");
            }
        }
    }
    Ok(())
}

#[test]
fn a_zero_gradient_stays_zero() -> Result<()> {
    let rows = Rows::new(Link::Squares, 7, 4, 3)?;
    let flat = |batch: &Batch, train: bool| (rows.losses(batch, train)? * batch.targets.zeros_like()?)? + 1.;
    for (name, mut rule) in every_rule(RHO, &Fixed(rows.batch.chunks(4)?)) {
        let step = rule.gradient(BatchLoss::new(&flat, &rows.params, &rows.batch))?;
        assert!(step.grads.to_vec()?.iter().all(|g| *g == 0.), "{name}: {:?}", step.grads.to_vec()?);
        for (measure, value) in &step.measures {
            assert!(value.to_scalar::<f64>()?.is_finite(), "{name}: {measure} is {value}");
        }
        if let Some(m_eff) = step.measures.get("m_eff").filter(|_| !name.starts_with("m-")) {
            let m_eff = m_eff.to_scalar::<f64>()?;
            assert!((m_eff - 7.).abs() < 1e-12, "{name}: equal norms are weighted equally, m_eff is {m_eff}");
        }
    }
    Ok(())
}

#[test]
fn huge_and_tiny_losses_give_finite_gradients() -> Result<()> {
    let (net, batch) = (mlp(8, 16, 4, 4)?, noise(7, 8, 4, 5)?);
    let set = Fixed(vec![batch.clone()]);
    for scale in [1e-30, 1e5, 1e15] {
        let scaled = |batch: &Batch, train: bool| {
            let logits = candle_nn::ModuleT::forward_t(&net.classifier.model, &batch.inputs, train)?;
            msharp_ops::cross_entropy(&logits.affine(scale, 0.)?, &batch.targets, 0.)
        };
        for (name, mut rule) in every_rule(RHO, &set) {
            if scale > 1e10 && name.contains("usam") {
                continue; // its displacement is proportional to the gradient, and overflows three layers of f32
            }
            let step = rule.gradient(BatchLoss::new(&scaled, &net.params, &batch))?;
            let norm = step.grads.norm()?;
            assert!(norm.is_finite() && norm > 0., "{name}, logits times {scale:e}: ‖g‖ = {norm}");
        }
    }
    Ok(())
}

/// The identity as an op that a graph holds on to, for as long as the graph lives.
struct Tracer(#[allow(dead_code, reason = "held for its count")] Arc<()>);

impl CustomOp1 for Tracer {
    fn name(&self) -> &'static str {
        "tracer"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((storage.clone(), layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(grad.clone()))
    }
}

/// Counts the graphs of earlier passes that are alive when a pass begins.
struct Traced<'a> {
    inner: &'a dyn Objective,
    graphs: Arc<()>,
    most: Cell<usize>,
}

impl Objective for Traced<'_> {
    fn losses(&self, batch: &Batch, train: bool) -> Result<Tensor> {
        self.most.set(self.most.get().max(Arc::strong_count(&self.graphs) - 1));
        self.inner.losses(batch, train)?.apply_op1(Tracer(self.graphs.clone()))
    }
}

#[test]
fn a_graph_is_dropped_before_the_next_one_is_built_and_none_outlives_its_rule() -> Result<()> {
    let rows = Rows::new(Link::Squares, 7, 4, 6)?;
    let traced = Traced { inner: &rows, graphs: Arc::new(()), most: Cell::new(0) };
    let held = traced.losses(&rows.batch, true)?;
    assert_eq!(Arc::strong_count(&traced.graphs), 2, "the count sees a graph that is alive");
    drop(held);
    for (name, mut rule) in every_rule(RHO, &Fixed(rows.batch.chunks(4)?)) {
        let step = rule.gradient(BatchLoss::new(&traced, &rows.params, &rows.batch))?;
        assert_eq!(traced.most.get(), 0, "{name}: graphs of an earlier pass alive when the next began");
        assert_eq!(Arc::strong_count(&traced.graphs), 1, "{name}: the gradient or the losses hold a graph");
        assert!(step.losses.is_none_or(|losses| !losses.track_op()), "{name}");
        assert!(step.grads.tensors().iter().all(|g| !g.track_op()), "{name}");
    }
    Ok(())
}

#[test]
fn a_velocity_holds_no_graph() -> Result<()> {
    let (net, batch) = (mlp(8, 16, 4, 7)?, noise(12, 8, 4, 8)?);
    let mut sgd = Sgd { momentum: 0.9, nesterov: true, weight_decay: 1e-3, ..Sgd::default() };
    let traced = Traced { inner: &net, graphs: Arc::new(()), most: Cell::new(0) };
    for _ in 0..5 {
        let step = sam(RHO).gradient(BatchLoss::new(&traced, &net.params, &batch))?;
        sgd.step(&net.params, &step.grads, 0.1)?;
    }
    let velocity = sgd.velocity.expect("momentum keeps a velocity");
    assert!(velocity.tensors().iter().all(|v| !v.track_op()));
    assert_eq!((traced.most.get(), Arc::strong_count(&traced.graphs)), (0, 1));
    assert!(net.params.iter().all(|p| p.var.is_variable()));
    Ok(())
}

/// What a rule returns is its own: a step that changes the weights does not change it.
#[test]
fn a_gradient_does_not_change_with_the_weights() -> Result<()> {
    let rows = Rows::new(Link::Linear, 7, 4, 9)?;
    for (name, mut rule) in every_rule(RHO, &Fixed(rows.batch.chunks(4)?)) {
        let step = rule.gradient(BatchLoss::new(&rows, &rows.params, &rows.batch))?;
        let before = bits(step.grads.tensors())?;
        Sgd::default().step(&rows.params, &step.grads, 0.1)?;
        assert!(bits(step.grads.tensors())? == before, "{name}");
    }
    Ok(())
}

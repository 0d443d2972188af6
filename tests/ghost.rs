//! Ghost norms are the exact ones, on networks, and RW-SAM with the one is RW-SAM with the other.

use crate::problems::{Net, distance, images, mlp, noise, resnet8, small_vit, vit, wrn10};
use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarBuilder;
use msharp_core::{
    Batch, BatchLoss, Counted, Estimate, GradNormEstimator, Measures, Objective, ParamVec, Params, Perturbation,
    Seeded, Temperature, backward,
};
use msharp_gradnorm::{Exact, Ghost};
use msharp_models::{Architecture, Model, Norm};
use msharp_perturb::{Micro, rw_sam};
use msharp_train::Classifier;

/// The largest relative difference of the norms of a sample.
fn furthest(net: &dyn Objective, params: &Params, batch: &Batch) -> Result<f64> {
    let ghost = Ghost::default().norms(BatchLoss::new(net, params, batch))?.to_vec1::<f64>()?;
    let exact = Exact.norms(BatchLoss::new(net, params, batch))?.to_vec1::<f64>()?;
    Ok(ghost.iter().zip(&exact).map(|(ghost, exact)| (ghost / exact - 1.).abs()).fold(0., f64::max))
}

/// A network in f64.
fn wide(seed: u64, build: impl FnOnce(VarBuilder) -> Result<Model>) -> Result<Net> {
    let init = Seeded::new(seed, DType::F64, &Device::Cpu);
    let model = build(init.var_builder())?;
    Ok(Net { classifier: Classifier::new(model), params: init.params()? })
}

#[test]
fn ghost_norms_are_the_exact_ones() -> Result<()> {
    let batch = images(6, 1)?;
    for net in [resnet8(Norm::Group(32), 1)?, wrn10(Norm::Group(32), 2)?, vit(3)?] {
        let off = furthest(&net, &net.params, &batch)?;
        assert!(off < 1e-4, "in f32 they differ by {off:e}");
    }
    let smoothed = resnet8(Norm::Group(32), 3)?;
    let smoothed =
        Net { classifier: Classifier { label_smoothing: 0.1, ..smoothed.classifier }, params: smoothed.params };
    let off = furthest(&smoothed, &smoothed.params, &batch)?;
    assert!(off < 1e-4, "with label smoothing they differ by {off:e}");
    let (net, batch) = (mlp(24, 48, 8, 3)?, noise(16, 24, 8, 4)?);
    let off = furthest(&net, &net.params, &batch)?;
    assert!(off < 1e-5, "of an MLP they differ by {off:e}");
    Ok(())
}

#[test]
fn in_f64_they_agree_to_ten_digits() -> Result<()> {
    let batch = images(4, 1)?;
    let batch = Batch { inputs: batch.inputs.to_dtype(DType::F64)?, ..batch };
    let of = |architecture: Architecture| wide(5, |vb| architecture.build(Norm::Group(32), 10, vb));
    let (resnet, wrn) = (of(Architecture::ResNet8)?, of(Architecture::WideResNet { depth: 10, widen: 2 })?);
    for (name, net) in [("ResNet-8", resnet), ("WRN-10-2", wrn), ("a vision transformer", wide(5, small_vit)?)] {
        let off = furthest(&net, &net.params, &batch)?;
        assert!(off < 1e-10, "{name}: they differ by {off:e}");
    }
    Ok(())
}

/// The backward that measures leaves nothing behind: the next one through the same graph gives the gradient.
#[test]
fn the_graph_serves_an_ascent_and_passes_are_two() -> Result<()> {
    let (net, batch) = (resnet8(Norm::Group(32), 1)?, images(5, 2)?);
    let counted = Counted::new(&net);
    let Estimate { losses, measures, .. } = Ghost::default().estimate(BatchLoss::new(&counted, &net.params, &batch))?;
    assert_eq!(counted.take(), (5, 5));
    assert!(measures.is_empty(), "nothing couples the samples: {measures:?}");
    let weights = Tensor::new(&[0.1f64, 0.3, 0.2, 0.15, 0.25], &Device::Cpu)?;
    let after = backward(&losses, Some(&weights), &net.params)?.to_vec()?;
    let fresh = backward(&net.losses(&batch, true)?, Some(&weights), &net.params)?.to_vec()?;
    assert_eq!(after, fresh);
    assert_eq!(counted.take(), (0, 5));
    let mut rule = rw_sam(0.1, Temperature::Relative(1.), Ghost::default());
    rule.gradient(BatchLoss::new(&counted, &net.params, &batch))?;
    assert_eq!(counted.take(), (10, 10), "the backward that measures has the weighted gradient, too");
    Ok(())
}

#[test]
fn rw_sam_is_the_same_with_either() -> Result<()> {
    let batch = images(6, 3)?;
    let batch = Batch { inputs: batch.inputs.to_dtype(DType::F64)?, ..batch };
    let net = wide(4, |vb| Architecture::ResNet8.build(Norm::Group(32), 10, vb))?;
    let step = |rule: &mut dyn Perturbation| rule.gradient(BatchLoss::new(&net, &net.params, &batch))?.grads.to_vec();
    for temperature in [Temperature::Relative(1.), Temperature::EffectiveSize(3.)] {
        let (ghost, exact) = (rw_sam(0.1, temperature, Ghost::default()), rw_sam(0.1, temperature, Exact));
        let off = distance(&step(&mut ghost.clone())?, &step(&mut exact.clone())?);
        assert!(off < 1e-9, "{temperature:?}: the gradients differ by {off:e}");
        let off = distance(&step(&mut Micro::new(ghost, 3))?, &step(&mut Micro::new(exact, 3))?);
        assert!(off < 1e-9, "{temperature:?}: those of m-RW-SAM differ by {off:e}");
    }
    Ok(())
}

/// Its weighted gradient, from the samples' factors, is that of the weighted losses; with coupled samples, too.
#[test]
fn the_weighted_gradient_is_that_of_the_weighted_losses() -> Result<()> {
    let batch = images(6, 3)?;
    let batch = Batch { inputs: batch.inputs.to_dtype(DType::F64)?, ..batch };
    for norm in [Norm::Group(32), Norm::Batch] {
        let net = wide(5, |vb| Architecture::ResNet8.build(norm, 10, vb))?;
        let loss = BatchLoss::new(&net, &net.params, &batch);
        let weigh = |norms: &Tensor| Ok((norms.broadcast_div(&norms.sum_all()?)?, Measures::new()));
        let found = Ghost::default().weighted(loss, &weigh)?;
        let (weights, _) = weigh(&Ghost::default().norms(loss)?)?;
        let expected = net.params.keeping_buffers(|| loss.weighted_gradient(&weights))?;
        let off = distance(&found.grads.to_vec()?, &expected.grads.to_vec()?);
        assert!(off < 1e-12, "{norm:?}: they differ by {off:e}");
        assert_eq!(found.measures.contains_key("coupled"), norm == Norm::Batch);
    }
    Ok(())
}

/// Under batch normalisation it says that what it measures is another quantity; shares still add up to the gradient, so
/// no gradient is longer than the shares together.
#[test]
fn coupled_samples_are_reported() -> Result<()> {
    let (net, batch) = (resnet8(Norm::Batch, 1)?, images(5, 2)?);
    let Estimate { losses, norms, measures } = Ghost::default().estimate(BatchLoss::new(&net, &net.params, &batch))?;
    assert_eq!(measures["coupled"].to_scalar::<f64>()?, 1.);
    let sum = ParamVec::collect(&net.params, &losses.sum_all()?.backward()?)?.norm()?;
    let together: f64 = norms.to_vec1::<f64>()?.iter().sum();
    assert!(sum <= together * (1. + 1e-6), "‖Σ shares‖ = {sum} > Σ ‖share‖ = {together}");
    assert!(furthest(&net, &net.params, &batch)? > 0.01, "shares that are the gradients would need no flag");
    Ok(())
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_threads() -> Result<()> {
    let (net, batch) = (wrn10(Norm::Group(32), 2)?, images(7, 1)?);
    let with = |threads: usize| -> Result<Vec<u64>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
        let norms = pool.install(|| Ghost::default().norms(BatchLoss::new(&net, &net.params, &batch)))?;
        Ok(norms.to_vec1::<f64>()?.into_iter().map(f64::to_bits).collect())
    };
    let one = with(1)?;
    assert_eq!(one, with(2)?);
    assert_eq!(one, with(3)?);
    Ok(())
}

/// A sample without a gradient has norm 0, and one whose loss is not finite no number.
#[test]
fn nothing_is_hidden_and_nothing_made_up() -> Result<()> {
    let (net, batch) = (resnet8(Norm::Group(32), 1)?, images(3, 2)?);
    let factors = Tensor::new(&[0f32, f32::NAN, 1.], &Device::Cpu)?;
    let f = |batch: &Batch, train: bool| net.losses(batch, train)? * &factors;
    let norms = Ghost::default().norms(BatchLoss::new(&f, &net.params, &batch))?.to_vec1::<f64>()?;
    let alone = Ghost::default().norms(BatchLoss::new(&net, &net.params, &batch))?.to_vec1::<f64>()?;
    assert!(norms[0] == 0. && norms[1].is_nan() && norms[2] == alone[2], "{norms:?}, {alone:?}");
    Ok(())
}

/// A parameter through candle's own product, and one of two layers that share it.
#[test]
fn a_parameter_that_cannot_be_measured_is_named() -> Result<()> {
    let (net, batch) = (mlp(24, 8, 8, 3)?, noise(4, 24, 8, 4)?);
    let var = |name: &str| &net.params.iter().find(|param| param.name == name).expect("a parameter").var;
    let penalised = |batch: &Batch, train: bool| {
        net.losses(batch, train)?.broadcast_add(&var("second.weight").sqr()?.sum_all()?) // a penalty
    };
    let shared = |batch: &Batch, train: bool| {
        let again = msharp_ops::linear(&batch.inputs, var("first.weight"), None)?.sum(1)?;
        net.losses(batch, train)? + again
    };
    for (f, name, expected) in [
        (&penalised as &dyn Objective, "\"second.weight\"", "another op"),
        (&shared, "\"first.weight\"", "is shared by 2 ops"),
    ] {
        let message = Ghost::default().estimate(BatchLoss::new(f, &net.params, &batch)).unwrap_err().to_string();
        assert!(message.contains(name) && message.contains(expected), "{message}");
    }
    Ok(())
}

//! Estimators that cannot be right about a loss say so: what they see is not all of it, or not a function of the batch.

use crate::problems::{Fixed, Link, Rows, images, mlp, noise, refused, resnet8, task};
use candle_core::{DType, Device, Result, Tensor, Var};
use msharp_core::{Batch, BatchLoss, Component, Estimate, GradNormEstimator, Key, Objective, Params, Temperature};
use msharp_gradnorm::{Delta, Exact, FiniteDifference, Ghost, LastLayer, Noise, RandomNorms, Shuffled};
use msharp_models::Norm;
use msharp_perturb::{Micro, rw_sam, sam};
use msharp_train::{Progress, Sgd, Task, fit};

/// Losses that are ten cross-entropies, or a cross-entropy and something more, are measured right or not at all.
#[test]
fn a_last_layer_is_measured_right_or_not_at_all() -> Result<()> {
    let (net, batch) = (mlp(6, 5, 3, 1)?, noise(4, 6, 3, 2)?);
    let var = |name: &str| net.params.iter().find(|param| param.name == name).expect("a parameter").var.clone();
    let last = var("third.weight");
    let scaled = |batch: &Batch, train: bool| net.losses(batch, train)?.affine(10., 0.);
    let penalised = |batch: &Batch, train: bool| net.losses(batch, train)?.broadcast_add(&last.sqr()?.sum_all()?);
    let two = |batch: &Batch, train: bool| net.losses(batch, train)? + net.losses(batch, train)?;
    for (what, f) in [("scaled", &scaled as &dyn Objective), ("penalised", &penalised), ("two", &two)] {
        refused(
            what,
            LastLayer::default().norms(BatchLoss::new(f, &net.params, &batch)),
            &["Ghost", "Exact", "something else"],
        );
    }
    // The last weight also shapes its own input, by an op of candle's: found by the comparison with a gradient.
    let (w, first) = (Var::randn(0f64, 1., (3, 3), &Device::Cpu)?, Var::randn(0f64, 1., (3, 6), &Device::Cpu)?);
    let params = Params::new([("w".to_owned(), w.clone()), ("first".to_owned(), first.clone())])?;
    let tied = |batch: &Batch, _: bool| {
        let h = msharp_ops::linear(&batch.inputs.to_dtype(DType::F64)?, &first, None)?.matmul(&w)?;
        msharp_ops::cross_entropy(&msharp_ops::linear(&h, &w, None)?, &batch.targets, 0.)
    };
    refused(
        "tied",
        LastLayer::default().norms(BatchLoss::new(&tied, &params, &batch)),
        &["Ghost", "Exact", "other ops"],
    );
    // Trained alone, a bias is measured alone.
    let bias = Params::new([("bias".to_owned(), var("third.bias"))])?;
    let (found, exact) = (
        LastLayer::default().norms(BatchLoss::new(&net, &bias, &batch))?,
        Exact.norms(BatchLoss::new(&net, &bias, &batch))?,
    );
    let apart = (found / exact)?.affine(1., -1.)?.abs()?.max(0)?.to_scalar::<f64>()?;
    assert!(apart < 1e-5, "{apart:e}");
    Ok(())
}

/// As many class prototypes as samples: rows of an op's input that are no samples.
#[test]
fn rows_that_are_no_samples_are_found() -> Result<()> {
    let (k, d) = (4, 3);
    let w = Var::randn(0f64, 1., (d, d), &Device::Cpu)?;
    let params = Params::new([("w".to_owned(), w.clone())])?;
    let prototypes = Tensor::randn(0f64, 1., (k, d), &Device::Cpu)?;
    let f = |batch: &Batch, _: bool| {
        let classes = msharp_ops::linear(&prototypes, &w, None)?; // [k, d]
        msharp_ops::cross_entropy(&batch.inputs.matmul(&classes.t()?)?, &batch.targets, 0.)
    };
    let inputs = Tensor::randn(0f64, 1., (k, d), &Device::Cpu)?;
    let batch = Batch::new(inputs, Tensor::new(&[0u32, 1, 2, 3], &Device::Cpu)?, Key::new(0));
    refused("prototypes", Ghost::default().norms(BatchLoss::new(&f, &params, &batch)), &["\"w\"", "Exact"]);
    Exact.norms(BatchLoss::new(&f, &params, &batch))?;
    // Losses that depend on each other.
    let net = mlp(6, 5, 3, 1)?;
    let contrast = |batch: &Batch, train: bool| {
        let losses = net.losses(batch, train)?;
        losses.broadcast_mul(&losses.mean_keepdim(0)?)
    };
    refused(
        "contrast",
        Ghost::default().norms(BatchLoss::new(&contrast, &net.params, &noise(4, 6, 3, 2)?)),
        &["Exact", "sample"],
    );
    Ok(())
}

#[test]
fn a_variance_is_taken_of_whole_gradients_only() -> Result<()> {
    let (net, batch) = (mlp(6, 5, 3, 1)?, noise(4, 6, 3, 2)?);
    let estimators: [(&str, Box<dyn GradNormEstimator>); 3] = [
        ("LastLayer", Box::new(LastLayer::default())),
        ("RandomNorms", Box::new(RandomNorms)),
        ("Shuffled(LastLayer)", Box::new(Shuffled { inner: LastLayer::default() })),
    ];
    for (name, mut estimator) in estimators {
        refused(
            name,
            Noise::measure(&mut *estimator, BatchLoss::new(&net, &net.params, &batch)),
            &[name, "whole gradients"],
        );
    }
    Noise::measure(&mut Ghost::default(), BatchLoss::new(&net, &net.params, &batch))?;
    let (normed, batch) = (resnet8(Norm::Batch, 1)?, images(4, 2)?);
    let shares = Noise::measure(&mut Ghost::default(), BatchLoss::new(&normed, &normed.params, &batch));
    refused("shares", shares, &["Ghost", "batch normalisation"]);
    Ok(())
}

/// f = Σ aᵢ·x with ‖a‖ = 2 and 4 at x = 0: an absolute step has a length there, a relative one has none.
#[test]
fn a_finite_difference_at_0_takes_an_absolute_step() -> Result<()> {
    let x = Var::zeros(4, DType::F64, &Device::Cpu)?;
    let params = Params::new([("x".to_owned(), x.clone())])?;
    let f = |batch: &Batch, _: bool| batch.inputs.broadcast_mul(&x)?.sum(1);
    let a = Tensor::new(&[[2f64, 0., 0., 0.], [0., 4., 0., 0.]], &Device::Cpu)?;
    let batch = Batch::new(a.clone(), a, Key::new(0));
    let absolute = FiniteDifference { delta: Delta::Absolute(1e-3), ..FiniteDifference::default() };
    assert_eq!(absolute.clone().norms(BatchLoss::new(&f, &params, &batch))?.to_vec1::<f64>()?, [2., 4.]);
    refused(
        "relative",
        FiniteDifference::default().norms(BatchLoss::new(&f, &params, &batch)),
        &["all parameters are 0", "Absolute"],
    );
    for delta in [0., -1e-3, f64::NAN] {
        let step = FiniteDifference { delta: Delta::Absolute(delta), ..FiniteDifference::default() };
        refused(
            "a step",
            step.clone().norms(BatchLoss::new(&f, &params, &batch)),
            &["finite-difference step is", "above 0"],
        );
    }
    Ok(())
}

/// candle's Dropout draws from no key: every estimator that compares two points says so, whatever its checks are.
#[test]
fn random_numbers_without_a_key_are_said_for_what_they_are() -> Result<()> {
    let (net, batch) = (mlp(6, 32, 3, 1)?, noise(8, 6, 3, 2)?);
    let dropout = candle_nn::Dropout::new(0.5);
    let f = |batch: &Batch, train: bool| {
        let inputs = dropout.forward(&batch.inputs, train)?;
        net.losses(&Batch { inputs, ..batch.clone() }, train)
    };
    for mut estimator in [FiniteDifference::default(), FiniteDifference::adaptive(2)] {
        refused("dropout", estimator.norms(BatchLoss::new(&f, &net.params, &batch)), &["two evaluations", "Dropout"]);
    }
    let (data, mut rule, mut sgd) = (Fixed(vec![batch]), sam(0.1), Sgd::default());
    let task = Task { data: &data, ..task(&f, &net.params, &mut rule, &mut sgd) };
    refused("dropout under SAM", fit(task, Progress::default(), &mut ()), &["two evaluations", "Dropout"]);
    Ok(())
}

/// An estimate that a rule weighs with is checked where the rule is.
#[test]
fn estimators_are_part_of_what_is_checked_before_the_first_step() -> Result<()> {
    let rows = Rows::new(Link::Squares, 4, 3, 1)?;
    let none = FiniteDifference { probes: 0, ..FiniteDifference::default() };
    let rule = Micro::new(rw_sam(0.1, Temperature::Raw(1.), Shuffled { inner: none }), 2);
    refused("no probe", rule.check(&rows.params), &["probes is 0"]);
    let Estimate { losses, .. } =
        FiniteDifference::default().estimate(BatchLoss::new(&rows, &rows.params, &rows.batch))?;
    assert_eq!(losses.dims(), [4]);
    Ok(())
}

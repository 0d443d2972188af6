//! What cannot be right is an error that says so, at the latest before the first step.

use crate::problems::{Fixed, Link, Net, Rows, images, mlp, noise, refused, resnet8, task, weights};
use crate::rules::every_rule;
use candle_core::{DType, Device, Error, Result, Tensor, Var};
use candle_nn::{BatchNorm, BatchNormConfig, ModuleT, VarBuilder};
use msharp_core::{
    Batch, BatchLoss, Component, GradNormEstimator, Key, Offset, Optimizer, Params, Perturbation, Seeded, Select,
    Temperature,
};
use msharp_data::{Loader, synthetic};
use msharp_gradnorm::{Exact, FiniteDifference, Ghost, LastLayer, Noise, RandomNorms, Shuffled};
use msharp_models::Norm;
use msharp_perturb::*;
use msharp_train::{
    AdamW, Checkpoint, CheckpointPolicy, Classifier, Decay, Extent, Observer, Outcome, Progress, Sgd, Task, evaluate,
    fit,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// ½(w² − 1)² at w = 2 along ρ = 0.1: 14.322 at 2.1, and not what is left of a variable that was moved twice.
#[test]
fn one_variable_is_displaced_once() -> Result<()> {
    let w = Var::new(&[2f64], &Device::Cpu)?;
    let named = |names: &[&str]| Params::new(names.iter().map(|name| ((*name).to_owned(), w.clone())));
    refused("two names of one variable", named(&["a", "b"]), &["\"a\"", "\"b\""]);
    let params = named(&["a"])?;
    let f = |batch: &Batch, _: bool| batch.inputs.broadcast_mul(&((w.sqr()? - 1.)?.sqr()? * 0.5)?);
    let one = Tensor::ones(1, DType::F64, &Device::Cpu)?;
    let found =
        sam(0.1).gradient(BatchLoss::new(&f, &params, &Batch::new(one.clone(), one, Key::new(0))))?.grads.to_vec()?[0];
    assert!((found - 2. * 2.1 * (2.1f64.powi(2) - 1.)).abs() < 1e-12, "{found}");
    assert_eq!(w.to_vec1::<f64>()?, [2.]);
    Ok(())
}

#[test]
fn an_empty_batch_has_one_sentence() -> Result<()> {
    let (net, full) = (mlp(6, 5, 3, 1)?, noise(4, 6, 3, 2)?);
    let empty = full.narrow(0, 0, Key::new(0))?;
    let estimators: [(&str, Box<dyn GradNormEstimator>); 6] = [
        ("exact", Box::new(Exact)),
        ("ghost", Box::new(Ghost::default())),
        ("last layer", Box::new(LastLayer::default())),
        ("finite difference", Box::new(FiniteDifference::default())),
        ("random", Box::new(RandomNorms)),
        ("shuffled", Box::new(Shuffled { inner: Exact })),
    ];
    for (name, mut estimator) in estimators {
        refused(name, estimator.norms(BatchLoss::new(&net, &net.params, &empty)), &["the batch is empty"]);
        refused(
            name,
            rw_sam(0.1, Temperature::Raw(1.), estimator).gradient(BatchLoss::new(&net, &net.params, &empty)),
            &["is empty"],
        );
    }
    for (name, mut rule) in every_rule(0.1, &Fixed(vec![full.clone()])) {
        refused(name, rule.gradient(BatchLoss::new(&net, &net.params, &empty)), &["the batch is empty"]);
    }
    refused("noise", Noise::measure(&mut Exact, BatchLoss::new(&net, &net.params, &empty)), &["the batch is empty"]);
    Ok(())
}

/// Passes of each optimizer step, in units of a pass over the whole batch.
#[test]
fn every_kth_step_counts_optimizer_steps_also_inside_micro_batches() -> Result<()> {
    let rows = Rows::new(Link::Logistic, 8, 4, 1)?;
    let passes = |mut rule: Box<dyn Perturbation>| -> Result<Vec<u64>> {
        let counted = msharp_core::Counted::new(&rows);
        let step = |_| {
            rule.gradient(BatchLoss::new(&counted, &rows.params, &rows.batch))?;
            Ok(counted.take().0 / 8)
        };
        (0..5).map(step).collect()
    };
    for size in [8, 4, 3, 2, 1] {
        let looks = passes(Box::new(Micro::new(look_sam(0.1, 4, 0.7), size)))?;
        assert_eq!(looks, [2, 1, 1, 1, 2], "LookSAM in micro-batches of {size}");
        let every = passes(Box::new(Micro::new(Every::new(sam(0.1), 3), size)))?;
        assert_eq!(every, [2, 1, 1, 2, 1], "every third step in micro-batches of {size}");
        let nested = passes(Box::new(Micro::new(Micro::new(look_sam(0.1, 4, 0.7), 1), size)))?;
        assert_eq!(nested, [2, 1, 1, 1, 2], "micro-batches of micro-batches of {size}");
    }
    let eigen = Eigen::new(0.1, 0.2).refreshed(2, 1);
    assert_eq!(passes(Box::new(Micro::new(with_offset(eigen.clone()), 4)))?, [4, 2, 4, 2, 4]);
    let twice = with_offset(Steps { inner: eigen, steps: 2 });
    assert_eq!(passes(Box::new(Micro::new(twice, 4)))?, [7, 3, 7, 3, 7]);
    Ok(())
}

/// Each would be NaN gradients, or a rule that is another one.
#[test]
fn constants_that_no_formula_allows_are_refused_by_every_rule() -> Result<()> {
    let rows = Rows::new(Link::Squares, 4, 3, 1)?;
    let l2 = L2 { rho: 0.1 };
    let grouped = |factor: f64| with_offset(Grouped { inner: l2, groups: vec![(Select::All, factor)] });
    let scheduled = |schedule| with_offset(Scheduled { inner: l2, schedule });
    let exact = |temperature| rw_sam(0.1, temperature, Exact);
    let rules: Vec<(Box<dyn Perturbation>, &str)> = vec![
        (Box::new(sam(f64::NAN)), "rho is NaN"),
        (Box::new(sam(-0.1)), "rho is -0.1"),
        (Box::new(usam(f64::INFINITY)), "rho is inf"),
        (Box::new(linf_sam(-1.)), "rho is -1"),
        (Box::new(rwp(f64::NAN)), "rho is NaN"),
        (Box::new(msam(0.1, 1.)), "mu is 1"),
        (Box::new(wsam(0.1, 1.)), "alpha is inf"),
        (Box::new(wsam(0.1, 1.5)), "alpha is -3"),
        (Box::new(pgn(0.1, -1.)), "alpha is -1"),
        (Box::new(gsam(0.1, f64::NAN, 0.)), "alpha is NaN"),
        (Box::new(gsam(0.1, 0.4, 0.2)), "least is 2"),
        (Box::new(esam(0.1, 0., 0.5)), "beta is 0"),
        (Box::new(esam(0.1, 0.6, 0.)), "gamma is 0"),
        (Box::new(multi_step_sam(0.1, 0)), "the number of ascent steps is 0"),
        (Box::new(friendly_sam(0.1, 1., 1.5)), "lambda is 1.5"),
        (Box::new(friendly_sam(0.1, -1., 0.6)), "sigma is -1"),
        (Box::new(vasso(0.1, 0.)), "theta is 0"),
        (Box::new(look_sam(0.1, 0, 0.7)), "k is 0"),
        (Box::new(unified_sam(0.1, 1.1)), "l is 1.1"),
        (Box::new(r_sam(0.1, -0.1)), "sigma is -0.1"),
        (Box::new(eigen_sam(0.1, f64::NAN)), "alpha is NaN"),
        (Box::new(Every::new(sam(0.1), 0)), "every is 0"),
        (Box::new(m_sam(0.1, 0)), "the size of a micro-batch is 0"),
        (Box::new(During { inner: sam(0.1), start: 0.5, end: 0.5 }), "from 0.5 to 0.5"),
        (Box::new(Clipped { inner: sam(0.1), max_norm: 0. }), "to clip to is 0"),
        (Box::new(with_offset(Clipped { inner: l2, max_norm: -1. })), "to clip to is -1"),
        (Box::new(with_offset(Adaptive { eta: -1., ..Adaptive::everywhere(0.1) })), "eta is -1"),
        (Box::new(with_offset(Decayed { inner: l2, weight_decay: f64::NAN, on: Select::All })), "weight_decay is NaN"),
        (Box::new(grouped(-1.)), "factor of a group is -1"),
        (Box::new(scheduled(RhoSchedule::WarmUp { share: 0. })), "share is 0"),
        (Box::new(scheduled(RhoSchedule::Cosine { end: -1. })), "end is -1"),
        (Box::new(exact(Temperature::EffectiveSize(0.5))), "effective size is 0.5"),
        (Box::new(exact(Temperature::Raw(-1.))), "lambda is -1"),
    ];
    for (mut rule, part) in rules {
        refused(part, rule.check(&rows.params), &[part, "expected"]);
        refused(part, rule.gradient(BatchLoss::new(&rows, &rows.params, &rows.batch)), &[part, "expected"]);
        let (data, mut sgd) = (Fixed(vec![rows.batch.clone()]), Sgd::default());
        let task = Task { data: &data, ..task(&rows, &rows.params, &mut rule, &mut sgd) };
        refused(part, fit(task, Progress::default(), &mut ()), &[part]);
    }
    let grads = BatchLoss::new(&rows, &rows.params, &rows.batch).gradient()?.grads;
    let before = weights(&rows.params)?;
    let optimizers: [(Box<dyn Optimizer>, f64, &str); 5] = [
        (Box::new(Sgd { momentum: 1., ..Sgd::default() }), 0.1, "momentum is 1"),
        (Box::new(Sgd { weight_decay: -1., ..Sgd::default() }), 0.1, "weight decay is -1"),
        (Box::new(Sgd { nesterov: true, ..Sgd::default() }), 0.1, "momentum is 0"),
        (Box::new(AdamW { beta2: 1., ..AdamW::default() }), 0.1, "beta2 is 1"),
        (Box::new(Sgd::default()), -0.1, "learning rate is -0.1"),
    ];
    for (mut optimizer, lr, part) in optimizers {
        refused(part, optimizer.step(&rows.params, &grads, lr), &[part]);
    }
    assert!(weights(&rows.params)? == before);
    Ok(())
}

/// Where the first half of the run is plain, a name that is misspelt is still found before it.
#[test]
fn what_can_be_known_before_the_first_step_is_said_before_it() -> Result<()> {
    let (net, batch) = (resnet8(Norm::Group(32), 1)?, images(4, 1)?);
    let (data, before) = (Fixed(vec![batch; 2]), weights(&net.params)?);
    let misspelt = || Grouped::only("layer9.*".parse().expect("a glob"), L2 { rho: 0.1 });
    let folder = tempfile::tempdir().map_err(Error::wrap)?;
    std::fs::create_dir(folder.path().join("folder"))?;
    std::fs::write(folder.path().join("file"), b"")?;
    let policy = |name: &str| {
        Some(CheckpointPolicy {
            every: Duration::MAX,
            ..CheckpointPolicy::new(folder.path().join(name), String::new())
        })
    };
    let go = |rule: &mut dyn Perturbation, change: &dyn Fn(&mut Task), progress: Progress| {
        let mut sgd = Sgd::default();
        let mut task = Task { data: &data, ..task(&net, &net.params, rule, &mut sgd) };
        change(&mut task);
        fit(task, progress, &mut ())
    };
    let mut late = During { inner: Micro::new(with_offset(misspelt()), 2), start: 0.5, end: 1. };
    refused("a name", go(&mut late, &|_| (), Progress::default()), &["layer9.*", "no parameter"]);
    let mut rare = Every::new(with_offset(misspelt()), 100);
    refused("a name", go(&mut rare, &|_| (), Progress::default()), &["layer9.*"]);
    for (what, change, part) in [
        ("a rate below 0", (&|task: &mut Task| task.schedule.lr = -0.1) as &dyn Fn(&mut Task), "learning rate is -0.1"),
        ("a rate that is no number", &|task| task.schedule.lr = f64::NAN, "learning rate is NaN"),
        ("a warm-up", &|task| task.schedule.warm_up = 1.5, "warm-up is 1.5"),
        ("a decay", &|task| task.schedule.decay = Decay::Step { at: vec![2.], factor: 0.1 }, "share 2"),
        ("no reading", &|task| task.read_every = 0, "read_every is 0"),
        ("a folder in its place", &|task| task.checkpoint = policy("folder"), "folder"),
        ("a file above it", &|task| task.checkpoint = policy("file/x"), "file/x"),
    ] {
        refused(what, go(&mut sam(0.1), change, Progress::default()), &[part]);
    }
    let at = |epoch, step| Progress { epoch, step, ..Progress::default() };
    for (progress, part) in [
        (at(0, 7), "step 7 of epoch 0"),
        (at(3, 0), "step 0 of epoch 3"),
        (at(2, 1), "step 1 of epoch 2"),
        (Progress { of: Some(Extent { steps: 2, samples: 9 }), ..at(0, 1) }, "9 samples in 2 batches"),
    ] {
        refused(part, go(&mut sam(0.1), &|_| (), progress), &[part]);
    }
    assert!(weights(&net.params)? == before, "no step was made");
    Ok(())
}

/// candle's batch normalisation, whose running variance is NaN after a batch of one value a channel.
struct Normed(BatchNorm, candle_nn::Linear);

impl ModuleT for Normed {
    fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        let xs = xs.flatten_from(1)?.narrow(1, 0, 4)?.contiguous()?;
        candle_nn::Module::forward(&self.1, &self.0.forward_t(&xs, train)?)
    }
}

#[test]
fn a_buffer_that_is_no_number_ends_the_run_and_is_named() -> Result<()> {
    let init = Seeded::new(1, DType::F32, &Device::Cpu);
    let vb: VarBuilder = init.var_builder();
    let norm = candle_nn::batch_norm(4, BatchNormConfig::default(), vb.pp("bn"))?;
    let classifier = Classifier::new(Normed(norm, candle_nn::linear(4, 10, vb.pp("fc"))?));
    let params = init.params()?;
    let data = Loader::eval(Arc::new(synthetic(33, 0, 1).train), 8); // the last batch has one sample
    let (mut plain, mut sgd) = (Plain, Sgd::default());
    let task = Task { data: &data, epochs: 1, ..task(&classifier, &params, &mut plain, &mut sgd) };
    let (outcome, progress) = fit(task, Progress::default(), &mut ())?;
    let Outcome::Diverged { epoch: 0, step: 4, what } = outcome else { panic!("{outcome:?}") };
    assert!(what == "bn.running_var" || what == "the loss" || what == "the gradient", "{what}");
    assert_eq!(progress.step, 4);
    let found = evaluate(&classifier, &data)?;
    assert!(found.not_finite == 33 && found.accuracy == 0. && found.loss.is_nan(), "{found:?}");
    Ok(())
}

/// Says ∞ before every step.
struct Endless;

impl Observer for Endless {
    fn before_step(&mut self, _: BatchLoss, step: usize) -> Result<BTreeMap<&'static str, f64>> {
        Ok(BTreeMap::from([("ratio", if step == 1 { 3. } else { f64::INFINITY })]))
    }
}

#[test]
fn a_measure_that_is_not_finite_does_not_cost_the_run() -> Result<()> {
    let (net, batch) = (mlp(6, 5, 3, 1)?, noise(4, 6, 3, 2)?);
    let folder = tempfile::tempdir().map_err(Error::wrap)?;
    let path = folder.path().join("c.safetensors");
    let go = |net: &Net<_>, path: &Path| -> Result<Progress> {
        let checkpoint = Some(CheckpointPolicy { every: Duration::ZERO, ..CheckpointPolicy::new(path, "") });
        let (mut rule, mut sgd, data) = (sam(0.1), Sgd::default(), Fixed(vec![batch.clone(); 2]));
        let task = Task { data: &data, checkpoint, ..task(net, &net.params, &mut rule, &mut sgd) };
        Ok(fit(task, Progress::default(), &mut Endless)?.1)
    };
    let progress = go(&net, &path)?;
    let read = Checkpoint::read(&path)?;
    assert_eq!(read.progress, progress);
    let sum = read.progress.whole_run.measure_sums["ratio"];
    assert_eq!((sum.sum, sum.steps, sum.not_finite), (3., 1, 3));
    assert_eq!(read.progress.whole_run.not_finite()["ratio"], 3);
    Ok(())
}

/// A checkpoint of one rule is none of another, whatever their states are called.
#[test]
fn a_state_is_restored_into_its_own_rule_only() -> Result<()> {
    let rows = Rows::new(Link::Squares, 4, 3, 1)?;
    let rules = || -> Vec<(&str, Box<dyn Perturbation>)> {
        vec![
            ("sam", Box::new(sam(0.1))),
            ("f-sam", Box::new(friendly_sam(0.1, 1., 0.6))),
            ("vasso", Box::new(vasso(0.1, 0.4))),
            ("msam", Box::new(msam(0.1, 0.9))),
            ("look-sam", Box::new(look_sam(0.1, 5, 0.7))),
            ("m-vasso", Box::new(Micro::new(vasso(0.1, 0.4), 2))),
            ("boxed vasso", Box::new(with_offset(Box::new(Averaged::new(L2 { rho: 0.1 }, 0.4)) as Box<dyn Offset>))),
        ]
    };
    let names: Vec<String> = rules().iter().map(|(_, rule)| rule.name()).collect();
    assert_eq!(names[1], "Mean × Friendly(L2) × Descend");
    assert_eq!(names[5], "Micro(Mean × Averaged(L2) × Descend)");
    for (i, (name, mut rule)) in rules().into_iter().enumerate() {
        rule.gradient(BatchLoss::new(&rows, &rows.params, &rows.batch))?;
        let saved = Checkpoint::of(&rows.params, &mut Sgd::default(), &mut rule, &Progress::default(), "")?;
        for (j, (other_name, mut other)) in rules().into_iter().enumerate() {
            let restored = saved.restore(&rows.params, &mut Sgd::default(), &mut other);
            match names[i] == names[j] {
                true => drop(restored?), // a box is what is in it
                false => refused(&format!("{name} in {other_name}"), restored, &[&names[i], &names[j]]),
            }
        }
    }
    Ok(())
}

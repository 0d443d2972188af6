//! The noise of finite differences, measured and refused; the noise of gradients, by hand and logged in a run.

use crate::problems::{Link, Rows, buffers, distance, dot, images, norm, weights, wrn10};
use crate::runs::{Rule, Run, STEPS, Stop, assert_same};
use candle_core::{Device, Result, Tensor, Var};
use msharp_core::{
    Batch, BatchLoss, Component, Counted, GradNormEstimator, Key, Objective, ParamVec, Params, Perturbation, State,
    Temperature,
};
use msharp_gradnorm::{Delta, Exact, FiniteDifference, Noise, Probe, TwoSizes};
use msharp_models::Norm;
use msharp_perturb::rw_sam;
use msharp_train::Observer;
use std::collections::BTreeMap;
use std::time::Duration;

fn checked(delta: f64, central: bool) -> FiniteDifference {
    FiniteDifference { delta: Delta::Relative(delta), check_every: 1, central, ..FiniteDifference::default() }
}

#[test]
fn a_step_that_is_too_short_or_too_long_is_refused_with_what_to_set() -> Result<()> {
    let (net, batch) = (wrn10(Norm::Group(32), 2)?, images(16, 1)?);
    for (delta, central, parts) in [
        (3e-8, false, ["too small", "rounding", "longer δ"]),
        (3e-8, true, ["too small", "rounding", "longer δ"]),
        (30., false, ["too large", "curvature", "shorter δ"]),
        (30., true, ["too large", "curvature", "shorter δ"]),
    ] {
        let error =
            checked(delta, central).estimate(BatchLoss::new(&net, &net.params, &batch)).unwrap_err().to_string();
        for part in ["FiniteDifference", "times their signal", "‖δz‖", "Adaptive"].iter().chain(&parts) {
            assert!(error.contains(part), "‖δz‖ = {delta}·‖x‖, central {central}: no {part:?} in {error}");
        }
    }
    for central in [false, true] {
        let estimate = checked(1e-4, central).estimate(BatchLoss::new(&net, &net.params, &batch))?;
        let noise = estimate.measures["probe_noise"].to_scalar::<f64>()?;
        assert!(noise > 0. && noise < 0.1, "central {central}: {noise}");
    }
    // the bound of the rounding, for nothing, sees what is far too short
    let mut unchecked = FiniteDifference { delta: Delta::Absolute(1e-11), ..FiniteDifference::default() };
    let error = unchecked.estimate(BatchLoss::new(&net, &net.params, &batch)).unwrap_err().to_string();
    assert!(error.contains("too small") && error.contains("1.0e-11") && error.contains("Adaptive"), "{error}");
    Ok(())
}

/// |⟨z, ∇ℓᵢ⟩| for the first probe.
fn slopes(f: &dyn Objective, params: &Params, batch: &Batch) -> Result<Vec<f64>> {
    let z = ParamVec::rademacher(params, batch.key.fold_name("probe").fold(0))?;
    let losses = f.losses(batch, true)?;
    let one = |i| Ok(z.dot(&ParamVec::collect(params, &losses.get(i)?.backward()?)?)?.abs());
    (0..batch.len()).map(one).collect()
}

#[test]
fn an_adaptive_step_finds_its_length_from_anywhere() -> Result<()> {
    let (net, batch) = (wrn10(Norm::Group(32), 3)?, images(16, 2)?);
    let expected = slopes(&net, &net.params, &batch)?;
    for (start, central) in [(1e-7, false), (1e-4, false), (0.05, false), (1e-7, true), (0.05, true)] {
        let mut estimator = FiniteDifference { central, ..FiniteDifference::adaptive(1) };
        estimator.tuned.ratio = start;
        let noise = estimator.estimate(BatchLoss::new(&net, &net.params, &batch))?.measures["probe_noise"]
            .to_scalar::<f64>()?;
        let off = distance(&estimator.norms(BatchLoss::new(&net, &net.params, &batch))?.to_vec1()?, &expected);
        let found = estimator.tuned.ratio;
        assert!((1e-6..2e-2).contains(&found), "from {start:e}, central {central}: to {found:e}");
        assert!(off < 0.1, "from {start:e}, central {central}: relative error {off} at {found:e}");
        // and the noise that it reports is the noise that there is, up to a probe's luck
        assert!((0.2..5.).contains(&(off / noise)), "from {start:e}, central {central}: {noise} for {off}");
    }
    Ok(())
}

/// Nothing to weigh, nothing to refuse: gradients of 0, whatever the losses.
#[test]
fn flat_losses_have_norms_of_0_and_are_no_error() -> Result<()> {
    let rows = Rows::new(Link::Squares, 7, 4, 3)?;
    for level in [0., 1., 1e6] {
        let flat = |batch: &Batch, train: bool| (rows.losses(batch, train)? * batch.targets.zeros_like()?)? + level;
        let short = FiniteDifference { delta: Delta::Absolute(1e-13), ..FiniteDifference::default() };
        for mut estimator in [
            FiniteDifference::default(),
            FiniteDifference::adaptive(2),
            checked(1e-9, true),
            checked(0.1, false),
            short,
        ] {
            let estimate = estimator.estimate(BatchLoss::new(&flat, &rows.params, &rows.batch))?;
            assert_eq!(estimate.norms.to_vec1::<f64>()?, [0.; 7]);
            assert_eq!(estimate.measures["probe_rounding"].to_scalar::<f64>()?, 0.);
        }
    }
    // whereas the same short step on losses that do move is an error, although they seem flat to it
    let far = |batch: &Batch, train: bool| rows.losses(batch, train)? + 1e6;
    let mut short = FiniteDifference { delta: Delta::Absolute(1e-13), ..FiniteDifference::default() };
    let error = short.estimate(BatchLoss::new(&far, &rows.params, &rows.batch)).unwrap_err().to_string();
    assert!(error.contains("too small"), "{error}");
    Ok(())
}

/// Losses that are not finite are the trainer's business: it finds the norms and the loss, and says that the run
/// diverged.
#[test]
fn losses_that_are_not_finite_are_no_noise() -> Result<()> {
    let rows = Rows::new(Link::Squares, 7, 4, 3)?;
    for value in [f64::NAN, f64::INFINITY] {
        let spoilt = |batch: &Batch, train: bool| (rows.losses(batch, train)? * value)?.abs();
        for mut estimator in [FiniteDifference::default(), FiniteDifference::adaptive(1), checked(1e-4, true)] {
            let ratio = estimator.tuned.ratio;
            let norms =
                estimator.estimate(BatchLoss::new(&spoilt, &rows.params, &rows.batch))?.norms.to_vec1::<f64>()?;
            assert!(norms.iter().all(|norm| !norm.is_finite()), "{value}: {norms:?}");
            assert_eq!(estimator.tuned.ratio, ratio, "nothing is learnt from it");
        }
    }
    Ok(())
}

#[test]
fn a_check_costs_what_is_said_and_comes_when_it_is_said() -> Result<()> {
    let rows = Rows::new(Link::Logistic, 6, 4, 1)?;
    let counted = Counted::new(&rows);
    for (central, check, plain) in [(false, 4, 2), (true, 5, 3)] {
        let mut estimator = FiniteDifference { check_every: 3, ..checked(1e-6, central) };
        for k in 0..7 {
            let estimate = estimator.estimate(BatchLoss::new(&counted, &rows.params, &rows.batch))?;
            let due = k % 3 == 0;
            assert_eq!(counted.take(), (6 * (plain + if due { check } else { 0 }), 0), "central {central}, step {k}");
            assert_eq!(estimate.measures.contains_key("probe_noise"), due);
        }
        estimator.noise(BatchLoss::new(&counted, &rows.params, &rows.batch))?;
        assert_eq!(counted.take(), (6 * check, 0));
    }
    Ok(())
}

#[test]
fn what_adapted_is_saved_to_the_bit() -> Result<()> {
    let (net, batch) = (wrn10(Norm::Group(32), 3)?, images(8, 2)?);
    let mut first = FiniteDifference::adaptive(1);
    first.norms(BatchLoss::new(&net, &net.params, &batch))?;
    let (mut tensors, mut second) = (BTreeMap::new(), FiniteDifference::adaptive(1));
    first.state(&net.params, &mut State::save("e", &mut tensors))?;
    assert_ne!(first, second);
    second.state(&net.params, &mut State::load("e", &tensors))?;
    assert_eq!(first.tuned.ratio.to_bits(), second.tuned.ratio.to_bits());
    assert_eq!(first, second);
    Ok(())
}

fn with_adaptive() -> Box<dyn Perturbation> {
    let estimator = FiniteDifference { check_every: 2, ..FiniteDifference::adaptive(1) };
    Box::new(rw_sam(0.05, Temperature::Relative(1.), estimator))
}

#[test]
fn a_run_whose_step_adapts_resumes_to_the_bit() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = &folder.path().join("run.safetensors");
    let hour = Duration::from_secs(3600);
    let run = Run { rule: with_adaptive as Rule, seed: 6, resumes: false, every: hour, lr: 0.1, path };
    let straight = run.go(&mut (), None)?;
    for (epoch, step) in [(0, 0), (0, 1), (1, 1)] {
        run.go(&mut Stop::Step(epoch, step), None)?;
        let resumed = Run { resumes: true, seed: 7, ..run }.go(&mut (), None)?;
        assert_same(&resumed, &straight, &format!("stopped after step {step} of epoch {epoch}"));
        assert_eq!(resumed.1.whole_run.measures(), straight.1.whole_run.measures());
    }
    Ok(())
}

/// tr V of linear models, where every gradient is known, and of all their batches of two sizes.
#[test]
fn the_trace_is_the_closed_form_in_all_its_forms() -> Result<()> {
    for link in [Link::Linear, Link::Squares, Link::Logistic] {
        let (rows, n) = (Rows::new(link, 6, 4, 5)?, 6);
        let x = rows.x()?;
        let mean = rows.mean(0..n, &x);
        let squares = |batch: &[usize]| -> f64 {
            let share = 1. / batch.len() as f64;
            let g = rows.weighted(batch.iter().map(|i| (*i, share)), &x);
            dot(&g, &g)
        };
        let spread = |i: usize| norm(&crate::problems::along(&rows.grad(i, &x), -1., &mean)).powi(2);
        let trace: f64 = (0..n).map(spread).sum::<f64>() / n as f64;

        let noise = Noise::measure(&mut Exact, BatchLoss::new(&rows, &rows.params, &rows.batch))?;
        assert!((noise.mean_norm / norm(&mean) - 1.).abs() < 1e-12);
        assert!((noise.trace_biased() / trace - 1.).abs() < 1e-9, "{link:?}");
        assert!((noise.trace() / (trace * 6. / 5.) - 1.).abs() < 1e-9);

        let mean_square = |b: u32| {
            let sets: Vec<Vec<usize>> = (0..1usize << n)
                .filter(|set| set.count_ones() == b)
                .map(|set| (0..n).filter(|i| set >> i & 1 == 1).collect())
                .collect();
            (b as f64, sets.iter().map(|set| squares(set)).sum::<f64>() / sets.len() as f64)
        };
        let sizes = TwoSizes { small: mean_square(2), large: mean_square(5) };
        assert!((sizes.trace() / noise.trace() - 1.).abs() < 1e-9, "{link:?}: {} {}", sizes.trace(), noise.trace());
        assert!((sizes.squared_gradient() - noise.squared_gradient()).abs() < 1e-9 * noise.mean_square());
    }
    Ok(())
}

/// With unbiased squares tr V is unbiased too: the mean over 400 single probes, within four standard errors.
#[test]
fn one_probe_estimates_the_trace_without_bias() -> Result<()> {
    let rows = Rows::new(Link::Linear, 8, 6, 9)?;
    let exact = Noise::measure(&mut Exact, BatchLoss::new(&rows, &rows.params, &rows.batch))?.trace();
    for probe in [Probe::Rademacher, Probe::Sphere] {
        let mut estimator = FiniteDifference { probe, ..FiniteDifference::default() };
        let mut found = Vec::new();
        for k in 0..400 {
            let batch = Batch { key: Key::new(4).fold(k), ..rows.batch.clone() };
            found.push(Noise::measure(&mut estimator, BatchLoss::new(&rows, &rows.params, &batch))?.trace());
        }
        let mean = found.iter().sum::<f64>() / 400.;
        let error = (found.iter().map(|t| (t - mean).powi(2)).sum::<f64>() / 399. / 400.).sqrt();
        assert!((mean - exact).abs() < 4. * error, "{probe:?}: {mean} ± {error} for {exact}");
    }
    Ok(())
}

/// Measures every other step, and counts.
struct Measuring(usize);

impl Observer for Measuring {
    fn before_step(&mut self, loss: BatchLoss, step: usize) -> Result<BTreeMap<&'static str, f64>> {
        if !step.is_multiple_of(2) {
            return Ok(BTreeMap::new());
        }
        self.0 += 1;
        let params = loss.params;
        let before = (weights(params)?, buffers(params)?);
        let noise = Noise::measure(&mut Exact, loss)?;
        assert!((weights(params)?, buffers(params)?) == before);
        Ok(BTreeMap::from([("noise_trace", noise.trace())]))
    }
}

#[test]
fn measuring_the_noise_of_a_run_changes_no_bit_of_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = &folder.path().join("run.safetensors");
    let hour = Duration::from_secs(3600);
    for rule in [crate::runs::with_rw_sam as Rule, with_adaptive] {
        let run = Run { rule, seed: 6, resumes: false, every: hour, lr: 0.1, path };
        let (plain, mut measuring) = (run.go(&mut (), None)?, Measuring(0));
        let measured = run.go(&mut measuring, None)?;
        assert_same(&measured, &plain, "with and without measuring");
        let tally = &measured.1.whole_run;
        assert_eq!((measuring.0, tally.forward), (STEPS, plain.1.whole_run.forward), "the passes are the rule's own");
        assert!(tally.measures()["noise_trace"] > 0.);
        assert_eq!(tally.measure_sums["noise_trace"].steps, STEPS);
    }
    Ok(())
}

/// Two parameters whose gradients are always (a, −a): half of the probes of signs are orthogonal to all of them, which
/// is no noise and no error.
#[test]
fn a_probe_that_is_orthogonal_to_every_gradient_is_no_error() -> Result<()> {
    let x = Var::new(&[1f32, 0.5], &Device::Cpu)?;
    let params = Params::new([("x".to_owned(), x.clone())])?;
    let signs = Tensor::new(&[1f32, -1.], &Device::Cpu)?;
    let f = |batch: &Batch, _: bool| {
        let apart = (x.as_tensor() * &signs)?.sum_all()?;
        batch.inputs.broadcast_mul(&apart)?.affine(1., 0.3)?.sqr()
    };
    let inputs = Tensor::new(&[1f32, 2., 3.], &Device::Cpu)?;
    let (mut zeros, mut others) = (0, 0);
    for k in 0..40 {
        let batch = Batch::new(inputs.clone(), inputs.clone(), Key::new(k));
        let norms = FiniteDifference::default().norms(BatchLoss::new(&f, &params, &batch))?.to_vec1::<f64>()?;
        if norms[2] < 0.1 { zeros += 1 } else { others += 1 }
    }
    assert!(zeros > 8 && others > 8, "{zeros} and {others}");
    Ok(())
}

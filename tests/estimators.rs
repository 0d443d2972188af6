//! Estimates of per-sample gradient norms against the exact ones, on networks.

use crate::problems::{Build, Link, NETS, Net, Rows, distance, images, mlp, noise, resnet8, vit, wrn10};
use candle_core::{Result, Tensor};
use candle_nn::ModuleT;
use msharp_core::{
    Alone, Batch, BatchLoss, Estimate, GradNormEstimator, Key, Objective, ParamVec, Params, Perturbation,
};
use msharp_gradnorm::{Delta, Exact, FiniteDifference, LastLayer, Probe};
use msharp_models::Norm;
use msharp_perturb::Plain;
use msharp_train::{Progress, Schedule, Sgd, Task, fit};

/// ∇ℓᵢ for every i, one backward pass each.
fn gradients(f: &dyn Objective, params: &Params, batch: &Batch) -> Result<Vec<ParamVec>> {
    let losses = f.losses(batch, true)?;
    (0..batch.len()).map(|i| ParamVec::collect(params, &losses.get(i)?.backward()?)).collect()
}

fn norms(
    estimator: &mut dyn GradNormEstimator,
    net: &dyn Objective,
    params: &Params,
    batch: &Batch,
) -> Result<Vec<f64>> {
    estimator.norms(BatchLoss::new(net, params, batch))?.to_vec1()
}

#[test]
fn exact_norms_are_those_of_the_gradients_of_the_samples() -> Result<()> {
    let batch = images(5, 1)?;
    for (name, build) in NETS {
        let net = build(1)?;
        let found = norms(&mut Exact, &net, &net.params, &batch)?;
        let all = gradients(&net, &net.params, &batch)?;
        let expected: Vec<f64> = all.iter().map(ParamVec::norm).collect::<Result<_>>()?;
        assert!(distance(&found, &expected) < 1e-9, "{name}: {found:?} for {expected:?}");
        // the mean of the samples' gradients is the batch's
        let mut mean = ParamVec::zeros(&net.params)?;
        for g in &all {
            mean = mean.add_scaled(1. / 5., g)?;
        }
        let plain = Plain.gradient(BatchLoss::new(&net, &net.params, &batch))?.grads;
        assert!(distance(&mean.to_vec()?, &plain.to_vec()?) < 1e-4, "{name}");
    }
    Ok(())
}

/// |⟨z, ∇ℓᵢ⟩| by hand, for the z that the batch's key gives.
#[test]
fn one_probe_is_the_directional_derivative_of_every_sample() -> Result<()> {
    let batch = images(6, 2)?;
    let nets: [(&str, Build); 3] = [
        ("wrn-10-1, batch", |seed| wrn10(Norm::Batch, seed)),
        ("wrn-10-1, group-32", |seed| wrn10(Norm::Group(32), seed)),
        ("a vision transformer", vit),
    ];
    for (name, build) in nets {
        let net = build(2)?;
        let z = ParamVec::rademacher(&net.params, batch.key.fold_name("probe").fold(0))?;
        let of = |g: &ParamVec| Ok(z.dot(g)?.abs());
        let expected: Vec<f64> = gradients(&net, &net.params, &batch)?.iter().map(of).collect::<Result<_>>()?;
        for central in [false, true] {
            let mut estimator = FiniteDifference { central, ..FiniteDifference::default() };
            let off = distance(&norms(&mut estimator, &net, &net.params, &batch)?, &expected);
            assert!(off < 0.1, "{name}, central {central}: relative RMS error {off}");
        }
    }
    Ok(())
}

/// Pearson's correlation.
fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let centred = |v: &[f64]| v.iter().map(|x| x - v.iter().sum::<f64>() / v.len() as f64).collect::<Vec<_>>();
    let (a, b) = (centred(a), centred(b));
    crate::problems::dot(&a, &b) / (crate::problems::norm(&a) * crate::problems::norm(&b))
}

/// With K probes an estimate has a coefficient of variation of about 1/√(2K): 9 % at K = 64. Means over 8 keys.
#[test]
fn more_probes_rank_the_samples_better() -> Result<()> {
    let net = mlp(24, 48, 8, 3)?;
    let batch = noise(32, 24, 8, 4)?;
    // samples of different lengths have norms that differ by more than a probe's noise
    let lengths: Vec<f32> = (0..32).map(|i| 0.2 + 0.1 * (i * 7 % 32) as f32).collect();
    let inputs = batch.inputs.broadcast_mul(&Tensor::new(lengths, batch.inputs.device())?.unsqueeze(1)?)?;
    let batch = Batch { inputs, ..batch };
    let exact = norms(&mut Exact, &net, &net.params, &batch)?;
    for probe in [Probe::Rademacher, Probe::Gaussian] {
        let mut found = Vec::new();
        for probes in [1, 6, 64] {
            let mut sum = 0.;
            for k in 0..8 {
                let batch = Batch { key: Key::new(5).fold(k), ..batch.clone() };
                let mut estimator = FiniteDifference { probes, probe, ..FiniteDifference::default() };
                let estimate = norms(&mut estimator, &net, &net.params, &batch)?;
                sum += correlation(&estimate, &exact) / 8.;
                if probes == 64 {
                    let off = distance(&estimate, &exact);
                    assert!(off < 0.2, "{probe:?}: relative RMS error {off} with 64 probes");
                }
            }
            found.push(sum);
        }
        assert!(found[0] + 0.05 < found[1] && found[1] + 0.05 < found[2], "{probe:?}: {found:?} for 1, 6, 64 probes");
        assert!(found[2] > 0.9, "{probe:?}: {found:?}");
    }
    Ok(())
}

/// The closed form is the part of the exact gradient that belongs to `fc`; and the losses stay open for an ascent.
#[test]
fn the_last_layer_is_a_part_of_the_exact_gradient() -> Result<()> {
    let (net, batch) = (wrn10(Norm::Group(32), 6)?, images(5, 3)?);
    let Estimate { losses, norms, .. } = LastLayer::default().estimate(BatchLoss::new(&net, &net.params, &batch))?;
    let exact = Exact.norms(BatchLoss::new(&net, &net.params, &batch))?.to_vec1::<f64>()?;
    for (i, norm) in norms.to_vec1::<f64>()?.into_iter().enumerate() {
        let grads = ParamVec::collect(&net.params, &losses.get(i)?.backward()?)?;
        let last = net.params.iter().zip(grads.tensors()).filter(|(param, _)| param.name.starts_with("fc."));
        let square: f64 =
            last.map(|(_, g)| msharp_ops::sum_of_squares(&[g])?.to_scalar::<f64>()).sum::<Result<f64>>()?;
        assert!((norm / square.sqrt() - 1.).abs() < 1e-5, "sample {i}: {norm} for {}", square.sqrt());
        assert!(norm <= exact[i] * (1. + 1e-6));
    }
    let other = |batch: &Batch, _: bool| batch.inputs.flatten_from(1)?.sum(1);
    assert!(
        LastLayer::default()
            .estimate(BatchLoss::new(&other, &net.params, &batch))
            .unwrap_err()
            .to_string()
            .contains("cross_entropy")
    );
    Ok(())
}

#[test]
fn the_step_has_the_length_that_it_reports() -> Result<()> {
    let (net, batch) = (wrn10(Norm::Group(32), 6)?, images(4, 3)?);
    let ratio = |delta| -> Result<f64> {
        let mut estimator = FiniteDifference { delta, probe: Probe::Gaussian, ..FiniteDifference::default() };
        estimator.estimate(BatchLoss::new(&net, &net.params, &batch))?.measures["probe_ratio"].to_scalar()
    };
    assert!((ratio(FiniteDifference::default().delta)? / 1e-4 - 1.).abs() < 1e-12);
    let length = (net.params.count() as f64).sqrt(); // ‖z‖ is close to √d
    assert!((ratio(Delta::Absolute(1e-5))? / (1e-5 * length / net.params.norm()?) - 1.).abs() < 0.02);
    let none = FiniteDifference { probes: 0, ..FiniteDifference::default() }.estimate(BatchLoss::new(
        &net,
        &net.params,
        &batch,
    ));
    assert!(none.unwrap_err().to_string().contains("probes is 0"));
    Ok(())
}

/// The error of a one-sided difference is proportional to δ, that of a central one to δ².
#[test]
fn central_differences_err_in_the_second_order() -> Result<()> {
    let rows = Rows::new(Link::Logistic, 9, 5, 7)?;
    let z = ParamVec::rademacher(&rows.params, rows.batch.key.fold_name("probe").fold(0))?;
    let x = rows.x()?;
    let expected: Vec<f64> =
        (0..9).map(|i| crate::problems::dot(&rows.grad(i, &x), &z.to_vec().unwrap()).abs()).collect();
    let error = |delta, central| -> Result<f64> {
        let mut estimator = FiniteDifference { delta: Delta::Absolute(delta), central, ..FiniteDifference::default() };
        Ok(distance(&norms(&mut estimator, &rows, &rows.params, &rows.batch)?, &expected))
    };
    for (central, order) in [(false, 1), (true, 2)] {
        let ratio = error(1e-3, central)? / error(5e-4, central)?;
        assert!(
            (ratio / 2f64.powi(order) - 1.).abs() < 0.02,
            "central {central}: halving δ divides the error by {ratio}"
        );
    }
    assert!(error(1e-3, true)? < 0.01 * error(1e-3, false)?);
    Ok(())
}

/// Under batch normalisation a sample's gradient flows through the statistics that it shares, under group normalisation
/// it does not depend on the rest of the batch.
#[test]
fn batch_normalisation_couples_the_norms_of_samples() -> Result<()> {
    let batch = images(6, 4)?;
    for (norm, coupled) in [(Norm::Batch, true), (Norm::Group(32), false)] {
        let net = wrn10(norm, 8)?;
        let together = norms(&mut Exact, &net, &net.params, &batch)?;
        let alone: Vec<f64> = (0..6)
            .map(|i| Ok(norms(&mut Exact, &net, &net.params, &batch.narrow(i, 1, batch.key)?)?[0]))
            .collect::<Result<_>>()?;
        let off = distance(&together, &alone);
        assert!(if coupled { off > 0.02 } else { off < 1e-4 }, "{norm}: together and alone differ by {off:e}");
    }
    Ok(())
}

/// log-softmax as candle composes it, in f32.
fn composite(net: &Net, batch: &Batch) -> Result<Tensor> {
    let logits = net.classifier.model.forward_t(&batch.inputs, true)?;
    candle_nn::ops::log_softmax(&logits, 1)?.gather(&batch.targets.unsqueeze(1)?, 1)?.squeeze(1)?.neg()
}

/// A network that has memorised its images has losses near 10⁻⁴, whose differences vanish in the rounding of an
/// ordinary log-softmax. Ours keeps them: the default step stays within 10 %.
#[test]
fn the_default_step_stays_accurate_on_a_memorised_set() -> Result<()> {
    let net = resnet8(Norm::Batch, 9)?;
    let batch = noise(32, 12 * 12 * 3, 10, 10)?;
    let batch = Batch { inputs: batch.inputs.reshape((32, 12, 12, 3))?, ..batch };
    let data = crate::problems::Fixed(vec![batch.clone()]);
    let task = Task {
        objective: &net,
        params: &net.params,
        rule: &mut Plain,
        optimizer: &mut Sgd { momentum: 0.9, ..Sgd::default() },
        data: &data,
        epochs: MEMORISING,
        schedule: Schedule::constant(0.1),
        checkpoint: None,
        read_every: 1,
        ranks: &Alone,
    };
    fit(task, Progress::default(), &mut ())?;
    let losses = net.losses(&batch, true)?.to_vec1::<f32>()?;
    let mean = losses.iter().sum::<f32>() / 32.;
    assert!((2e-5..5e-4).contains(&mean), "the mean loss is {mean}, the test wants about 1e-4");

    let all = gradients(&net, &net.params, &batch)?;
    let through_candle = |batch: &Batch, _: bool| composite(&net, batch);
    let (mut ours, mut candles, probes) = (0., 0., 4);
    for k in 0..probes {
        let z = ParamVec::rademacher(&net.params, Key::new(11).fold(k))?;
        let delta = 1e-4 * net.params.norm()? / z.norm()?;
        let expected: Vec<f64> = all.iter().map(|g| z.dot(g)).collect::<Result<_>>()?;
        let derivative = |f: &dyn Objective| -> Result<Vec<f64>> {
            let ahead = BatchLoss::new(f, &net.params, &batch).losses_at(&z.scale(delta)?)?.to_vec1::<f32>()?;
            let here =
                BatchLoss::new(f, &net.params, &batch).losses_at(&ParamVec::zeros(&net.params)?)?.to_vec1::<f32>()?;
            Ok(ahead.iter().zip(here).map(|(a, b)| (*a as f64 - b as f64) / delta).collect())
        };
        ours += distance(&derivative(&net)?, &expected) / probes as f64;
        candles += distance(&derivative(&through_candle)?, &expected) / probes as f64;
    }
    assert!(ours < 0.1, "relative RMS error {ours} at losses of {mean:e}");
    assert!(candles > 3. * ours, "candle's log-softmax errs by {candles}, ours by {ours}: the op would be needless");

    // and so for the estimator itself: six probes that see the same directions as exact gradients would
    let estimated =
        norms(&mut FiniteDifference { probes: 6, ..FiniteDifference::default() }, &net, &net.params, &batch)?;
    let mut squares = vec![0.; 32];
    for k in 0..6 {
        let z = ParamVec::rademacher(&net.params, batch.key.fold_name("probe").fold(k))?;
        for (square, g) in squares.iter_mut().zip(&all) {
            *square += z.dot(g)?.powi(2) / 6.;
        }
    }
    let off = distance(&estimated, &squares.iter().map(|s| f64::sqrt(*s)).collect::<Vec<_>>());
    assert!(off < 0.1, "relative RMS error {off} of six probes");
    Ok(())
}

/// Steps of momentum SGD after which the losses are near 10⁻⁴.
const MEMORISING: usize = 60;

//! The parts of the rules: what each becomes at the ends of its range, its closed form, its passes, its state.

use crate::problems::{
    Fixed, Link, Rows, START, bits, directions, distance, images, mlp, noise, resnet8, weights, wrn10,
};
use crate::rules::every_rule;
use candle_core::{DType, Device, Result, Tensor, Var};
use msharp_core::{
    Accumulated, Alone, Batch, BatchLoss, Combine, Component, Counted, Gradient, Key, Offset, ParamVec, Params,
    Perturbation, Select, State, Temperature, TrainingPoint,
};
use msharp_gradnorm::Exact;
use msharp_models::Norm;
use msharp_perturb::*;
use msharp_train::{CandleNn, CheckpointPolicy, Progress, Schedule, Task, fit};
use std::collections::BTreeMap;

const RHO: f64 = 0.05;

type Boxed = Box<dyn Perturbation>;

fn with<C: Combine + 'static>(combine: C) -> Boxed {
    Box::new(Sharp { ascent: Mean, offset: L2 { rho: RHO }, combine })
}

fn in_ball<O: Offset + 'static>(offset: O) -> Boxed {
    Box::new(with_offset(offset))
}

/// `rule` after so many steps, as a checkpoint restores it.
fn on_step(step: u64, mut rule: Every<Sharp<Mean, L2>>) -> Result<Every<Sharp<Mean, L2>>> {
    let params = mlp(8, 16, 4, 1)?.params;
    let saved = BTreeMap::from([("rule/step".to_owned(), Tensor::new(step as i64, &Device::Cpu)?)]);
    rule.state(&params, &mut State::load("rule", &saved))?;
    Ok(rule)
}

/// The directions of two steps, the second at another point.
fn two_steps(rule: &mut dyn Perturbation) -> Result<Vec<Vec<f64>>> {
    directions(rule, &[noise(9, 8, 4, 2)?, noise(9, 8, 4, 3)?])
}

#[test]
fn at_the_end_of_its_range_each_part_is_sam_to_the_bit() -> Result<()> {
    let l2 = L2 { rho: RHO };
    let cases: Vec<(&str, Boxed)> = vec![
        ("GSAM, α = 0", with(Gsam { alpha: 0. })),
        ("blend, α = 1", with(Blend { alpha: 1. })),
        ("LookSAM, k = 1", with(LookSam::new(1, 0.7))),
        ("AE-SAM, never too flat", with(AeSam::new(-1e9, -1e9, 0.9))),
        ("ESAM's selection, γ = 1", with(EsamSelect { gamma: 1. })),
        ("VaSSO, θ = 1", in_ball(Averaged::new(l2, 1.))),
        ("F-SAM, σ = 0", in_ball(Friendly::new(l2, 0., 0.6))),
        ("ESAM's mask, β = 1", in_ball(Sparse { inner: l2, beta: 1. })),
        ("one step", in_ball(Steps { inner: l2, steps: 1 })),
        ("unified, l = 1", in_ball(Unified { rho: RHO, l: 1. })),
        ("no group", in_ball(Grouped { inner: l2, groups: vec![] })),
        ("no decay", in_ball(Decayed { inner: l2, weight_decay: 0., on: Select::All })),
        ("constant ρ", in_ball(Scheduled { inner: l2, schedule: RhoSchedule::Constant })),
        ("ρ by a constant rate", in_ball(Scheduled { inner: l2, schedule: RhoSchedule::ByLearningRate { least: 0. } })),
        ("T = 1", in_ball(Adaptive { scale: Scale::Element, inner: l2, eta: 0., on: "!role:bias".parse()? })),
        ("far from clipping", Box::new(Clipped { inner: sam(RHO), max_norm: 1e6 })),
        ("every step", Box::new(Every::new(sam(RHO), 1))),
        ("all of the run", Box::new(During { inner: sam(RHO), start: 0., end: 1. })),
        ("one micro-batch", Box::new(Micro::new(sam(RHO), 9))),
        ("equal weights", Box::new(rw_sam(RHO, Temperature::Raw(0.), Exact))),
        ("one micro-batch that ascends", Box::new(m_ascent_sam(RHO, 9))),
        ("in a box", in_ball(Box::new(l2) as Box<dyn Offset>)),
    ];
    let expected = two_steps(&mut sam(RHO))?;
    for (name, mut rule) in cases {
        let found = two_steps(rule.as_mut())?;
        if name == "T = 1" {
            assert!(distance(&found[1], &expected[1]) > 1e-4, "only biases are unscaled, so this must differ");
            continue;
        }
        // What is multiplied by an exact 1 and added to an exact 0 is the same number; β = 1 and γ = 1 divide by sums.
        let off = distance(&found[0], &expected[0]).max(distance(&found[1], &expected[1]));
        let rounds = name.starts_with("ESAM");
        assert!(off == 0. || (rounds && off < 1e-6), "{name}: off by {off:e}");
    }
    let off = distance(&two_steps(&mut unified_sam(RHO, 0.))?[1], &two_steps(&mut usam(RHO))?[1]);
    assert!(off == 0., "unified, l = 0, is USAM; off by {off:e}");
    let off = distance(&two_steps(&mut wsam(RHO, 0.5))?[1], &expected[1]);
    assert!(off == 0., "WSAM, γ = ½; off by {off:e}");
    let off = distance(&two_steps(&mut eigen_sam(RHO, 0.))?[1], &expected[1]);
    assert!(off < 1e-5, "Eigen-SAM, α = 0; off by {off:e}");
    Ok(())
}

#[test]
fn without_a_radius_each_rule_is_plain() -> Result<()> {
    let expected = two_steps(&mut Plain)?;
    let rules: Vec<(&str, Boxed)> = vec![
        ("asam", Box::new(asam(0.))),
        ("linf", Box::new(linf_sam(0.))),
        ("vasso", Box::new(vasso(0., 0.4))),
        ("friendly", Box::new(friendly_sam(0., 1., 0.6))),
        ("eigen", Box::new(eigen_sam(0., 0.2))),
        ("gsam, with nothing across", Box::new(gsam(0., 0., 0.))),
        ("blend", Box::new(pgn(0., 1.))),
        ("msam", Box::new(msam(0., 0.9))),
        ("rwp", Box::new(rwp(0.))),
        ("r-sam", Box::new(r_sam(0., 0.))),
        ("every 3rd, on a step between", Box::new(on_step(1, Every::new(sam(RHO), 3))?)),
        ("before the rule begins", Box::new(During { inner: sam(RHO), start: 0.5, end: 1. })),
        ("all is masked", in_ball(Grouped::without(Select::All, L2 { rho: RHO }))),
    ];
    for (name, mut rule) in rules {
        assert!(two_steps(rule.as_mut())? == expected, "{name}");
    }
    Ok(())
}

/// f(x) = ½ Σ aⱼxⱼ², so that s = a(x + ε) = g + aε.
#[test]
fn directions_on_a_quadratic_are_their_closed_forms() -> Result<()> {
    let (a, x, rho) = ([1., 3., 10.], [1., -2., 0.5], 0.1);
    let var = Var::new(&x, &Device::Cpu)?;
    let params = Params::new([("x".to_owned(), var.clone())])?;
    let curvature = Tensor::new(&a, &Device::Cpu)?;
    let f =
        |batch: &Batch, _: bool| (batch.inputs.broadcast_mul(&(var.sqr()? * &curvature)?)?.sum(1)? * 0.5)?.contiguous();
    let batch = Batch::new(
        Tensor::ones((2, 3), DType::F64, &Device::Cpu)?,
        Tensor::zeros(2, DType::F64, &Device::Cpu)?,
        Key::new(0),
    )
    .at(START);

    let g: Vec<f64> = a.iter().zip(x).map(|(a, x)| a * x).collect();
    let norm = |v: &[f64]| v.iter().map(|v| v * v).sum::<f64>().sqrt();
    let each = |f: &dyn Fn(usize) -> f64| (0..3).map(f).collect::<Vec<f64>>();
    let at = |epsilon: &[f64]| each(&|j| g[j] + a[j] * epsilon[j]);
    let unit = each(&|j| g[j] / norm(&g));
    let ball = each(&|j| rho * unit[j]);
    let s = at(&ball);
    let product: f64 = (0..3).map(|j| g[j] * s[j]).sum();
    let second = each(&|j| g[j] + a[j] * ball[j] / 2.); // the gradient after half of the way
    let two = each(&|j| ball[j] / 2. + rho / 2. * second[j] / norm(&second));
    let scaled = each(&|j| x[j].abs() * g[j]);
    let leading = [0., 0., 1.]; // of curvature 10
    let along: f64 = unit[2];
    let bent = each(&|j| rho * (unit[j] + 0.2 * g[2].signum() * (leading[j] - along * unit[j])));
    let cases: Vec<(&str, Boxed, Vec<f64>)> = vec![
        ("SAM", Box::new(sam(rho)), s.clone()),
        ("USAM", Box::new(usam(rho)), at(&each(&|j| rho * g[j]))),
        ("L∞", Box::new(linf_sam(rho)), at(&each(&|j| rho * g[j].signum()))),
        ("unified", Box::new(unified_sam(rho, 0.3)), at(&each(&|j| rho * (0.7 + 0.3 / norm(&g)) * g[j]))),
        ("ASAM", Box::new(asam(rho)), at(&each(&|j| rho * x[j].abs() * scaled[j] / norm(&scaled)))),
        ("layer-wise", Box::new(layer_sam(rho)), at(&each(&|j| norm(&x) * ball[j]))),
        ("GSAM", Box::new(gsam(rho, 0.3, 0.)), each(&|j| s[j] - 0.3 * (g[j] - product / norm(&s).powi(2) * s[j]))),
        ("PGN", Box::new(pgn(rho, 0.3)), each(&|j| g[j] + 0.3 * a[j] * ball[j])),
        ("WSAM", Box::new(wsam(rho, 0.8)), each(&|j| g[j] + 4. * a[j] * ball[j])),
        ("stable", Box::new(stable_sam(rho)), each(&|j| norm(&g) * s[j] / norm(&s))),
        ("two steps", Box::new(multi_step_sam(rho, 2)), at(&two)),
        ("Eigen-SAM", in_ball(Eigen::new(rho, 0.2).refreshed(100, 60)), at(&bent)),
        (
            "decay inside",
            in_ball(Decayed { inner: Raw { rho }, weight_decay: 2., on: Select::All }),
            at(&each(&|j| rho * (g[j] + 2. * x[j]))),
        ),
        ("clipped", Box::new(Clipped { inner: sam(rho), max_norm: 1. }), each(&|j| s[j] / norm(&s))),
    ];
    for (name, mut rule, expected) in cases {
        let found = rule.gradient(BatchLoss::new(&f, &params, &batch))?.grads.to_vec()?;
        assert!(distance(&found, &expected) < 1e-10, "{name}: {found:?} for {expected:?}");
    }
    Ok(())
}

#[test]
fn masks_and_groups_move_what_they_say() -> Result<()> {
    let (net, batch) = (resnet8(Norm::Group(32), 1)?, images(4, 1)?);
    let g = Plain.gradient(BatchLoss::new(&net, &net.params, &batch))?.grads;
    let moved = |groups: Vec<(Select, f64)>| -> Result<Vec<(String, f64)>> {
        let epsilon =
            Grouped { inner: L2 { rho: 1. }, groups }.offset(BatchLoss::new(&net, &net.params, &batch), &g)?;
        let lengths = net.params.iter().zip(epsilon.tensors());
        lengths.map(|(p, e)| Ok((p.name.clone(), e.sqr()?.sum_all()?.to_scalar::<f32>()? as f64))).collect()
    };
    let only = moved(Grouped::only("role:norm".parse()?, L2 { rho: 1. }).groups)?;
    assert!(
        only.iter().all(|(name, length)| (*length > 0.) == (name.contains("bn") || name.contains("downsample.1"))),
        "{only:?}"
    );
    assert!((only.iter().map(|(_, length)| length).sum::<f64>() - 1.).abs() < 1e-5, "the norm is over what moves");
    let (plain, doubled) = (moved(vec![])?, moved(vec![("fc.*".parse()?, 2.), ("*".parse()?, 1.)])?);
    for ((name, plain), (_, doubled)) in plain.iter().zip(doubled) {
        let factor = if name.starts_with("fc.") { 4. } else { 1. };
        assert!((doubled - factor * plain).abs() <= 1e-6 * doubled, "{name}: {doubled} for {plain}");
    }
    let misspelt = moved(vec![("layer9.*".parse()?, 0.)]).unwrap_err().to_string();
    assert!(misspelt.contains("layer9.*"), "{misspelt}");
    Ok(())
}

/// Samples forward and backward in three steps on a batch of 6.
#[test]
fn each_rule_makes_the_passes_that_it_promises() -> Result<()> {
    let rows = Rows::new(Link::Squares, 6, 4, 1)?;
    let set = Fixed(Rows::new(Link::Squares, 10, 4, 2)?.batch.chunks(4)?);
    for (name, mut rule) in every_rule(RHO, &set) {
        let expected = match name {
            "plain" | "msam" | "rwp, drawn" => (3, 3),
            "look sam" | "every 2nd" => (5, 5),
            "3 steps" => (12, 12),
            "m-ascent sam" => (9, 9), // two micro-batches
            "eigen sam, drawn" => (6 + 2 * 10, 6 + 2 * 10),
            "n-sam" | "n-usam" => continue, // the whole set, in equivalence.rs
            "ae-sam, read" => continue,     // depends on the numbers
            _ if name.contains("exact") => (6, 6 + 3 * 6),
            _ if name.contains("central") => (12, 6),
            _ if name.contains("rw-") => (9, 6),
            _ => (6, 6),
        };
        let counted = Counted::new(&rows);
        for k in 0..3 {
            let batch = rows.batch.clone().at(TrainingPoint { progress: 0.1 * k as f64, lr: 0.1, lr_factor: 1. });
            rule.gradient(BatchLoss::new(&counted, &rows.params, &batch))?;
        }
        assert_eq!(counted.take(), (6 * expected.0, 6 * expected.1), "{name}");
    }
    Ok(())
}

#[test]
fn each_rule_resumes_to_the_bit() -> Result<()> {
    let (net, batches) = (mlp(8, 16, 4, 1)?, [noise(9, 8, 4, 2)?, noise(9, 8, 4, 3)?, noise(9, 8, 4, 4)?]);
    let rules = || every_rule(RHO, &Fixed(batches.to_vec())).into_iter();
    let mut with_state = Vec::new();
    for ((name, mut whole), (_, mut resumed)) in rules().zip(rules()) {
        whole.gradient(BatchLoss::new(&net, &net.params, &batches[0]))?;
        whole.gradient(BatchLoss::new(&net, &net.params, &batches[1]))?;
        let mut saved = BTreeMap::new();
        whole.state(&net.params, &mut State::save("rule", &mut saved))?;
        resumed.state(&net.params, &mut State::load("rule", &saved))?;
        if !saved.is_empty() {
            with_state.push(name);
        }
        let third = |rule: &mut Boxed| -> Result<_> {
            let step = rule.gradient(BatchLoss::new(&net, &net.params, &batches[2]))?;
            let mut again = BTreeMap::new();
            rule.state(&net.params, &mut State::save("rule", &mut again))?;
            Ok((bits(step.grads.tensors())?, bits(again.values())?))
        };
        assert!(third(&mut whole)? == third(&mut resumed)?, "{name}: a resumed run goes another way");
    }
    let expected = [
        "friendly sam",
        "vasso",
        "m-friendly sam",
        "msam",
        "look sam",
        "ae-sam, read",
        "eigen sam, drawn",
        "every 2nd",
    ];
    assert_eq!(with_state, expected);
    Ok(())
}

#[test]
fn a_parameter_without_a_gradient_is_named_by_every_rule() -> Result<()> {
    let (net, other) = (mlp(8, 16, 4, 1)?, mlp(8, 16, 4, 1)?);
    let batch = noise(6, 8, 4, 2)?;
    for (name, mut rule) in every_rule(RHO, &Fixed(vec![batch.clone()])) {
        let error = rule.gradient(BatchLoss::new(&net, &other.params, &batch)).unwrap_err().to_string();
        assert!(error.contains("\"first.bias\" received no gradient"), "{name}: {error}");
    }
    Ok(())
}

/// Pieces save memory and change nothing but rounding, whatever m is; they make no micro-batches.
#[test]
fn accumulation_does_not_depend_on_m() -> Result<()> {
    let (net, batch) = (wrn10(Norm::Group(32), 1)?, images(6, 1)?);
    let before = weights(&net.params)?;
    let exact = || rw_sam(RHO, Temperature::Relative(1.), Exact);
    let rules: Vec<(&str, Boxed, Boxed)> = vec![
        ("plain", Box::new(Plain), Box::new(Plain)),
        ("SAM", Box::new(sam(RHO)), Box::new(sam(RHO))),
        ("m-SAM", Box::new(m_sam(RHO, 3)), Box::new(m_sam(RHO, 3))),
        ("RW-SAM", Box::new(exact()), Box::new(exact())),
        ("ESAM's selection", with(EsamSelect { gamma: 0.5 }), with(EsamSelect { gamma: 0.5 })),
        ("3 steps", Box::new(multi_step_sam(RHO, 3)), Box::new(multi_step_sam(RHO, 3))),
    ];
    for (name, mut whole, mut pieces) in rules {
        let expected = whole.gradient(BatchLoss::new(&net, &net.params, &batch))?;
        for max_samples in [1, 2, 4] {
            let found =
                pieces.gradient(BatchLoss::new(&Accumulated { objective: &net, max_samples }, &net.params, &batch))?;
            let off = distance(&found.grads.to_vec()?, &expected.grads.to_vec()?);
            assert!(off < 2e-5, "{name} in pieces of {max_samples}: off by {off:e}");
            let (found, expected) = (found.losses.expect("losses"), expected.losses.as_ref().expect("losses"));
            assert!((found - expected)?.abs()?.max_all()?.to_scalar::<f32>()? < 1e-5, "{name}: the losses");
        }
    }
    let off = |max_samples: usize| -> Result<f64> {
        let found = m_sam(RHO, 3).gradient(BatchLoss::new(
            &Accumulated { objective: &net, max_samples },
            &net.params,
            &batch,
        ))?;
        Ok(distance(
            &found.grads.to_vec()?,
            &sam(RHO).gradient(BatchLoss::new(&net, &net.params, &batch))?.grads.to_vec()?,
        ))
    };
    assert!(off(2)? > 1e-3, "m-SAM is SAM here, so this shows nothing");
    let none = Accumulated { objective: &net, max_samples: 0 };
    assert!(
        sam(RHO)
            .gradient(BatchLoss::new(&none, &net.params, &batch))
            .unwrap_err()
            .to_string()
            .contains("at least one sample")
    );
    assert!(weights(&net.params)? == before);
    Ok(())
}

#[test]
fn selection_takes_the_samples_that_rise_most() -> Result<()> {
    let rows = Rows::new(Link::Squares, 8, 5, 4)?;
    let g = Plain.gradient(BatchLoss::new(&rows, &rows.params, &rows.batch))?;
    let epsilon: ParamVec = L2 { rho: 0.3 }.offset(BatchLoss::new(&rows, &rows.params, &rows.batch), &g.grads)?;
    let after = BatchLoss::new(&rows, &rows.params, &rows.batch).losses_at(&epsilon)?.to_vec1::<f64>()?;
    let before = g.losses.expect("losses").to_vec1::<f64>()?;
    let mut order: Vec<usize> = (0..8).collect();
    order.sort_by(|&i, &j| (after[j] - before[j]).total_cmp(&(after[i] - before[i])));
    let mut weights = [0f64; 8];
    order[..3].iter().for_each(|&i| weights[i] = 1. / 3.);
    let weights = Tensor::new(&weights, &Device::Cpu)?;
    let expected = BatchLoss::new(&rows, &rows.params, &rows.batch).weighted_gradient_at(&epsilon, &weights)?;
    let mut rule = Sharp { ascent: Mean, offset: L2 { rho: 0.3 }, combine: EsamSelect { gamma: 0.4 } }; // ⌊3.2⌋
    let found = rule.gradient(BatchLoss::new(&rows, &rows.params, &rows.batch))?;
    assert!(distance(&found.grads.to_vec()?, &expected.grads.to_vec()?) < 1e-12);
    Ok(())
}

/// Reports a number in every second call only, as a rule with a second pass in some steps does.
struct Sometimes(usize);

impl Component for Sometimes {}

impl Perturbation for Sometimes {
    fn gradient(&mut self, loss: BatchLoss) -> Result<Gradient> {
        self.0 += 1;
        let mut step = Plain.gradient(loss)?;
        if self.0 % 2 == 1 {
            step.measures.insert("number", Tensor::new(self.0 as f64, &Device::Cpu)?);
        }
        Ok(step)
    }
}

#[test]
fn a_measure_that_some_micro_batches_have_is_the_mean_over_them() -> Result<()> {
    let rows = Rows::new(Link::Squares, 8, 4, 1)?;
    let mut rule = Micro::new(Sometimes(0), 3); // of 3, 3 and 2 samples; the first and the last report
    let step = rule.gradient(BatchLoss::new(&rows, &rows.params, &rows.batch))?;
    let number = step.measures["number"].to_scalar::<f64>()?;
    assert!((number - (3. * 1. + 2. * 3.) / 5.).abs() < 1e-12, "{number}");
    Ok(())
}

#[test]
fn what_cannot_be_saved_is_told_before_the_first_step() -> Result<()> {
    let rows = Rows::new(Link::Squares, 8, 4, 1)?;
    let folder = tempfile::tempdir().map_err(candle_core::Error::wrap)?;
    let policy = CheckpointPolicy {
        every: std::time::Duration::from_secs(3600),
        ..CheckpointPolicy::new(folder.path().join("checkpoint"), "")
    };
    let before = weights(&rows.params)?;
    let vars = rows.params.iter().map(|param| param.var.clone()).collect();
    let task = Task {
        objective: &rows,
        params: &rows.params,
        rule: &mut Plain,
        optimizer: &mut CandleNn(<candle_nn::SGD as candle_nn::Optimizer>::new(vars, 0.1)?),
        data: &Fixed(rows.batch.chunks(4)?),
        epochs: 1,
        schedule: Schedule::cosine(0.1),
        checkpoint: Some(policy),
        read_every: 1,
        ranks: &Alone,
    };
    let error = fit(task, Progress::default(), &mut ()).unwrap_err().to_string();
    assert!(error.contains("candle-nn") && weights(&rows.params)? == before, "{error}");
    Ok(())
}

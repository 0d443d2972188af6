//! The catalogue against the constructors, and the rules that are no composition of older parts in closed form.

use crate::problems::{Fixed, Link, Rows, START, directions, distance, images, mlp, noise, resnet8};
use candle_core::{DType, Device, Result, Tensor, Var};
use msharp_core::{
    Accumulated, Batch, BatchLoss, Component, Counted, Error, GradNormEstimator, Key, ParamVec, Params, Perturbation,
    Role, Select, Temperature, TrainingPoint, testing,
};
use msharp_gradnorm::{Exact, NormLayers};
use msharp_models::Norm;
use msharp_perturb::catalogue::{Combination, OffsetChoice, Supplies, rules};
use msharp_perturb::*;

type Boxed = Box<dyn Perturbation>;

const LATER: TrainingPoint = TrainingPoint { progress: 0.9, lr: 0.05, lr_factor: 0.5 };

/// Every rule as text, with values that are not the defaults, and by its constructor.
fn both(set: &Fixed) -> Vec<(&'static str, Boxed)> {
    let size = Temperature::EffectiveSize(3.);
    vec![
        ("sgd", Box::new(Plain)),
        ("sam:rho=0.2", Box::new(sam(0.2))),
        ("usam:rho=0.2", Box::new(usam(0.2))),
        ("m-sam:m=4", Box::new(m_sam(0.1, 4))),
        ("m-usam:m=4", Box::new(m_usam(0.1, 4))),
        ("m-ascent-sam:m=4", Box::new(m_ascent_sam(0.1, 4))),
        ("n-sam", Box::new(n_sam(0.1, set.clone()))),
        ("n-usam", Box::new(n_usam(0.1, set.clone()))),
        ("rw-sam:lambda=3", Box::new(rw_sam(0.1, size, Exact))),
        ("rw-usam:lambda=0.2,temperature=raw", Box::new(rw_usam(0.1, Temperature::Raw(0.2), Exact))),
        ("delta-sam", Box::new(delta_sam(0.1, Exact))),
        ("asam", Box::new(asam(0.5))),
        ("asam-weights:rho=0.1", Box::new(asam_weights(0.1))),
        ("layer-sam", Box::new(layer_sam(0.1))),
        ("linf-sam:rho=0.01", Box::new(linf_sam(0.01))),
        ("unified-sam:l=0.25", Box::new(unified_sam(0.1, 0.25))),
        ("multi-step-sam:k=3", Box::new(multi_step_sam(0.1, 3))),
        ("gsam:alpha=0.3,rho-min=0.02", Box::new(gsam(0.1, 0.3, 0.02))),
        ("friendly-sam:sigma=0.9,lambda=0.5", Box::new(friendly_sam(0.1, 0.9, 0.5))),
        ("vasso:theta=0.6", Box::new(vasso(0.1, 0.6))),
        ("look-sam:k=2,alpha=0.5", Box::new(look_sam(0.1, 2, 0.5))),
        ("esam:beta=0.7,gamma=0.4", Box::new(esam(0.1, 0.7, 0.4))),
        ("wsam:gamma=0.7", Box::new(wsam(0.1, 0.7))),
        ("stable-sam", Box::new(stable_sam(0.1))),
        ("msam:mu=0.8", Box::new(msam(0.1, 0.8))),
        ("ae-sam", Box::new(ae_sam(0.1))),
        ("eigen-sam:alpha=0.3", Box::new(eigen_sam(0.1, 0.3))),
        ("rwp:sigma=0.02", Box::new(rwp(0.02))),
        ("r-sam:sigma=0.02", Box::new(r_sam(0.1, 0.02))),
        ("pgn:alpha=0.7", Box::new(pgn(0.1, 0.7))),
        ("sampa:lambda=0.3", Box::new(sampa(0.1, 0.3))),
        ("late-phase-sam:start=0.5", Box::new(late_phase_sam(0.1, 0.5))),
    ]
}

fn supplies(set: &Fixed) -> Supplies {
    Supplies { estimator: Some(Box::new(Exact)), data: Some(Box::new(set.clone())) }
}

#[test]
fn text_builds_what_the_constructor_builds_to_the_bit() -> Result<()> {
    let points = [START, START, LATER];
    let batches: Vec<Batch> =
        (2..5).zip(points).map(|(seed, point)| Ok(noise(9, 8, 4, seed)?.at(point))).collect::<Result<_>>()?;
    let set = Fixed(batches.clone());
    let mut covered = Vec::new();
    for (text, mut constructed) in both(&set) {
        let rule: Rule = text.parse()?;
        let mut parsed = rule.build(supplies(&set))?;
        assert_eq!(parsed.name(), constructed.name(), "{text}");
        assert_eq!(parsed.cost(9), constructed.cost(9), "{text}");
        let (found, expected) = (directions(&mut *parsed, &batches)?, directions(&mut *constructed, &batches)?);
        assert!(found == expected, "{text}");
        covered.push(rule.name());
    }
    covered.push("sam-on"); // has no norm layer to perturb there
    assert_eq!(covered.len(), rules().len());
    assert!(rules().iter().all(|entry| covered.contains(&entry.name)));
    let (net, batch) = (resnet8(Norm::Group(32), 1)?, images(4, 1)?);
    let direction = |rule: &mut dyn Perturbation| -> Result<Vec<f64>> {
        rule.gradient(BatchLoss::new(&net, &net.params, &batch))?.grads.to_vec()
    };
    let mut parsed = "sam-on:rho=0.5".parse::<Rule>()?.build(Supplies::default())?;
    assert!(direction(&mut *parsed)? == direction(&mut sam_on(0.5))?);
    Ok(())
}

/// What an entry says of its parts is what it is composed of.
#[test]
fn the_parts_of_an_entry_are_those_of_the_rule() -> Result<()> {
    let set = Fixed(vec![noise(9, 8, 4, 2)?]);
    for entry in rules() {
        let Some([_, offset, combine]) = entry.parts.filter(|parts| OffsetChoice::named(parts[1]).is_ok()) else {
            continue;
        };
        let built = Rule::of(entry).build(supplies(&set))?.name();
        let (offset, combine) = (OffsetChoice::named(offset)?.build(0.1), Combination::named(combine)?.build());
        assert!(built.ends_with(&format!(" × {} × {}", offset.name(), combine.name())), "{}: {built}", entry.name);
    }
    Ok(())
}

#[test]
fn every_rule_of_the_catalogue_resumes_to_the_bit() -> Result<()> {
    let set = Fixed(vec![]);
    for entry in rules().iter().filter(|entry| !["n-sam", "n-usam", "sam-on"].contains(&entry.name)) {
        let rule = Rule::of(entry);
        let rule = if rule.has("temperature") { rule.with("lambda", 2.)? } else { rule };
        testing::check_resumes(|| rule.build(supplies(&set)).expect("a rule"))
            .map_err(|error| error.context(entry.name))?;
    }
    Ok(())
}

/// A schedule without progress and learning rate would be silently constant.
#[test]
fn what_needs_a_training_point_says_so() -> Result<()> {
    let rows = Rows::new(Link::Squares, 6, 4, 1)?;
    let scheduled = |schedule| with_offset(Scheduled { inner: L2 { rho: 0.1 }, schedule });
    let needing: Vec<(&str, Boxed)> = vec![
        ("gsam", Box::new(gsam(0.1, 0.4, 0.01))),
        ("ae_sam", Box::new(ae_sam(0.1))),
        ("during", Box::new(During { inner: sam(0.1), start: 0., end: 0.5 })),
        ("late phase", Box::new(late_phase_sam(0.1, 0.5))),
        ("sampa", Box::new(sampa(0.1, 0.2))),
        ("warm-up", Box::new(scheduled(RhoSchedule::WarmUp { share: 0.1 }))),
        ("micro", Box::new(Micro::new(gsam(0.1, 0.4, 0.01), 2))),
    ];
    for (name, mut rule) in needing {
        let nowhere = Batch { training_point: None, ..rows.batch.clone() };
        let error = rule.gradient(BatchLoss::new(&rows, &rows.params, &nowhere)).unwrap_err();
        assert_eq!(Error::of(&error), Some(&Error::NoTrainingPoint), "{name}: {error}");
        rule.gradient(BatchLoss::new(&rows, &rows.params, &rows.batch.clone().at(START))).map(drop).or_else(
            |error| {
                assert!(name == "sampa" || name == "micro", "{name}: {error}");
                Ok::<_, candle_core::Error>(())
            },
        )?;
    }
    Ok(())
}

#[test]
fn delta_sam_weighs_samples_in_proportion_to_their_norms() -> Result<()> {
    let rows = Rows::new(Link::Squares, 6, 4, 1)?;
    let loss = BatchLoss::new(&rows, &rows.params, &rows.batch);
    let norms = Exact.norms(loss)?.to_vec1::<f64>()?;
    let sum: f64 = norms.iter().sum();
    let weights: Vec<f64> = norms.iter().map(|norm| norm / sum).collect();
    let uphill = loss.weighted_gradient(&Tensor::new(weights.clone(), &Device::Cpu)?)?.grads;
    let epsilon = uphill.scale(0.3 / uphill.norm()?)?;
    let expected = loss.gradient_at(&epsilon)?.grads.to_vec()?;
    let found = delta_sam(0.3, Exact).gradient(loss)?;
    assert!(distance(&found.grads.to_vec()?, &expected) < 1e-9);
    let m_eff = 1. / weights.iter().map(|p| p * p).sum::<f64>();
    assert!((found.measures["m_eff"].to_scalar::<f64>()? - m_eff).abs() < 1e-9);
    assert!((found.measures["offset_norm"].to_scalar::<f64>()? - 0.3).abs() < 1e-9);
    // In pieces it is the same, and without gradients all samples weigh alike.
    let pieces = Accumulated { objective: &rows, max_samples: 2 };
    let in_pieces = delta_sam(0.3, Exact).gradient(BatchLoss::new(&pieces, &rows.params, &rows.batch))?;
    assert!(distance(&in_pieces.grads.to_vec()?, &expected) < 1e-6);
    let flat = Var::zeros(2, DType::F64, &Device::Cpu)?;
    let params = Params::new([("x".to_owned(), flat.clone())])?;
    let f = |batch: &Batch, _: bool| batch.inputs.broadcast_mul(&flat.sqr()?)?.sum(1);
    let inputs = Tensor::ones((3, 2), DType::F64, &Device::Cpu)?;
    let batch = Batch::new(inputs.clone(), inputs, Key::new(0));
    let still = delta_sam(0.3, Exact).gradient(BatchLoss::new(&f, &params, &batch))?;
    assert_eq!(still.measures["m_eff"].to_scalar::<f64>()?, 3.);
    assert_eq!(still.grads.to_vec()?, [0., 0.]);
    Ok(())
}

/// f_γ(x) = ½ Σ aⱼ xⱼ² − ⟨vᵧ, x⟩, so that ∇f_γ(x) = a∘x − vᵧ, and SAMPa's recursion can be written out.
#[test]
fn sampa_is_its_recursion() -> Result<()> {
    let (a, rho, lambda, eta) = ([1., 3., 0.5], 0.2, 0.3, 0.1);
    let x = Var::new(&[1., -2., 0.5], &Device::Cpu)?;
    let params = Params::new([("x".to_owned(), x.clone())])?;
    let curvature = Tensor::new(&a, &Device::Cpu)?;
    let f = |batch: &Batch, _: bool| {
        let half = (x.sqr()? * &curvature)?.sum_all()?.affine(0.5, 0.)?;
        half.broadcast_sub(&batch.inputs.broadcast_mul(&x)?.sum(1)?)
    };
    let noise = [[0.3, -0.1, 0.2], [-0.4, 0.5, 0.1], [0.2, 0.2, -0.6], [0.1, -0.3, 0.4]];
    let gradient = |x: &[f64], k: usize| -> Vec<f64> { (0..3).map(|j| a[j] * x[j] - noise[k][j]).collect() };
    let counted = Counted::new(&f);
    let mut rule = sampa(rho, lambda);
    let (mut by_hand, mut g, mut of) = (vec![1., -2., 0.5], gradient(&[1., -2., 0.5], 0), 0);
    for (k, v) in noise.iter().enumerate() {
        let inputs = Tensor::new(v, &Device::Cpu)?.unsqueeze(0)?;
        let batch = Batch::new(inputs.clone(), inputs, Key::new(k as u64));
        let batch = batch.at(TrainingPoint { progress: k as f64 / 4., lr: eta, lr_factor: 1. });
        let step = rule.gradient(BatchLoss::new(&counted, &params, &batch))?;
        assert_eq!(counted.take(), if k == 0 { (3, 3) } else { (2, 2) });

        let norm = g.iter().map(|g| g * g).sum::<f64>().sqrt();
        let ascended: Vec<f64> = (0..3).map(|j| by_hand[j] + rho * g[j] / norm).collect();
        let sharp = gradient(&ascended, of); // of the batch that g is of
        let auxiliary: Vec<f64> = (0..3).map(|j| by_hand[j] - eta * g[j]).collect();
        (g, of) = (gradient(&auxiliary, k), k);
        let expected: Vec<f64> = (0..3).map(|j| (1. - lambda) * sharp[j] + lambda * g[j]).collect();
        assert!(distance(&step.grads.to_vec()?, &expected) < 1e-10, "step {k}");

        (0..3).for_each(|j| by_hand[j] -= eta * expected[j]);
        x.set(&Tensor::new(by_hand.clone(), &Device::Cpu)?)?;
    }
    let inputs = Tensor::zeros((4, 3), DType::F64, &Device::Cpu)?;
    let batch = Batch::new(inputs.clone(), inputs, Key::new(0)).at(START);
    let mut micro = Micro::new(sampa(rho, lambda), 2);
    let error = micro.gradient(BatchLoss::new(&f, &params, &batch)).unwrap_err().to_string();
    assert!(error.contains("micro-batches"), "{error}");
    Ok(())
}

#[test]
fn late_phase_sam_is_plain_first_and_sam_then() -> Result<()> {
    let (net, batch) = (mlp(8, 16, 4, 1)?, noise(9, 8, 4, 2)?);
    let direction = |rule: &mut dyn Perturbation, point| -> Result<Vec<f64>> {
        rule.gradient(BatchLoss::new(&net, &net.params, &batch.clone().at(point)))?.grads.to_vec()
    };
    let mut late = late_phase_sam(0.1, 0.875);
    assert!(direction(&mut late, START)? == direction(&mut Plain, START)?);
    assert!(direction(&mut late, LATER)? == direction(&mut sam(0.1), LATER)?);
    assert_eq!(late.cost(9).forward, 0.875 + 2. * 0.125);
    Ok(())
}

/// The norms of the parts that belong to norm layers, against a backward pass for each sample.
#[test]
fn norm_layers_are_measured_by_one_backward_pass() -> Result<()> {
    let (net, batch) = (resnet8(Norm::Group(32), 1)?, images(5, 3)?);
    let counted = Counted::new(&net);
    let loss = BatchLoss::new(&counted, &net.params, &batch);
    let mut estimator = NormLayers::default();
    let found = estimator.norms(loss)?.to_vec1::<f64>()?;
    assert_eq!(counted.take(), (5, 5));
    let of = net.params.subset(&Select::Role(Role::Norm))?;
    assert!(of.len() > 2 && of.len() < net.params.len());
    let losses = loss.losses()?;
    for (i, found) in found.iter().enumerate() {
        let exact = ParamVec::collect(&of, &losses.get(i)?.backward()?)?.norm()?;
        assert!((found / exact - 1.).abs() < 1e-4, "sample {i}: {found} for {exact}");
    }
    assert!(!estimator.is_of_whole_gradients());
    let rows = Rows::new(Link::Squares, 6, 4, 1)?;
    let error = NormLayers::default().norms(BatchLoss::new(&rows, &rows.params, &rows.batch)).unwrap_err().to_string();
    assert!(error.contains("NormLayers") && error.contains("role:norm"), "{error}");
    Ok(())
}

/// A combination that needs the gradient at x does not compile after an ascent that has none; where the parts are
/// chosen at run time it is an error when the rule is composed, before any step.
#[test]
fn what_is_no_gradient_cannot_be_combined() -> Result<()> {
    for name in ["rwp", "msam", "r-sam"] {
        let composed = name.parse::<Rule>()?.compose(Supplies::default())?;
        let error = composed.with_combine(Box::new(Gsam { alpha: 0.1 })).map(drop).unwrap_err().to_string();
        assert!(error.contains("needs the gradient at x"), "{error}");
    }
    Ok(())
}

/// The ascent of n-SAM makes no pass over the batch; ESAM's selection then makes one.
#[test]
fn losses_that_no_ascent_computed_are_computed() -> Result<()> {
    let rows = Rows::new(Link::Squares, 6, 4, 1)?;
    let select = || EsamSelect { gamma: 0.5 };
    let set = Fixed(vec![rows.batch.clone()]);
    let mut full = Sharp { ascent: FullBatch { data: set }, offset: L2 { rho: 0.3 }, combine: select() };
    let mut own = Sharp { ascent: Mean, offset: L2 { rho: 0.3 }, combine: select() };
    let counted = Counted::new(&rows);
    let found = full.gradient(BatchLoss::new(&counted, &rows.params, &rows.batch))?.grads.to_vec()?;
    assert_eq!(counted.take(), (18, 12));
    assert!(found == own.gradient(BatchLoss::new(&rows, &rows.params, &rows.batch))?.grads.to_vec()?);
    Ok(())
}

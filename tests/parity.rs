//! Every rule against an independent PyTorch implementation of its published formula, in f64: three steps on a small
//! net.
//!
//! `parity/rules.py` wrote `parity/rules.json`; what is random it took from `parity/noise.json`, which
//! `MSHARP_WRITE_NOISE=1 cargo test -p msharp-tests noise` writes.

use crate::problems::Fixed;
use candle_core::{DType, Device, Result, Tensor, Var};
use msharp_core::{
    Batch, BatchLoss, Key, Optimizer, ParamVec, Params, Perturbation, Role, Select, Temperature, TrainingPoint,
};
use msharp_gradnorm::Exact;
use msharp_perturb::*;
use msharp_train::{AdamW, Sgd};
use serde_json::Value;
use std::path::PathBuf;

const STEPS: usize = 3;

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("parity").join(name)
}

fn read(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(file(name)).expect(name)).expect(name)
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|number| number.as_f64().expect("a number")).collect()
}

struct Problem {
    fixture: Value,
    params: Params,
    batches: Vec<Batch>,
}

impl Problem {
    fn new() -> Result<Self> {
        let fixture = read("rules.json");
        let tensor = |param: &Value| -> Result<Var> {
            let shape: Vec<usize> = numbers(&param["shape"]).iter().map(|&n| n as usize).collect();
            Var::from_tensor(&Tensor::from_vec(numbers(&param["values"]), shape, &Device::Cpu)?)
        };
        let params = fixture["params"].as_object().expect("params");
        let params =
            params.iter().map(|(name, param)| Ok((name.clone(), tensor(param)?))).collect::<Result<Vec<_>>>()?;
        let batch = |(t, batch): (usize, &Value)| -> Result<Batch> {
            let inputs: Vec<Vec<f64>> = batch["inputs"].as_array().expect("rows").iter().map(numbers).collect();
            let targets: Vec<u32> = numbers(&batch["targets"]).iter().map(|&y| y as u32).collect();
            Ok(Batch::new(Tensor::new(inputs, &Device::Cpu)?, Tensor::new(targets, &Device::Cpu)?, Key::new(t as u64)))
        };
        let batches = fixture["batches"].as_array().expect("batches").iter().enumerate().map(batch);
        Ok(Self { params: Params::new(params)?, batches: batches.collect::<Result<_>>()?, fixture })
    }

    /// fc2(tanh(layer norm(fc1(inputs)))), cross entropy; candle's own operations.
    fn losses(&self, batch: &Batch) -> Result<Tensor> {
        let named = |name: &str| self.params.iter().find(|p| p.name == name).expect(name).var.as_tensor();
        let linear = |x: &Tensor, of: &str| {
            x.matmul(&named(&format!("{of}.weight")).t()?)?.broadcast_add(named(&format!("{of}.bias")))
        };
        let h = linear(&batch.inputs, "fc1")?; // [b, 6]
        let centred = h.broadcast_sub(&h.mean_keepdim(1)?)?;
        let deviation = (centred.sqr()?.mean_keepdim(1)? + 1e-5)?.sqrt()?;
        let h = centred.broadcast_div(&deviation)?.broadcast_mul(named("norm.weight"))?;
        let logits = linear(&h.broadcast_add(named("norm.bias"))?.tanh()?, "fc2")?; // [b, 3]
        let log_p = candle_nn::ops::log_softmax(&logits, 1)?;
        log_p.gather(&batch.targets.unsqueeze(1)?, 1)?.squeeze(1)?.neg()
    }
}

/// Runs `rule` as the case says; the largest error of directions and end, relative to the largest number.
fn error(case: &str, mut rule: Box<dyn Perturbation>, optimizer: &mut dyn Optimizer, lr: [f64; STEPS]) -> Result<f64> {
    let problem = Problem::new()?;
    let Problem { fixture, params, batches } = &problem;
    let expected = match &fixture["cases"][case] {
        Value::Null => &fixture["alternatives"][case],
        found => found,
    };
    assert!(!expected.is_null(), "{case} is not in rules.json");
    let f = |batch: &Batch, _: bool| problem.losses(batch);
    let mut error = 0f64;
    let mut compare = |found: &[Tensor], expected: &Value| -> Result<()> {
        for (param, found) in params.iter().zip(found) {
            let expected = numbers(&expected[&param.name]);
            let size = expected.iter().fold(1e-3f64, |size, x| size.max(x.abs()));
            for (found, expected) in found.flatten_all()?.to_vec1::<f64>()?.iter().zip(expected) {
                error = error.max((found - expected).abs() / size);
            }
        }
        Ok(())
    };
    for t in 0..STEPS {
        let point = TrainingPoint { progress: t as f64 / STEPS as f64, lr: lr[t], lr_factor: lr[t] / lr[0] };
        let step = rule.gradient(BatchLoss::new(&f, params, &batches[t].clone().at(point)))?;
        compare(step.grads.tensors(), &expected["directions"][t])?;
        optimizer.step(params, &step.grads, lr[t])?;
    }
    let end: Vec<Tensor> = params.iter().map(|param| param.var.as_detached_tensor()).collect();
    compare(&end, &expected["final"])?;
    Ok(error)
}

fn select(text: &str) -> Select {
    text.parse().expect(text)
}

fn scheduled(rho: f64, schedule: RhoSchedule) -> Box<dyn Perturbation> {
    Box::new(with_offset(Scheduled { inner: L2 { rho }, schedule }))
}

/// The cases that step with plain SGD at rate 0.1, all but the random ones.
fn cases() -> Result<Vec<(&'static str, Box<dyn Perturbation>)>> {
    let set = Fixed(Problem::new()?.batches);
    let raw = Temperature::Raw(2.);
    let l2 = L2 { rho: 0.1 };
    let eigen = Eigen::new(0.1, 0.2).refreshed(1, 400).at_reach(1e-5);
    let filters = Adaptive { scale: Scale::Filter, eta: 0.01, ..Adaptive::everywhere(0.5) };
    let groups = vec![(select("fc2.*"), 2.), (select("*.bias"), 0.5)];
    let on_norm = Grouped::only(Select::Role(Role::Norm), l2);
    Ok(vec![
        ("plain", Box::new(Plain)),
        ("sam", Box::new(sam(0.1))),
        ("usam", Box::new(usam(0.1))),
        ("n_sam", Box::new(n_sam(0.1, set.clone()))),
        ("n_usam", Box::new(n_usam(0.1, set))),
        ("m_sam", Box::new(m_sam(0.1, 2))),
        ("m_sam_3", Box::new(m_sam(0.1, 3))),
        ("m_usam", Box::new(m_usam(0.1, 2))),
        ("rw_sam", Box::new(rw_sam(0.1, raw, Exact))),
        ("rw_usam", Box::new(rw_usam(0.1, raw, Exact))),
        ("rw_sam_relative", Box::new(rw_sam(0.1, Temperature::Relative(1.5), Exact))),
        ("m_rw_sam", Box::new(Micro::new(rw_sam(0.1, raw, Exact), 4))),
        (
            "adaptive_rw_sam",
            Box::new(Sharp {
                ascent: Gibbs { estimator: Exact, temperature: raw },
                offset: Adaptive::everywhere(0.5),
                combine: Descend,
            }),
        ),
        ("asam_all", Box::new(asam(0.5))),
        ("asam_weights", Box::new(asam_weights(0.5))),
        ("asam_filter", Box::new(with_offset(filters))),
        ("asam_layer", Box::new(layer_sam(0.5))),
        ("linf", Box::new(linf_sam(0.01))),
        ("unified", Box::new(unified_sam(0.1, 0.5))),
        ("gsam", Box::new(gsam(0.1, 0.3, 0.1))),
        ("friendly", Box::new(friendly_sam(0.1, 1., 0.6))),
        ("friendly_sigma", Box::new(friendly_sam(0.1, 0.5, 0.6))),
        ("vasso", Box::new(vasso(0.1, 0.4))),
        ("looksam", Box::new(look_sam(0.1, 2, 0.7))),
        ("stable_sam", Box::new(stable_sam(0.1))),
        ("wsam", Box::new(wsam(0.1, 0.6))),
        ("pgn", Box::new(pgn(0.1, 0.3))),
        ("msam", Box::new(msam(0.1, 0.9))),
        ("ae_sam", Box::new(ae_sam(0.1))),
        ("ae_sam_mixed", Box::new(Sharp { combine: AeSam::new(4., -1., 0.9), ..ae_sam(0.1) })),
        ("eigen_sam", Box::new(with_offset(eigen))),
        ("multi_step", Box::new(multi_step_sam(0.3, 3))),
        ("every_2", Box::new(Every::new(sam(0.1), 2))),
        ("during", Box::new(During { inner: sam(0.1), start: 1. / 3., end: 1. })),
        ("rho_cosine", scheduled(0.2, RhoSchedule::Cosine { end: 0. })),
        ("rho_warm_up", scheduled(0.1, RhoSchedule::WarmUp { share: 2. / 3. })),
        ("sam_on", Box::new(sam_on(0.1))),
        ("without_norm", Box::new(with_offset(Grouped::without(select("norm.*"), l2)))),
        ("group_rho", Box::new(with_offset(Grouped { inner: l2, groups }))),
        ("sam_on_gsam", Box::new(Sharp { ascent: Mean, offset: on_norm, combine: Gsam { alpha: 0.3 } })),
        ("decay_in_ascent", Box::new(with_offset(Decayed { inner: l2, weight_decay: 0.05, on: Select::All }))),
        ("clipped_ascent", Box::new(with_offset(Clipped { inner: Raw { rho: 0.1 }, max_norm: 0.2 }))),
        ("clipped_descent", Box::new(Clipped { inner: sam(0.1), max_norm: 0.2 })),
    ])
}

fn random_cases() -> Vec<(&'static str, Box<dyn Perturbation>)> {
    vec![
        ("esam", Box::new(esam(0.1, 0.6, 0.5))),
        ("rwp", Box::new(Sharp { ascent: Random { scale: None }, ..rwp(0.01) })),
        ("rwp_filter", Box::new(rwp(0.05))),
        ("r_sam", Box::new(r_sam(0.1, 0.01))),
    ]
}

fn sgd(momentum: f64, weight_decay: f64) -> Sgd {
    Sgd { momentum, weight_decay, decay_norms_and_biases: true, ..Sgd::default() }
}

fn plain_sgd() -> Sgd {
    sgd(0., 0.)
}

#[test]
fn every_rule_takes_the_steps_of_its_published_formula() -> Result<()> {
    let mut done: Vec<&str> = vec!["rho_by_lr", "sam_sgd_momentum", "sam_adamw"]; // below
    for (case, rule) in cases()?.into_iter().chain(random_cases()) {
        let tolerance = if case == "eigen_sam" { 1e-5 } else { 1e-10 };
        let error = error(case, rule, &mut plain_sgd(), [0.1; STEPS])?;
        assert!(error < tolerance, "{case}: off by {error:e}");
        done.push(case);
    }
    let fixture = read("rules.json");
    let missing: Vec<_> =
        fixture["cases"].as_object().unwrap().keys().filter(|c| !done.contains(&c.as_str())).collect();
    assert!(missing.is_empty(), "cases without a rule: {missing:?}");
    Ok(())
}

#[test]
fn a_radius_may_follow_the_learning_rate() -> Result<()> {
    let rule = scheduled(0.2, RhoSchedule::ByLearningRate { least: 0. });
    let error = error("rho_by_lr", rule, &mut plain_sgd(), [0.1, 0.05, 0.025])?;
    assert!(error < 1e-10, "off by {error:e}");
    Ok(())
}

#[test]
fn sgd_and_adamw_step_with_sam_as_those_of_pytorch() -> Result<()> {
    let sgd = error("sam_sgd_momentum", Box::new(sam(0.1)), &mut sgd(0.9, 0.05), [0.1; STEPS])?;
    let mut adamw = AdamW { weight_decay: 0.1, ..AdamW::default() };
    let adamw = error("sam_adamw", Box::new(sam(0.1)), &mut adamw, [0.01; STEPS])?;
    assert!(sgd < 1e-10 && adamw < 1e-10, "off by {sgd:e} and {adamw:e}");
    Ok(())
}

/// A wrong constant must not pass: each case with another radius is far from its numbers.
#[test]
fn another_radius_is_another_rule() -> Result<()> {
    let error = error("sam", Box::new(sam(0.11)), &mut plain_sgd(), [0.1; STEPS])?;
    assert!(error > 1e-4, "off by {error:e} only");
    Ok(())
}

#[test]
fn the_noise_of_the_fixture_is_what_the_rules_draw() -> Result<()> {
    let Problem { params, batches, .. } = Problem::new()?;
    let json = |drawn: &ParamVec| -> Result<Value> {
        let flat = |(param, values): (&msharp_core::Param, &Tensor)| -> Result<(String, Value)> {
            Ok((param.name.clone(), values.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?.into()))
        };
        Ok(Value::Object(params.iter().zip(drawn.tensors()).map(flat).collect::<Result<_>>()?))
    };
    let of = |draw: &dyn Fn(Key) -> Result<ParamVec>| -> Result<Vec<Value>> {
        batches.iter().map(|batch| json(&draw(batch.key)?)).collect()
    };
    let gaussian = of(&|key| ParamVec::gaussian(&params, key.fold_name("random direction")))?;
    let uniform = of(&|key| ParamVec::uniform(&params, key.fold_name("sparse")))?;
    let noise = serde_json::json!({ "gaussian": gaussian, "uniform": uniform });
    if std::env::var_os("MSHARP_WRITE_NOISE").is_some() {
        std::fs::write(file("noise.json"), noise.to_string() + "\n")?;
    }
    assert!(read("noise.json") == noise, "run with MSHARP_WRITE_NOISE=1, then rules.py");
    Ok(())
}

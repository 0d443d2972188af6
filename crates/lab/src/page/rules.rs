//! The table of the rules: a view of the catalogue, with passes that a test counts, and the state that a step of each
//! rule leaves to be saved.

use crate::build;
use crate::config::{DataName, EstimatorName, RunConfig};
use crate::experiments::standard;
use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use msharp_core::{Batch, BatchLoss, Component, Key, Params, Perturbation, Seeded, State, TrainingPoint};
use msharp_data::{Loader, synthetic};
use msharp_models::{Architecture, Norm};
use msharp_perturb::Rule;
use msharp_perturb::catalogue::{Needs, rules};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The table, and what its symbols mean.
pub fn table() -> Result<String> {
    let mut text = String::from(
        "g is the gradient of the batch's mean loss at x, s the one at x + ε, û = u/‖u‖ over all parameters together. \
         Passes are forwards + backwards over a batch in the mean step, with default constants; d is the number of \
         parameters.\n\n| `--rule` | parts | formula | passes | state | published ρ | reference |\n|---|---|---|---|---|---|---|\n",
    );
    for entry in rules() {
        let rule = Rule::of(entry);
        let parts = entry.parts.map_or("–".to_owned(), |parts| parts.join(" × "));
        let (written, cost, state) = (written(&rule), cost(&rule)?, state(&rule)?);
        let (formula, rho, reference) = (entry.formula, entry.radius, entry.reference);
        text.push_str(&format!("| {written} | {parts} | {formula} | {cost} | {state} | {rho} | {reference} |\n"));
    }
    Ok(text)
}

/// With the parameters that are its own, at their defaults.
fn written(rule: &Rule) -> String {
    let own = rule.entry().parameters.iter().filter(|parameter| parameter.name != "rho");
    let own: Vec<String> = own.map(|parameter| format!("{}={}", parameter.name, parameter.default)).collect();
    if own.is_empty() { rule.name().to_owned() } else { format!("{}:{}", rule.name(), own.join(",")) }
}

fn config(rule: &Rule) -> RunConfig {
    standard(Architecture::ResNet8, Norm::Group(32), DataName::Synthetic).with(|c| c.perturbation.rule = rule.clone())
}

fn no_set() -> Loader {
    Loader::eval(Arc::new(synthetic(1, 0, 0).train), 1)
}

/// Forwards + backwards in the mean step.
pub fn cost(rule: &Rule) -> Result<String> {
    let cost = build::cost(&config(rule), no_set())?;
    let rounded = |passes: f64| (passes * 100.).round() / 100.;
    Ok(match (rule.entry().needs, rule.name()) {
        (Needs::Data, _) => "n/b + 1 of each".to_owned(),
        (_, "ae-sam") => "1 + 1 to 2 + 2".to_owned(),
        _ => format!("{} + {}", rounded(cost.forward), rounded(cost.backward)),
    })
}

/// What is saved after a step on a tiny problem.
pub fn state(named: &Rule) -> Result<String> {
    if named.entry().needs == Needs::Data {
        return Ok("–".to_owned()); // its ascent passes a set that the tiny problem does not have
    }
    let init = Seeded::new(0, DType::F64, &Device::Cpu);
    let vb = init.var_builder();
    let (w, scale) = (vb.get((3, 1), "fc.weight")?, vb.get_with_hints(3, "bn.weight", candle_nn::init::ONE)?);
    let params = init.params()?;
    let f =
        |batch: &Batch, _: bool| (batch.inputs.broadcast_mul(&scale)?.matmul(&w)?.squeeze(1)? - &batch.targets)?.sqr();
    let inputs = Tensor::arange(0f64, 12., &Device::Cpu)?.reshape((4, 3))?;
    let batch = Batch::new(inputs, Tensor::ones(4, DType::F64, &Device::Cpu)?, Key::new(0));
    let batch = batch.at(TrainingPoint { progress: 0., lr: 0.1, lr_factor: 1. });
    let small = if named.has("temperature") { named.clone().with("lambda", 2.)? } else { named.clone() };
    let config =
        config(&small).with(|c| (c.weighting.estimator, c.optimisation.batch_size) = (EstimatorName::Exact, 4));
    let mut rule = build::rule(&config, no_set())?;
    rule.gradient(BatchLoss::new(&f, &params, &batch))?;
    let mut saved = BTreeMap::new();
    rule.state(&params, &mut State::save("", &mut saved))?;
    // A vector has an entry of its own, which says whether it exists, above those of its tensors.
    let has_parts = |path: &&String| saved.keys().any(|other| other.starts_with(&format!("{path}/")));
    let kept: BTreeSet<String> = saved.keys().filter(|path| !has_parts(path)).map(|path| kept(path, &params)).collect();
    Ok(if kept.is_empty() { "–".to_owned() } else { kept.into_iter().collect::<Vec<_>>().join(", ") })
}

/// What a path in the saved state stands for: a vector of d numbers, a batch, or a number.
fn kept(path: &str, params: &Params) -> String {
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        [.., vector, param] if params.iter().any(|p| p.name == *param) => format!("{vector} (d)"),
        [.., batch, "inputs" | "targets" | "key"] => (*batch).to_owned(),
        [.., number] => (*number).to_owned(),
        [] => String::new(),
    }
}

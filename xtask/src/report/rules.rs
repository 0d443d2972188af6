//! The table of the rules: names and sentences are those of the command line, passes those that a test counts, and
//! state is what a step of the rule leaves to be saved.

use crate::config::{DataName, EstimatorName, RunConfig};
use crate::experiments::{standard, typed};
use crate::names::{AscentName, BallName, CombineName, RuleName};
use crate::rule::{passes, rule};
use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use clap::ValueEnum;
use msharp_core::{Batch, BatchLoss, Key, Params, Perturbation, Seeded, State};
use msharp_data::{Loader, synthetic};
use msharp_models::{Architecture, Norm};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The table, and what its symbols mean.
pub fn table() -> Result<String> {
    let mut text = String::from(
        "g is the gradient of the batch's mean loss at x, s the one at x + ε, û = u/‖u‖ over all parameters together. \
         Passes are forwards + backwards over a batch in the mean step, with default constants; d is the number of \
         parameters.\n\n| `--rule` | sentence | formula | passes | state | reference |\n|---|---|---|---|---|---|\n",
    );
    for rule in RuleName::value_variants() {
        let (formula, reference) = formula(*rule);
        let (sentence, cost) = match rule.sentence() {
            None => ("Plain".to_owned(), "1 + 1".to_owned()),
            Some((ascent, ball, combine)) => {
                let ball = if *rule == RuleName::SamOn { "Grouped(L2)" } else { word_of_ball(ball) };
                let sentence = [word_of_ascent(ascent), ball, word_of_combine(combine)].join(" × ");
                (sentence, cost(*rule, ascent))
            }
        };
        let state = state(*rule)?;
        text.push_str(&format!("| {} | {sentence} | {formula} | {cost} | {state} | {reference} |\n", typed(*rule)));
    }
    Ok(text)
}

fn config(rule: RuleName) -> RunConfig {
    let base = standard(Architecture::ResNet8, Norm::Group(32), DataName::Synthetic);
    RunConfig { rule, rho: 0.1, batch_size: 4, lambda: 2., ..base }
}

fn cost(rule: RuleName, ascent: AscentName) -> String {
    let (forward, backward) = passes(&config(rule), 0);
    match (rule, ascent) {
        (_, AscentName::FullBatch) => "n/b + 1 of each".to_owned(),
        (RuleName::AeSam, _) => "1 + 1 to 2 + 2".to_owned(),
        _ => {
            let rounded = |passes: f64| (passes * 100.).round() / 100.;
            format!("{} + {}", rounded(forward), rounded(backward))
        }
    }
}

/// What is saved after a step on a tiny problem.
fn state(name: RuleName) -> Result<String> {
    if name.sentence().is_some_and(|(ascent, _, _)| ascent == AscentName::FullBatch) {
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
    let config = RunConfig { estimator: EstimatorName::Exact, ..config(name) };
    let mut rule = rule(&config, Loader::eval(Arc::new(synthetic(1, 0, 0).train), 1));
    rule.gradient(BatchLoss::new(&f, &params, &batch))?;
    let mut saved = BTreeMap::new();
    rule.state(&params, &mut State::save("", &mut saved))?;
    // A vector has an entry of its own, which says whether it exists, above those of its tensors.
    let has_parts = |path: &&String| saved.keys().any(|other| other.starts_with(&format!("{path}/")));
    let kept: BTreeSet<String> = saved.keys().filter(|path| !has_parts(path)).map(|path| kept(path, &params)).collect();
    Ok(if kept.is_empty() { "–".to_owned() } else { kept.into_iter().collect::<Vec<_>>().join(", ") })
}

/// What a path in the saved state stands for: a vector of d numbers, or a number.
fn kept(path: &str, params: &Params) -> String {
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        [.., vector, param] if params.iter().any(|p| p.name == *param) => format!("{vector} (d)"),
        [.., number] => (*number).to_owned(),
        [] => String::new(),
    }
}

fn word_of_ascent(name: AscentName) -> &'static str {
    match name {
        AscentName::Mean => "Mean",
        AscentName::FullBatch => "FullBatch",
        AscentName::Gibbs => "Gibbs",
        AscentName::Momentum => "Momentum",
        AscentName::Random => "Random",
        AscentName::Smoothed => "Smoothed",
    }
}

fn word_of_ball(name: BallName) -> &'static str {
    match name {
        BallName::L2 => "L2",
        BallName::Raw => "Raw",
        BallName::Linf => "Linf",
        BallName::Unified => "Unified",
        BallName::Adaptive | BallName::AdaptiveWeights | BallName::AdaptiveFilter | BallName::AdaptiveTensor => {
            "Adaptive(L2)"
        }
        BallName::Friendly => "Friendly(L2)",
        BallName::Averaged => "Averaged(L2)",
        BallName::Sparse => "Sparse(L2)",
        BallName::Eigen => "Eigen",
    }
}

fn word_of_combine(name: CombineName) -> &'static str {
    match name {
        CombineName::Descend => "Descend",
        CombineName::Gsam => "Gsam",
        CombineName::Blend | CombineName::Wsam => "Blend",
        CombineName::Stable => "Stable",
        CombineName::Look => "Look",
        CombineName::Steep => "Steep",
        CombineName::Selected => "Selected",
    }
}

/// The formula, and where it was published.
fn formula(rule: RuleName) -> (&'static str, &'static str) {
    match rule {
        RuleName::Sgd => ("g", "–"),
        RuleName::Sam => ("s at ε = ρĝ", "Foret et al., ICLR 2021"),
        RuleName::Usam => ("s at ε = ρg", "Andriushchenko, Flammarion, ICML 2022"),
        RuleName::NSam => ("s at ε = ρû, u = ∇f of the whole set", "Luo et al., NeurIPS 2025"),
        RuleName::NUsam => ("s at ε = ρ∇f of the whole set", "Luo et al., NeurIPS 2025"),
        RuleName::RwSam => ("s at ε = ρû, u = Σpᵢ∇ℓᵢ, p = softmax(λ‖∇ℓᵢ‖)", "Luo et al., NeurIPS 2025"),
        RuleName::RwUsam => ("s at ε = ρΣpᵢ∇ℓᵢ", "Luo et al., NeurIPS 2025"),
        RuleName::Asam => ("s at ε = ρT²g/‖Tg‖, T = abs(x)", "Kwon et al., ICML 2021, as in davda54/sam"),
        RuleName::AsamWeights => ("as asam, T = abs(x) + 0.01 on weights, 1 on biases", "Kwon et al., ICML 2021"),
        RuleName::LayerSam => ("as asam, T = ‖X‖ of each tensor", "Müller et al., NeurIPS 2023"),
        RuleName::LinfSam => ("s at ε = ρ sign(g)", "Foret et al., ICLR 2021, p = ∞"),
        RuleName::UnifiedSam => ("s at ε = ρ(1 − l + l/‖g‖)g", "Oikonomou, Loizou, ICLR 2025"),
        RuleName::Gsam => ("s − α(g − ⟨g, ŝ⟩ŝ)", "Zhuang et al., ICLR 2022"),
        RuleName::FriendlySam => ("s at ε = ρû, u = g − σm, m ← λm + (1 − λ)g", "Li et al., CVPR 2024"),
        RuleName::Vasso => ("s at ε = ρm̂, m ← (1 − θ)m + θg", "Li, Giannakis, NeurIPS 2023"),
        RuleName::LookSam => ("s, v = s − ⟨s, ĝ⟩ĝ every k-th step; else g + α‖g‖v̂", "Liu et al., CVPR 2022"),
        RuleName::Esam => ("s of the ⌊γb⌋ samples that rise most, ε = ρĝ∘mask/β", "Du et al., ICLR 2022"),
        RuleName::Wsam => ("g + γ/(1 − γ)·(s − g)", "Yue et al., KDD 2023"),
        RuleName::StableSam => ("‖g‖ŝ", "Tan et al. 2024"),
        RuleName::Msam => ("s at ε = −ρv̂, v ← μv + s", "Becker et al. 2024"),
        RuleName::AeSam => ("s where ‖g‖² ≥ μ + cσ, else g", "Jiang et al., ICLR 2023"),
        RuleName::EigenSam => {
            ("s at ε = ρ(ĝ + α sign⟨g, v⟩(v − ⟨v, ĝ⟩ĝ)), v of the Hessian", "Luo et al., NeurIPS 2024")
        }
        RuleName::Rwp => {
            ("s at ε = ρTz, z ~ N(0, I), T = norm of each filter", "Bisla et al., AISTATS 2022; Li et al. 2022")
        }
        RuleName::RSam => ("s at ε = ρû, u = n + ∇f(x + n), n = σTz", "Liu et al., NeurIPS 2022"),
        RuleName::Pgn => ("(1 − α)g + αs", "Zhao et al., ICML 2022"),
        RuleName::SamOn => ("as sam, ε = 0 on all but norm layers", "Müller et al., NeurIPS 2023"),
    }
}

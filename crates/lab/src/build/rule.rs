//! From a configuration to the rule that it stands for, and to what that costs.

use crate::config::{EstimatorName, RunConfig};
use anyhow::{Context, Result};
use msharp_core::{Cost, DataSource, GradNormEstimator, Offset, Perturbation, Role, Select};
use msharp_gradnorm::{Delta, Exact, FiniteDifference, Ghost, LastLayer, NormLayers, RandomNorms, Shuffled};
use msharp_perturb::catalogue::Supplies;
use msharp_perturb::{Clipped, Decayed, During, Every, Grouped, Micro, Scheduled, Steps};

/// The rule of `config`; `whole` is the training set, for the rules that ascend on all of it.
pub fn rule(config: &RunConfig, whole: impl DataSource + 'static) -> Result<Box<dyn Perturbation>> {
    let changes = &config.perturbation.changes;
    let mut estimator = estimator(config.weighting.estimator, config);
    if config.weighting.shuffle_weights {
        estimator = Box::new(Shuffled { inner: estimator });
    }
    let supplies = Supplies { estimator: Some(estimator), data: Some(Box::new(whole)) };
    let steps = changes.ascent_steps.unwrap_or(1) as f64;
    let rho = config.perturbation.rule.radius().unwrap_or(0.) / steps;
    let own =
        if steps > 1. { config.perturbation.rule.clone().with("rho", rho)? } else { config.perturbation.rule.clone() };
    let mut built = own.compose(supplies).with_context(|| format!("--rule {}", config.perturbation.rule))?;
    if let Some(other) = &changes.offset {
        built = built.map_offset(|_| other.build(rho)).with_context(|| format!("--offset {other}"))?;
    }
    if let Some(other) = &changes.combine {
        built = built.with_combine(other.build()).with_context(|| format!("--combine {other}"))?;
    }
    if config.perturbation.rule.entry().parts.is_some() {
        built = built.map_offset(|offset| around(config, offset))?;
    }
    let mut rule = built.rule();
    if let Some(size) = config.perturbation.micro_batch {
        rule = Box::new(Micro::new(rule, size).with_path(config.perturbation.micro_path.path()));
    }
    if let Some(every) = changes.every {
        rule = Box::new(Every::new(rule, every));
    }
    if changes.from.is_some() || changes.until.is_some() {
        rule = Box::new(During { inner: rule, start: changes.from.unwrap_or(0.), end: changes.until.unwrap_or(1.) });
    }
    if let Some(max_norm) = changes.clip {
        rule = Box::new(Clipped { inner: rule, max_norm });
    }
    Ok(rule)
}

/// From the inside out, so that a gradient meets them the other way: it is decayed, masked, clipped, made an offset.
fn around(config: &RunConfig, mut offset: Box<dyn Offset>) -> Box<dyn Offset> {
    let changes = &config.perturbation.changes;
    if let Some(max_norm) = changes.clip_ascent {
        offset = Box::new(Clipped { inner: offset, max_norm });
    }
    let only = changes.perturb.clone();
    let mut groups: Vec<(Select, f64)> = only.map(|only| (Select::Not(Box::new(only)), 0.)).into_iter().collect();
    groups.extend(changes.rho_groups.iter().map(|group| (group.0.clone(), group.1)));
    if !groups.is_empty() {
        offset = Box::new(Grouped { inner: offset, groups });
    }
    if changes.decay_in_ascent {
        let on = if config.optimisation.decay_weights_only { Select::Role(Role::Weight) } else { Select::All };
        offset = Box::new(Decayed { inner: offset, weight_decay: config.optimisation.weight_decay, on });
    }
    if let Some(schedule) = changes.rho_schedule {
        offset = Box::new(Scheduled { inner: offset, schedule: schedule.0 });
    }
    match changes.ascent_steps {
        Some(steps) => Box::new(Steps { inner: offset, steps }),
        None => offset,
    }
}

/// The estimator called `name`, with the probes and the δ of `config`.
pub fn estimator(name: EstimatorName, config: &RunConfig) -> Box<dyn GradNormEstimator> {
    let standard = match config.weighting.adapt_delta {
        true => FiniteDifference::adaptive(config.weighting.probes),
        false => FiniteDifference { probes: config.weighting.probes, ..FiniteDifference::default() },
    };
    match name {
        EstimatorName::Exact => Box::new(Exact),
        EstimatorName::Ghost => Box::new(Ghost::default()),
        EstimatorName::LastLayer => Box::new(LastLayer::default()),
        EstimatorName::NormLayers => Box::new(NormLayers::default()),
        EstimatorName::Random => Box::new(RandomNorms),
        EstimatorName::FiniteDifference => Box::new(FiniteDifference {
            delta: config.weighting.delta.map_or(standard.delta, Delta::Absolute),
            ..standard
        }),
    }
}

/// Forward and backward passes over the batch in one step, in the mean over many, as the rule states them: for
/// estimates of time.
pub fn cost(config: &RunConfig, whole: impl DataSource + 'static) -> Result<Cost> {
    let mut cost = rule(config, whole)?.cost(config.optimisation.batch_size);
    // Weights that depend on the whole batch are known before the gradient goes through in pieces.
    if config
        .optimisation
        .accumulate
        .is_some_and(|most| most < config.perturbation.micro_batch.unwrap_or(config.optimisation.batch_size))
    {
        let selects = config
            .perturbation
            .changes
            .parts(&config.perturbation.rule)
            .is_some_and(|[.., combine]| combine == "esam-select");
        cost.forward += f64::from(u8::from(config.is_reweighted())) + f64::from(u8::from(selects));
    }
    Ok(cost)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::{classifier, model};
    use crate::config::tests::parse;
    use msharp_core::{BatchLoss, Counted, TrainingPoint};
    use msharp_data::{Loader, synthetic};
    use msharp_perturb::Rule;
    use msharp_perturb::catalogue::rules;
    use std::sync::Arc;

    const START: TrainingPoint = TrainingPoint { progress: 0., lr: 0.1, lr_factor: 1. };

    /// Every rule is built, makes the passes that estimates of time count with, and steps somewhere else than the
    /// others.
    #[test]
    fn every_rule_of_the_command_line_runs() -> anyhow::Result<()> {
        let set = Loader::eval(Arc::new(synthetic(4, 0, 0).train), 4);
        let batch = set.epoch(0).next().expect("a batch")?.at(START);
        let mut directions: Vec<(String, f64)> = Vec::new();
        for entry in rules() {
            let mut named = Rule::of(entry);
            if named.has("temperature") {
                named = named.with("lambda", 2.)?;
            }
            if named.has("m") {
                named = named.with("m", 2)?;
            }
            let config = parse("--norm group --batch-size 4").with(|c| c.perturbation.rule = named).settled()?;
            config.validate()?;
            let (network, params) = model(&config, 10)?;
            let classifier = classifier(network, &config);
            let counted = Counted::new(&classifier);
            let mut rule = rule(&config, set.clone())?;
            let grads = rule.gradient(BatchLoss::new(&counted, &params, &batch))?.grads;
            for _ in 1..5 {
                rule.gradient(BatchLoss::new(&counted, &params, &batch))?;
            }
            let (forward, backward) = counted.take();
            let expected = cost(&config, set.clone())?;
            let per_step = (forward as f64 / 20., backward as f64 / 20.);
            let more = match entry.name {
                "eigen-sam" => 10. / 5. - 0.1, // in the first of 5, not of 100
                "sampa" => 1. / 5.,            // in the first
                "late-phase-sam" => -0.125,    // of which all 5 are in the first part
                _ => 0.,
            };
            let off = (per_step.0 - expected.forward - more).abs() + (per_step.1 - expected.backward - more).abs();
            assert!(off < 1e-9, "{}: {per_step:?} passes, {expected:?} expected", config.rule_label());
            // In a first step nothing was averaged and nothing is scheduled, and the set is the batch.
            let same_at_first =
                ["vasso", "look-sam", "ae-sam", "n-sam", "n-usam", "friendly-sam", "msam", "late-phase-sam"];
            if !same_at_first.contains(&entry.name) {
                directions.push((config.rule_label(), grads.norm()?));
            }
        }
        for (i, (a, length)) in directions.iter().enumerate() {
            for (b, other) in &directions[..i] {
                assert!(length != other, "{a} and {b} do the same");
            }
        }
        Ok(())
    }

    #[test]
    fn changes_change_what_they_say() -> anyhow::Result<()> {
        let set = Loader::eval(Arc::new(synthetic(4, 0, 0).train), 4);
        let batch = set.epoch(0).next().expect("a batch")?.at(START);
        let length = |flags: &str| -> anyhow::Result<f64> {
            let config = parse(&format!("--norm group --batch-size 4 {flags}"));
            config.validate()?;
            let (network, params) = model(&config, 10)?;
            let step =
                rule(&config, set.clone())?.gradient(BatchLoss::new(&classifier(network, &config), &params, &batch))?;
            Ok(step.grads.norm()?)
        };
        let sam = length("--rule sam")?;
        for (flags, same) in [
            ("--rule usam --offset l2", true),
            ("--rule pgn --combine descend", true),
            ("--perturb *", true),
            ("--rho 0.2 --rho-groups *=0.5", true),
            ("--rho 0.2 --ascent-steps 1 --rho-groups *=0.5", true),
            ("--from 0 --until 0.5", true),
            ("--rho-schedule warm-up:0.1", false),
            ("--from 0.5", false),
            ("--clip 0.5", false),
            ("--offset adaptive", false),
            ("--combine stable", false),
            ("--perturb role:norm", false),
            ("--perturb !role:norm", false),
            ("--rho-groups fc.*=2", false),
            ("--decay-in-ascent --weight-decay 1", false),
            ("--ascent-steps 3", false),
            ("--micro-batch 2", false),
        ] {
            let found = length(flags)?;
            let is_same = (found / sam - 1.).abs() < 1e-6;
            assert!(is_same == same, "{flags}: length {found}, that of SAM {sam}");
        }
        Ok(())
    }

    #[test]
    fn the_controls_of_rw_sam_go_elsewhere_and_cost_what_they_say() -> anyhow::Result<()> {
        let set = Loader::eval(Arc::new(synthetic(8, 0, 0).train), 8);
        let batch = set.epoch(0).next().expect("a batch")?.at(START);
        let mut lengths: Vec<f64> = Vec::new();
        for flags in
            ["", "--shuffle-weights", "--estimator ghost", "--estimator ghost --shuffle-weights", "--estimator random"]
        {
            let config = parse(&format!("--norm group --batch-size 8 --rule rw-sam:lambda=2 {flags}"));
            config.validate()?;
            let (network, params) = model(&config, 10)?;
            let classifier = classifier(network, &config);
            let counted = Counted::new(&classifier);
            let step = rule(&config, set.clone())?.gradient(BatchLoss::new(&counted, &params, &batch))?;
            let m_eff = step.measures["m_eff"].to_scalar::<f64>()?;
            assert!((m_eff - 2.).abs() < 1e-3, "{flags}: {m_eff}");
            let (forward, backward) = counted.take();
            let expected = cost(&config, set.clone())?;
            assert_eq!((forward as f64 / 8., backward as f64 / 8.), (expected.forward, expected.backward), "{flags}");
            lengths.push(step.grads.norm()?);
        }
        lengths.sort_by(f64::total_cmp);
        assert!(lengths.windows(2).all(|pair| pair[0] != pair[1]), "{lengths:?}");
        Ok(())
    }
}

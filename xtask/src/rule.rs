//! From the names of a configuration to the rule that they stand for.

use crate::config::{EstimatorName, RunConfig, TemperatureName};
use crate::names::{AscentName, BallName, CombineName, RuleName};
use msharp_core::{Ascent, BatchLoss, Combine, GradNormEstimator, Offset, Perturbation, Role, Temperature};
use msharp_data::Loader;
use msharp_gradnorm::{Delta, Exact, FiniteDifference, Ghost, LastLayer, RandomNorms, Shuffled};
use msharp_perturb::{
    Adaptive, Averaged, Blend, Clipped, Decayed, Descend, During, Eigen, Every, Friendly, FullBatch, Gibbs, Grouped,
    Gsam, L2, Linf, Look, Mean, Micro, Momentum, Plain, Random, Raw, Scale, Scheduled, Select, Selected, Sharp,
    Smoothed, Sparse, Stable, Steep, Steps, Unified,
};

/// The rule of `config`; `whole` is the training set, for the rules that ascend on all of it.
pub fn rule(config: &RunConfig, whole: Loader) -> Box<dyn Perturbation> {
    let words = &config.words;
    let mut rule: Box<dyn Perturbation> = match words.sentence(config.rule) {
        None => Box::new(Plain),
        Some((ascent, ball, combination)) => Box::new(Sharp {
            ascent: ascend(config, ascent, whole),
            offset: around(config, offset(config, ball)),
            combine: combine(config, combination),
        }),
    };
    if let Some(size) = config.micro_batch {
        rule = Box::new(Micro { inner: rule, size });
    }
    if let Some(every) = words.every {
        rule = Box::new(Every::new(rule, every));
    }
    if words.from.is_some() || words.until.is_some() {
        rule = Box::new(During { inner: rule, start: words.from.unwrap_or(0.), end: words.until.unwrap_or(1.) });
    }
    if let Some(most) = words.clip {
        rule = Box::new(Clipped { inner: rule, most });
    }
    rule
}

fn ascend(config: &RunConfig, name: AscentName, data: Loader) -> Box<dyn Ascent> {
    let noise = Random { scale: Some(Scale::FilterOrVector) };
    let constant = |flag| config.words.constant(config.rule, flag);
    match name {
        AscentName::Mean => Box::new(Mean),
        AscentName::FullBatch => Box::new(FullBatch { data }),
        AscentName::Gibbs => {
            let mut estimator = estimator(config.estimator, config);
            if config.words.shuffle_weights {
                estimator = Box::new(Shuffled { inner: estimator });
            }
            Box::new(Gibbs { estimator, temperature: temperature(config) })
        }
        AscentName::Momentum => Box::new(Momentum::new(constant("mu"))),
        AscentName::Random => Box::new(noise),
        AscentName::Smoothed => Box::new(Smoothed { sigma: constant("noise"), noise }),
    }
}

fn offset(config: &RunConfig, name: BallName) -> Box<dyn Offset> {
    let constant = |flag| config.words.constant(config.rule, flag);
    let rho = config.rho / config.words.ascent_steps.unwrap_or(1) as f64;
    let scaled = |scale| Box::new(Adaptive { scale, ..Adaptive::everywhere(rho) });
    match name {
        BallName::L2 => Box::new(L2 { rho }),
        BallName::Raw => Box::new(Raw { rho }),
        BallName::Linf => Box::new(Linf { rho }),
        BallName::Unified => Box::new(Unified { rho, l: constant("share") }),
        BallName::Adaptive => scaled(Scale::Element),
        BallName::AdaptiveWeights => Box::new(Adaptive::weights(rho)),
        BallName::AdaptiveFilter => scaled(Scale::Filter),
        BallName::AdaptiveTensor => scaled(Scale::Tensor),
        BallName::Friendly => Box::new(Friendly::new(L2 { rho }, constant("sigma"), constant("keep"))),
        BallName::Averaged => Box::new(Averaged::new(L2 { rho }, constant("theta"))),
        BallName::Sparse => Box::new(Sparse { inner: L2 { rho }, beta: constant("mask") }),
        BallName::Eigen => Box::new(Eigen::new(rho, constant("bend"))),
    }
}

/// From the inside out, so that a gradient meets them the other way: it is decayed, masked, clipped, made an offset.
fn around(config: &RunConfig, mut offset: Box<dyn Offset>) -> Box<dyn Offset> {
    let words = &config.words;
    if let Some(most) = words.clip_ascent {
        offset = Box::new(Clipped { inner: offset, most });
    }
    let only = words.perturb.clone().or((config.rule == RuleName::SamOn).then_some(Select::Role(Role::Norm)));
    let mut groups: Vec<(Select, f64)> = only.map(|only| (Select::Not(Box::new(only)), 0.)).into_iter().collect();
    groups.extend(words.rho_groups.iter().map(|group| (group.0.clone(), group.1)));
    if !groups.is_empty() {
        offset = Box::new(Grouped { inner: offset, groups });
    }
    if words.decay_in_ascent {
        let on = if config.decay_weights_only { Select::Role(Role::Weight) } else { Select::All };
        offset = Box::new(Decayed { inner: offset, weight_decay: config.weight_decay, on });
    }
    if let Some(schedule) = words.rho_schedule {
        offset = Box::new(Scheduled { inner: offset, schedule: schedule.0 });
    }
    match words.ascent_steps {
        Some(steps) => Box::new(Steps { inner: offset, steps }),
        None => offset,
    }
}

fn combine(config: &RunConfig, name: CombineName) -> Box<dyn Combine> {
    let constant = |flag| config.words.constant(config.rule, flag);
    match name {
        CombineName::Descend => Box::new(Descend),
        CombineName::Gsam => Box::new(Gsam { alpha: constant("alpha") }),
        CombineName::Blend => Box::new(Blend { alpha: constant("alpha") }),
        CombineName::Wsam => {
            let gamma = constant("gamma");
            Box::new(Blend { alpha: gamma / (1. - gamma) })
        }
        CombineName::Stable => Box::new(Stable),
        CombineName::Look => Box::new(LookSam::new(constant("k") as usize, constant("alpha"))),
        CombineName::Steep => Box::new(AeSam::default()),
        CombineName::Selected => Box::new(EsamSelect { gamma: constant("select") }),
    }
}

fn temperature(config: &RunConfig) -> Temperature {
    match config.temperature {
        TemperatureName::Raw => Temperature::Raw(config.lambda),
        TemperatureName::Relative => Temperature::Relative(config.lambda),
        TemperatureName::EffectiveSize => Temperature::EffectiveSize(config.lambda),
    }
}

/// The estimator called `name`, with the probes and the δ of `config`.
pub fn estimator(name: EstimatorName, config: &RunConfig) -> Box<dyn GradNormEstimator> {
    let standard = match config.adapt_delta {
        true => FiniteDifference::adaptive(config.probes),
        false => FiniteDifference { probes: config.probes, ..FiniteDifference::default() },
    };
    match name {
        EstimatorName::Exact => Box::new(Exact),
        EstimatorName::Ghost => Box::new(Ghost::default()),
        EstimatorName::LastLayer => Box::new(LastLayer::default()),
        EstimatorName::Random => Box::new(RandomNorms),
        EstimatorName::FiniteDifference => {
            Box::new(FiniteDifference { delta: config.delta.map_or(standard.delta, Delta::Absolute), ..standard })
        }
    }
}

/// Forward and backward passes over the batch in one step, in the mean over many, as the rules document them: for
/// estimates of time.
pub fn passes(config: &RunConfig, batches_in_set: usize) -> (f64, f64) {
    let words = &config.words;
    let Some((ascent, ball, combine)) = words.sentence(config.rule) else { return (1., 1.) };
    let (mut forward, mut backward) = match ascent {
        AscentName::Mean | AscentName::Smoothed => (1., 1.),
        AscentName::FullBatch => (batches_in_set as f64, batches_in_set as f64),
        AscentName::Momentum | AscentName::Random => (0., 0.),
        AscentName::Gibbs => match config.estimator {
            EstimatorName::FiniteDifference => (1. + config.probes as f64, 1.),
            EstimatorName::LastLayer | EstimatorName::Random => (1., 1.),
            EstimatorName::Exact => (1., 1. + config.micro_batch.unwrap_or(config.batch_size) as f64),
            EstimatorName::Ghost => (1., 2.),
        },
    };
    // Five power iterations of two gradients in every hundredth step.
    let power = if ball == BallName::Eigen { 0.1 } else { 0. };
    let mut sharp = words.ascent_steps.unwrap_or(1) as f64 + power;
    if combine == CombineName::Look {
        sharp /= words.constant(config.rule, "k");
    }
    forward += sharp;
    backward += sharp;
    // Weights that depend on the whole batch are known before the gradient goes through in pieces.
    if config.accumulate.is_some_and(|most| most < config.micro_batch.unwrap_or(config.batch_size)) {
        forward += f64::from(ascent == AscentName::Gibbs) + f64::from(combine == CombineName::Selected);
    }
    // The share of the steps in which the rule is applied; the others make one pass.
    let share = (words.until.unwrap_or(1.) - words.from.unwrap_or(0.)) / words.every.unwrap_or(1) as f64;
    (share * forward + 1. - share, share * backward + 1. - share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{NETWORKS, parse};
    use crate::run::{build, classifier};
    use clap::ValueEnum;
    use msharp_core::{Counted, DataSource};
    use msharp_data::synthetic;
    use std::sync::{Arc, PoisonError};

    /// Every rule is built, makes the passes that estimates of time count with, and steps somewhere else than the
    /// others.
    #[test]
    fn every_rule_of_the_command_line_runs() -> anyhow::Result<()> {
        let _alone = NETWORKS.lock().unwrap_or_else(PoisonError::into_inner);
        let set = Loader::eval(Arc::new(synthetic(4, 0, 0).train), 4);
        let batch = set.epoch(0).next().expect("a batch")?;
        let mut directions: Vec<(String, f64)> = Vec::new();
        for name in RuleName::value_variants() {
            let config = RunConfig { rule: *name, ..parse("--norm group --batch-size 4") };
            let lambda = if config.is_reweighted() { 2. } else { config.lambda };
            let config = RunConfig { lambda, ..config };
            config.validate()?;
            let (model, params) = build(&config, 10)?;
            let classifier = classifier(model, &config);
            let counted = Counted::new(&classifier);
            let mut rule = rule(&config, set.clone());
            let grads = rule.gradient(BatchLoss::new(&counted, &params, &batch))?.grads;
            for _ in 1..5 {
                rule.gradient(BatchLoss::new(&counted, &params, &batch))?;
            }
            let (forward, backward) = counted.take();
            let expected = passes(&config, 1);
            let per_step = (forward as f64 / 20., backward as f64 / 20.);
            let power = if *name == RuleName::EigenSam { 10. / 5. - 0.1 } else { 0. }; // in the first of 5, not of 100
            let off = (per_step.0 - expected.0 - power).abs() + (per_step.1 - expected.1 - power).abs();
            assert!(off < 1e-9, "{}: {per_step:?} passes, {expected:?} expected", config.rule_label());
            // In a first step nothing was averaged and nothing is scheduled, and the set is the batch.
            let same_at_first = ["VaSSO", "LookSAM", "AE-SAM", "n-SAM", "n-USAM", "F-SAM", "MSAM"];
            if !same_at_first.contains(&name.label()) {
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
    fn words_change_what_they_say() -> anyhow::Result<()> {
        let _alone = NETWORKS.lock().unwrap_or_else(PoisonError::into_inner);
        let set = Loader::eval(Arc::new(synthetic(4, 0, 0).train), 4);
        let batch = set.epoch(0).next().expect("a batch")?;
        let length = |flags: &str| -> anyhow::Result<f64> {
            let config = parse(&format!("--norm group --batch-size 4 {flags}"));
            config.validate()?;
            let (model, params) = build(&config, 10)?;
            let step =
                rule(&config, set.clone()).gradient(BatchLoss::new(&classifier(model, &config), &params, &batch))?;
            Ok(step.grads.norm()?)
        };
        let sam = length("--rule sam")?;
        for (flags, same) in [
            ("--rule usam --ball l2", true),
            ("--rule gsam --combine descend", true),
            ("--perturb *", true),
            ("--rho 0.2 --rho-groups *=0.5", true),
            ("--rho 0.2 --ascent-steps 1 --rho-groups *=0.5", true),
            ("--from 0 --until 0.5", true),
            ("--rho-schedule warm-up:0.1", false),
            ("--from 0.5", false),
            ("--clip 0.5", false),
            ("--ball adaptive", false),
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
        let _alone = NETWORKS.lock().unwrap_or_else(PoisonError::into_inner);
        let set = Loader::eval(Arc::new(synthetic(8, 0, 0).train), 8);
        let batch = set.epoch(0).next().expect("a batch")?;
        let mut lengths: Vec<f64> = Vec::new();
        for flags in
            ["", "--shuffle-weights", "--estimator ghost", "--estimator ghost --shuffle-weights", "--estimator random"]
        {
            let config = parse(&format!("--norm group --batch-size 8 --rule rw-sam --lambda 2 {flags}"));
            config.validate()?;
            let (model, params) = build(&config, 10)?;
            let classifier = classifier(model, &config);
            let counted = Counted::new(&classifier);
            let step = rule(&config, set.clone()).gradient(BatchLoss::new(&counted, &params, &batch))?;
            let m_eff = step.measures["m_eff"].to_scalar::<f64>()?;
            assert!((m_eff - 2.).abs() < 1e-3, "{flags}: {m_eff}");
            let (forward, backward) = counted.take();
            assert_eq!((forward as f64 / 8., backward as f64 / 8.), passes(&config, 1), "{flags}");
            lengths.push(step.grads.norm()?);
        }
        lengths.sort_by(f64::total_cmp);
        assert!(lengths.windows(2).all(|pair| pair[0] != pair[1]), "{lengths:?}");
        Ok(())
    }
}

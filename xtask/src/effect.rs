//! Whether every setting has an effect in the run that was asked for: a setting that cannot matter makes a row of its
//! own with the numbers of another, and is refused.

use crate::config::{EstimatorName, OptimizerName, RuleName, RunConfig};
use crate::device::DeviceName;
use crate::experiments::{standard, typed};
use crate::names::{AscentName, BallName, CombineName};
use crate::start::START_LR;
use anyhow::{Context, Result, bail, ensure};
use msharp_core::{Moment, Param, Params, Perturbation, Role};
use msharp_models::{Architecture, Norm};
use msharp_perturb::{RhoSchedule, Select};
use msharp_train::Decay;

/// What a run is on, which is known once its data are read and its network is built.
pub struct Facts<'a> {
    /// Training images.
    pub samples: usize,
    /// Steps of the whole run.
    pub steps: usize,
    /// The variables of the network.
    pub params: &'a Params,
    /// Height and width of an image.
    pub size: (usize, usize),
}

impl RunConfig {
    /// What the command line takes where nothing is said.
    pub fn defaults() -> Self {
        let data = crate::config::DataName::Synthetic;
        Self { rule: RuleName::Sam, ..standard(Architecture::ResNet8, Norm::Batch, data) }
    }

    /// Whether the rule weighs the samples of a batch.
    pub fn is_reweighted(&self) -> bool {
        self.rule.sentence().is_some_and(|(ascent, _, _)| ascent == AscentName::Gibbs)
    }

    /// The same run without what goes without saying (a constant at its default, micro-batches of the whole batch):
    /// runs with the same bits have one record.
    pub fn canonical(mut self) -> Self {
        let (rule, batch) = (self.rule, self.batch_size);
        self.micro_batch.take_if(|m| *m == batch);
        self.noise_samples.take_if(|samples| *samples == batch);
        self.start.start_lr.take_if(|lr| *lr == START_LR);
        if let Some((_, ball, combine)) = rule.sentence() {
            self.words.ball.take_if(|other| *other == ball);
            self.words.combine.take_if(|other| *other == combine);
        }
        let has_words = self.words.ball.is_some() || self.words.combine.is_some();
        if let Some(named) =
            self.words.sentence(rule).and_then(RuleName::of).filter(|_| has_words && rule != RuleName::SamOn)
        {
            (self.rule, self.words.ball, self.words.combine) = (named, None, None);
        }
        if let Decay::Step { at, .. } = &mut self.schedule.0 {
            at.sort_by(f64::total_cmp);
        }
        while self.words.rho_groups.len() > 1 && self.words.rho_groups.last().is_some_and(|group| group.1 == 1.) {
            self.words.rho_groups.pop();
        }
        let rule = self.rule;
        for (flag, default) in self.words.defaults(rule) {
            self.words.given(flag).take_if(|given| *given == default);
        }
        self.words.ascent_steps.take_if(|steps| *steps == 1);
        self.words.every.take_if(|every| *every == 1);
        self.words.from.take_if(|from| *from == 0.);
        self.words.until.take_if(|until| *until == 1.);
        self.words.rho_schedule.take_if(|schedule| schedule.0 == RhoSchedule::Constant);
        self
    }

    /// # Errors
    /// Names a flag that the other flags leave without an effect.
    pub fn check_effects(&self) -> Result<()> {
        let (own, rule) = (Self::defaults(), typed(self.rule));
        let probes_rule = self.is_reweighted() && self.estimator == EstimatorName::FiniteDifference;
        let measures = self.noise_every > 0;
        let probes = probes_rule || (measures && self.noise_estimator == EstimatorName::FiniteDifference);
        let weighs = "rules that weigh the samples of a batch: --rule rw-sam or rw-usam";
        let differs = "estimates by finite differences, in --rule rw-sam or with --noise-every";
        for (flag, is_default, is_used, of) in [
            ("rho", self.rho == own.rho, self.rule != RuleName::Sgd, "rules that perturb"),
            ("lambda", self.lambda == own.lambda, self.is_reweighted(), weighs),
            ("temperature", self.temperature == own.temperature, self.is_reweighted(), weighs),
            ("estimator", self.estimator == own.estimator, self.is_reweighted(), weighs),
            ("probes", self.probes == own.probes, probes, differs),
            ("delta", self.delta.is_none(), probes, differs),
            ("adapt-delta", !self.adapt_delta, probes, differs),
            ("noise-samples", self.noise_samples.is_none(), measures, "measuring, with --noise-every"),
            ("noise-estimator", self.noise_estimator == own.noise_estimator, measures, "measuring, with --noise-every"),
            ("momentum", self.momentum == own.momentum, self.optimizer == OptimizerName::Sgd, "--optimizer sgd"),
            ("nesterov", !self.nesterov, self.momentum > 0., "a --momentum above 0"),
            ("decay-weights-only", !self.decay_weights_only, self.weight_decay > 0., "a --weight-decay above 0"),
        ] {
            ensure!(
                is_default || is_used,
                "--{flag} has no effect here (--rule {rule}, --optimizer {}): it is about {of}; expected none",
                typed(self.optimizer)
            );
        }
        ensure!(
            self.rule == RuleName::Sgd || self.rho > 0.,
            "--rho is 0, which leaves --rule {rule} without a perturbation; expected a number above 0, or --rule sgd"
        );
        ensure!(
            !self.is_reweighted() || self.lambda > 0.,
            "--lambda is 0, which makes all weights equal: --rule {rule} without weights; expected a number above 0"
        );
        ensure!(
            self.evaluate_every <= self.epochs,
            "--evaluate-every is {}, and there are {} epochs; expected at most as many",
            self.evaluate_every,
            self.epochs
        );
        let is_batch = self.norm == Norm::Batch && self.model.has_choice_of_norm();
        ensure!(
            !measures || self.noise_estimator != EstimatorName::Ghost || !is_batch,
            "--noise-estimator ghost measures shares of the batch's gradient under --norm batch, of which no variance of \
             the samples' gradients follows; expected exact or finite-difference, or --norm group"
        );
        for (flag, estimator, is_used) in
            [("estimator", self.estimator, self.is_reweighted()), ("noise-estimator", self.noise_estimator, measures)]
        {
            ensure!(
                !is_used || estimator != EstimatorName::Ghost || self.device == DeviceName::Cpu,
                "--{flag} ghost is for the CPU; expected another with --device {}",
                typed(self.device)
            );
        }
        ensure!(self.cutout != Some(0), "--cutout is 0, which cuts nothing out; expected at least 1 pixel");
        ensure!(
            self.rule != RuleName::Sgd || self.micro_batch.is_none() || is_batch,
            "--micro-batch has no effect on --rule sgd but under --norm batch: the mean of the micro-batches' gradients \
             is the batch's gradient; expected none, or --accumulate to save memory"
        );
        let at_once = self.micro_batch.unwrap_or(self.batch_size);
        if let Some(most) = self.accumulate {
            ensure!(
                most < at_once,
                "--accumulate is {most}, and {at_once} samples go through at once; expected fewer, or no such flag"
            );
        }
        let selects = matches!(self.words.sentence(self.rule), Some((_, _, CombineName::Selected)));
        ensure!(
            at_once > 1 || !(self.is_reweighted() || selects),
            "--rule {rule} weighs the samples that go through together, and that is one; expected a --micro-batch or \
             --batch-size of at least 2"
        );
        ensure!(
            !matches!(self.schedule.0, Decay::Step { factor: 1., .. }),
            "--schedule has steps by a factor of 1, which change nothing; expected another factor, or constant"
        );
        self.check_words()
    }

    fn check_words(&self) -> Result<()> {
        let words = &self.words;
        let Some((_, ball, _)) = words.sentence(self.rule) else { return Ok(()) };
        ensure!(
            self.rule != RuleName::SamOn || words.perturb.is_none(),
            "--perturb would take the place of the norm layers, which --rule sam-on perturbs; expected one of them"
        );
        if let Some((flag, value, what)) = words.neutral(self.rule) {
            bail!("--{flag} is {value}, which makes --rule {} {what}; expected another number", typed(self.rule));
        }
        let keeps_length = [BallName::Raw, BallName::Unified, BallName::Friendly, BallName::Averaged].contains(&ball);
        ensure!(
            words.clip_ascent.is_none() || keeps_length,
            "--clip-ascent has no effect on --ball {}, which takes the direction of the ascent gradient and not its \
             length; expected a ball that keeps it, such as raw",
            typed(ball)
        );
        let schedule = words.rho_schedule.map(|schedule| schedule.0);
        ensure!(
            !matches!(schedule, Some(RhoSchedule::ByLearningRate { .. }))
                || self.schedule.0 != Decay::Constant
                || self.warm_up > 0.,
            "--rho-schedule by-lr has no effect with --schedule constant and no --warm-up; expected another"
        );
        let end = match schedule {
            Some(RhoSchedule::ByLearningRate { least: end } | RhoSchedule::Cosine { end }) => end,
            _ => 0.,
        };
        ensure!(end != 1., "--rho-schedule ends at ρ itself, and has no effect; expected another share than 1");
        Ok(())
    }

    /// What can be known before the first step, now that there are data and a network.
    ///
    /// # Errors
    /// Names a flag that has no effect on these data, in these steps, on these parameters, or that selects none of
    /// them.
    pub fn check_against(&self, facts: &Facts, rule: &dyn Perturbation) -> Result<()> {
        let Facts { samples, steps, params, size } = *facts;
        let batch = self.batch_size;
        ensure!(
            batch <= samples,
            "--batch-size is {batch}, and there are {samples} training images; expected at most as many"
        );
        if let Some(side) = self.cutout {
            ensure!(
                side <= size.0.min(size.1),
                "--cutout is {side}, and images are {} × {}; expected at most a side",
                size.0,
                size.1
            );
        }
        let step = |share: f64| (0..steps).find(|k| *k as f64 / steps as f64 >= share);
        ensure!(
            self.warm_up == 0. || step(self.warm_up).is_none_or(|k| k > 1),
            "--warm-up is {}, less than 2 of the run's {steps} steps; expected a larger share, or none",
            self.warm_up
        );
        if let Decay::Step { at, .. } = &self.schedule.0 {
            for share in at {
                ensure!(
                    step(*share).is_some(),
                    "--schedule has a step at {share} of the run, after the last of its {steps} steps; expected an \
                     earlier one"
                );
            }
        }
        self.check_steps(steps)?;
        if let Norm::Group(most) = self.norm {
            let channels: Vec<usize> =
                params.iter().filter(|p| p.role == Role::Norm).map(|p| p.var.elem_count()).collect();
            let same = |fewer: &usize| channels.iter().all(|c| Norm::Group(*fewer).groups(*c) == self.norm.groups(*c));
            let fewest = (1..=most).find(same).unwrap_or(most);
            ensure!(
                fewest == most || self.norm == Norm::Group(32) || !self.model.has_choice_of_norm(),
                "--norm {} has the groups of group-{fewest} in every layer of {}; expected that",
                self.norm,
                self.model
            );
        }
        self.check_selections(params)?;
        rule.check(params).with_context(|| format!("--rule {}", typed(self.rule)))?;
        Ok(())
    }

    /// In which of the run's steps the rule is applied, and what is left of its settings there.
    fn check_steps(&self, steps: usize) -> Result<()> {
        let words = &self.words;
        let (from, until) = (words.from.unwrap_or(0.), words.until.unwrap_or(1.));
        let progress = |step: usize| step as f64 / steps as f64;
        let within: Vec<usize> = (0..steps).filter(|k| (from..until).contains(&progress(*k))).collect();
        if words.from.is_some() || words.until.is_some() {
            ensure!(
                !within.is_empty(),
                "--from {from} --until {until} holds none of the run's {steps} steps, which would all be plain; expected \
                 a longer part"
            );
            ensure!(
                within.len() < steps,
                "--from {from} --until {until} holds all of the run's {steps} steps; expected a shorter part, or none"
            );
        }
        let applied: Vec<usize> = within.iter().copied().step_by(words.every.unwrap_or(1)).collect();
        let Some((ascent, ball, combine)) = words.sentence(self.rule) else { return Ok(()) };
        let k = (combine == CombineName::Look).then(|| words.constant(self.rule, "k") as usize);
        let measured = (self.noise_every > 0).then_some(self.noise_every);
        for (flag, every, of) in
            [("every", words.every, within.len()), ("k", k, applied.len()), ("noise-every", measured, steps)]
        {
            ensure!(
                every.is_none_or(|every| every <= of),
                "--{flag} is {}, and there are {of} such steps, of {steps} in the run; expected at most as many",
                every.unwrap_or(0)
            );
        }
        let carries = ascent == AscentName::Momentum
            || [BallName::Friendly, BallName::Averaged].contains(&ball)
            || [CombineName::Look, CombineName::Steep].contains(&combine);
        ensure!(
            applied.len() > 1 || !carries,
            "--rule {} carries something from step to step, and is applied in one of the run's {steps} steps; expected \
             more steps",
            typed(self.rule)
        );
        if let Some(schedule) = words.rho_schedule.map(|schedule| schedule.0) {
            let rates = self.schedule.schedule(self.warm_up);
            let moment = |step: &usize| Moment { progress: progress(*step), lr: rates.factor(*step, steps) };
            let factors: Vec<f64> = applied.iter().map(|step| schedule.factor(moment(step))).collect();
            ensure!(
                factors.iter().any(|factor| *factor != 0.),
                "--rho-schedule makes ρ 0 in every step in which the rule is applied; expected another"
            );
            ensure!(
                factors.iter().any(|factor| *factor != 1.),
                "--rho-schedule leaves ρ as it is in every step in which the rule is applied; expected another, or none"
            );
        }
        Ok(())
    }

    fn check_selections(&self, params: &Params) -> Result<()> {
        let words = &self.words;
        let holds = |select: &Select| params.iter().filter(|param| select.holds(param)).count();
        if let Some(select) = &words.perturb {
            select.check(params).with_context(|| format!("--perturb {select}"))?;
            let held = holds(select);
            ensure!(held > 0, "--perturb {select} selects no parameter; expected at least one");
            ensure!(
                held < params.len(),
                "--perturb {select} selects every parameter, as without it; expected none, or another"
            );
        }
        let on_norms = self.rule == RuleName::SamOn;
        let masked = |param: &Param| match &words.perturb {
            Some(select) => !select.holds(param),
            None => on_norms && param.role != Role::Norm,
        };
        let first = |param: &Param| words.rho_groups.iter().position(|group| group.0.holds(param));
        for (i, group) in words.rho_groups.iter().enumerate() {
            group.0.check(params).with_context(|| format!("--rho-groups {group}"))?;
            ensure!(
                params.iter().any(|param| !masked(param) && first(param) == Some(i)),
                "--rho-groups {group} decides about no parameter that is perturbed: groups before it hold all of its \
                 own, or --perturb takes them out; expected none"
            );
        }
        let factor = |param: &Param| match first(param) {
            _ if masked(param) => 0.,
            Some(i) => words.rho_groups[i].1,
            None => 1.,
        };
        let decays = |param: &Param| !self.decay_weights_only || param.role == Role::Weight;
        ensure!(
            !words.decay_in_ascent || params.iter().any(|param| factor(param) != 0. && decays(param)),
            "--decay-in-ascent has no effect: no parameter that is perturbed decays (--decay-weights-only); expected none"
        );
        if !words.rho_groups.is_empty() {
            ensure!(
                params.iter().any(|param| !masked(param) && factor(param) != 1.),
                "--rho-groups multiplies no radius by anything but 1; expected another factor, or none"
            );
            ensure!(
                params.iter().any(|param| factor(param) != 0.),
                "--rho-groups leaves no parameter that is perturbed; expected a factor above 0"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::parse;
    use crate::rule::rule;
    use crate::run::build;
    use msharp_data::{Loader, synthetic};
    use std::sync::Arc;

    #[test]
    fn defaults_are_those_of_the_command_line() {
        assert_eq!(RunConfig::defaults(), parse(""));
    }

    /// What is said and what goes without saying have one record; the label is that of the plain rule.
    #[test]
    fn runs_with_the_same_bits_have_one_record() {
        for (flags, plain) in [
            ("--micro-batch 128", ""),
            ("--ball l2 --combine descend --from 0 --until 1 --every 1 --ascent-steps 1", ""),
            ("--rho-schedule constant", ""),
            ("--rule gsam --alpha 0.4", "--rule gsam"),
            ("--rule esam --mask 0.6 --select 0.5", "--rule esam"),
            ("--rule look-sam --k 5 --alpha 0.7", "--rule look-sam"),
            ("--noise-every 2 --noise-samples 128", "--noise-every 2"),
            ("--rule usam --ball l2", ""),
            ("--rule gsam --combine descend", ""),
            ("--ball adaptive", "--rule asam"),
            ("--combine gsam --alpha 0.2", "--rule gsam --alpha 0.2"),
            ("--schedule step:0.75,0.5:0.1", "--schedule step:0.5,0.75:0.1"),
            ("--rho-groups fc.*=2,*=1", "--rho-groups fc.*=2"),
            ("--after-random-labels 2 --start-lr 0.05", "--after-random-labels 2"),
        ] {
            let (found, expected) = (parse(flags).canonical(), parse(plain));
            assert_eq!(found.id(), expected.id(), "{flags}");
            assert_eq!(expected, expected.clone().canonical());
        }
        for flags in ["--micro-batch 64", "--rule gsam --alpha 0.3", "--rule rw-sam --ball adaptive", "--from 0.5"] {
            assert_eq!(parse(flags).canonical(), parse(flags));
        }
    }

    #[test]
    fn a_setting_without_an_effect_is_named() {
        for (flags, flag) in [
            ("--rule sgd --rho 0.2", "--rho"),
            ("--rho 0", "--rho"),
            ("--lambda 8", "--lambda"),
            ("--rule rw-sam --temperature raw --lambda 0", "--lambda"),
            ("--temperature raw", "--temperature"),
            ("--estimator exact", "--estimator"),
            ("--probes 4", "--probes"),
            ("--rule rw-sam --estimator ghost --probes 4", "--probes"),
            ("--delta 1e-4", "--delta"),
            ("--adapt-delta", "--adapt-delta"),
            ("--noise-samples 16", "--noise-samples"),
            ("--noise-estimator ghost", "--noise-estimator"),
            ("--noise-every 2 --noise-estimator ghost", "--noise-estimator"),
            ("--device cuda --rule rw-sam --estimator ghost", "--estimator"),
            ("--optimizer adamw --momentum 0.5", "--momentum"),
            ("--momentum 0 --nesterov", "--nesterov"),
            ("--weight-decay 0 --decay-weights-only", "--decay-weights-only"),
            ("--epochs 3 --evaluate-every 4", "--evaluate-every"),
            ("--cutout 0", "--cutout"),
            ("--rule sgd --norm group --micro-batch 16", "--micro-batch"),
            ("--accumulate 128", "--accumulate"),
            ("--micro-batch 16 --accumulate 16", "--accumulate"),
            ("--clip-ascent 1", "--clip-ascent"),
            ("--rule asam --clip-ascent 1", "--clip-ascent"),
            ("--rho-schedule by-lr --schedule constant", "--rho-schedule"),
            ("--rho-schedule cosine:1", "--rho-schedule"),
            ("--schedule step:0.5:1", "--schedule"),
            ("--rule sam-on --perturb fc.*", "--perturb"),
            ("--rule rw-sam --temperature raw --micro-batch 1", "--micro-batch"),
            ("--combine selected --micro-batch 1", "--micro-batch"),
            ("--rule sgd --model vit-mini --micro-batch 16", "--micro-batch"),
            ("--rule unified-sam --share 1", "--share"),
            ("--rule unified-sam --share 0", "--share"),
            ("--rule pgn --alpha 0", "--alpha"),
            ("--rule pgn --alpha 1", "--alpha"),
            ("--rule gsam --alpha 0", "--alpha"),
            ("--rule wsam --gamma 0.5", "--gamma"),
            ("--rule wsam --gamma 0", "--gamma"),
            ("--rule vasso --theta 1", "--theta"),
            ("--rule friendly-sam --sigma 0", "--sigma"),
            ("--rule look-sam --k 1", "--k"),
            ("--rule esam --mask 1", "--mask"),
            ("--rule eigen-sam --bend 0", "--bend"),
        ] {
            let message = parse(flags).validate().unwrap_err().to_string();
            assert!(message.contains(flag) && message.contains("expected"), "{flags}: {message}");
        }
    }

    /// 40 images in 2 batches of 20, 2 epochs: 4 steps.
    #[test]
    fn settings_are_held_against_samples_steps_and_parameters() {
        let set = Loader::eval(Arc::new(synthetic(40, 0, 0).train), 20);
        let check = |flags: &str| -> Result<()> {
            let batch = if flags.contains("--batch-size") { "" } else { "--batch-size 20" };
            let config = parse(&format!("--epochs 2 {batch} {flags}")).canonical();
            config.validate()?;
            let (_, params) = build(&config, 10)?;
            let facts = Facts { samples: 40, steps: 4, params: &params, size: (32, 32) };
            config.check_against(&facts, &rule(&config, set.clone()))
        };
        for flags in [
            "",
            "--from 0.75",
            "--until 0.3",
            "--every 4",
            "--warm-up 0.5",
            "--schedule step:0.75:0.1",
            "--perturb role:norm",
            "--perturb layer3.*",
            "--rho-groups fc.*=2,*=1",
            "--rho-groups fc.*=1,*=2",
            "--rule sam-on --rho-groups bn1.*=2",
            "--cutout 32",
        ] {
            check(flags).unwrap_or_else(|error| panic!("{flags}: {error:#}"));
        }
        for (flags, parts) in [
            ("--batch-size 41", ["--batch-size is 41", "40 training images"]),
            ("--from 0.9", ["--from 0.9", "none of the run's 4 steps"]),
            ("--from 0.3 --until 0.4", ["--until 0.4", "none of the run's 4 steps"]),
            ("--until 0.9", ["--until 0.9", "all of the run's 4 steps"]),
            ("--every 5", ["--every is 5", "4 such steps"]),
            ("--every 3 --until 0.5", ["--every is 3", "2 such steps, of 4"]),
            ("--rule look-sam --k 9", ["--k is 9", "4 such steps"]),
            ("--rule look-sam --k 3 --every 2", ["--k is 3", "2 such steps"]),
            ("--rule vasso --until 0.2", ["--rule vasso", "one of the run's 4 steps"]),
            ("--until 0.2 --rho-schedule warm-up:0.5", ["--rho-schedule", "ρ 0 in every step"]),
            ("--from 0.5 --rho-schedule warm-up:0.3", ["--rho-schedule", "leaves ρ as it is"]),
            ("--norm group-64", ["--norm group-64", "group-32"]),
            ("--norm group-5", ["--norm group-5", "group-1"]),
            ("--rule sam-on --decay-in-ascent --decay-weights-only", ["--decay-in-ascent", "no parameter"]),
            ("--noise-every 7", ["--noise-every is 7", "4 such steps"]),
            ("--warm-up 0.1", ["--warm-up is 0.1", "4 steps"]),
            ("--schedule step:0.5,0.9:0.1", ["--schedule has a step at 0.9", "4 steps"]),
            ("--cutout 33", ["--cutout is 33", "32 × 32"]),
            ("--perturb layer9.*", ["--perturb layer9.*", "no parameter"]),
            ("--perturb layer9.* --from 0.5", ["--perturb layer9.*", "no parameter"]),
            ("--perturb !*", ["--perturb !*", "no parameter"]),
            ("--perturb *", ["--perturb *", "every parameter"]),
            ("--perturb !layer9.*", ["--perturb !layer9.*", "no parameter"]),
            ("--rho-groups layer9.*=2", ["--rho-groups layer9.*=2", "no parameter"]),
            ("--rho-groups fc.*=1", ["--rho-groups", "but 1"]),
            ("--rho-groups *=0", ["--rho-groups", "leaves no parameter"]),
            ("--rho-groups *=2,fc.*=3", ["--rho-groups fc.*=3", "decides about no parameter"]),
            ("--perturb role:norm --rho-groups fc.*=3", ["--rho-groups fc.*=3", "--perturb"]),
        ] {
            let error = format!("{:#}", check(flags).map(|()| flags).unwrap_err());
            assert!(parts.iter().all(|part| error.contains(part)), "{flags}: {error}");
        }
    }
}

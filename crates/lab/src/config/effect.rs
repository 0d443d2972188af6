//! Whether every setting has an effect beside the others: a setting that cannot matter makes a row of its own with the
//! numbers of another, and is refused.

use crate::config::{EstimatorName, OptimizerName, RunConfig, typed};
use anyhow::{Result, bail, ensure};
use msharp_models::Norm;
use msharp_perturb::RhoSchedule;
use msharp_perturb::catalogue::{Combination, OffsetChoice};
use msharp_train::Decay;
use std::fmt::Display;

/// The least radius. No component of an l2 offset exceeds ρ, and f32 numbers near 0.01, a usual weight, are 9e-10
/// apart: less than half of that is lost in rounding.
const LEAST_RADIUS: f64 = 1e-12;

impl RunConfig {
    /// # Errors
    /// Names a flag that the other flags leave without an effect.
    pub fn check_effects(&self) -> Result<()> {
        let (own, rule) = (Self::defaults(), self.perturbation.rule.name());
        let probes_rule = self.is_reweighted() && self.weighting.estimator == EstimatorName::FiniteDifference;
        let measures = self.measuring.noise_every > 0;
        let probes = probes_rule || (measures && self.measuring.noise_estimator == EstimatorName::FiniteDifference);
        let weighs = "rules that weigh the samples of a batch: --rule rw-sam, rw-usam or delta-sam";
        let differs = "estimates by finite differences, in rules that weigh samples or with --noise-every";
        for (flag, is_default, is_used, of) in [
            (
                "micro-path",
                self.perturbation.micro_path == own.perturbation.micro_path,
                self.perturbation.micro_batch.is_some(),
                "m-SAM, with --micro-batch",
            ),
            ("estimator", self.weighting.estimator == own.weighting.estimator, self.is_reweighted(), weighs),
            ("shuffle-weights", !self.weighting.shuffle_weights, self.is_reweighted(), weighs),
            ("probes", self.weighting.probes == own.weighting.probes, probes, differs),
            ("delta", self.weighting.delta.is_none(), probes, differs),
            ("adapt-delta", !self.weighting.adapt_delta, probes, differs),
            ("noise-samples", self.measuring.noise_samples.is_none(), measures, "measuring, with --noise-every"),
            (
                "noise-estimator",
                self.measuring.noise_estimator == own.measuring.noise_estimator,
                measures,
                "measuring, with --noise-every",
            ),
            (
                "momentum",
                self.optimisation.momentum == own.optimisation.momentum,
                self.optimisation.optimizer == OptimizerName::Sgd,
                "--optimizer sgd",
            ),
            ("nesterov", !self.optimisation.nesterov, self.optimisation.momentum > 0., "a --momentum above 0"),
            (
                "decay-weights-only",
                !self.optimisation.decay_weights_only,
                self.optimisation.weight_decay > 0.,
                "a --weight-decay above 0",
            ),
        ] {
            ensure!(
                is_default || is_used,
                "--{flag} has no effect here (--rule {rule}, --optimizer {}): it is about {of}; expected none",
                typed(self.optimisation.optimizer)
            );
        }
        self.check_radius()?;
        ensure!(
            self.measuring.evaluate_every <= self.optimisation.epochs,
            "--evaluate-every is {}, and there are {} epochs; expected at most that number",
            self.measuring.evaluate_every,
            self.optimisation.epochs
        );
        ensure!(
            !self.measuring.train_accuracy || self.data.label_noise == 0.,
            "--train-accuracy has no effect with --label-noise, where the accuracies on right and on wrong labels are \
             measured anyway; expected one of them"
        );
        let is_batch = self.model.norm == Norm::Batch && self.model.architecture.has_choice_of_norm();
        ensure!(
            !measures || self.measuring.noise_estimator != EstimatorName::Ghost || !is_batch,
            "--noise-estimator ghost measures shares of the batch's gradient under --norm batch, of which no variance of \
             the samples' gradients follows; expected exact or finite-difference, or --norm group"
        );
        ensure!(self.data.cutout != Some(0), "--cutout is 0, which cuts nothing out; expected at least 1 pixel");
        ensure!(
            rule != "sgd" || self.perturbation.micro_batch.is_none() || is_batch,
            "--micro-batch has no effect on --rule sgd but under --norm batch: the mean of the micro-batches' gradients \
             is the batch's gradient; expected none, or --accumulate to save memory"
        );
        let parts = self.perturbation.changes.parts(&self.perturbation.rule);
        ensure!(
            !matches!(parts, Some(["full-batch", _, "descend"])) || self.perturbation.micro_batch.is_none() || is_batch,
            "--micro-batch has no effect on --rule {rule} but under --norm batch: the perturbation is that of the whole \
             set, so that the mean over micro-batches is the gradient of the batch; expected none"
        );
        let at_once = self.perturbation.micro_batch.unwrap_or(self.optimisation.batch_size);
        if let Some(most) = self.optimisation.accumulate {
            ensure!(
                most < at_once,
                "--accumulate is {most}, and {at_once} samples go through at once; expected fewer, or no such flag"
            );
        }
        let selects = parts.is_some_and(|[.., combine]| combine == "esam-select");
        ensure!(
            parts.is_none_or(|[ascent, _, combine]| combine != "weighted" || ["gibbs", "proportional"].contains(&ascent)),
            "--combine weighted descends the loss that the ascent weighs, and --rule {rule} weighs no samples; expected \
             rw-sam, rw-usam or delta-sam"
        );
        ensure!(
            at_once > 1 || !(self.is_reweighted() || selects),
            "--rule {rule} weighs the samples that go through together, and that is one; expected a --micro-batch or \
             --batch-size of at least 2"
        );
        ensure!(
            !matches!(self.optimisation.schedule.0, Decay::Step { factor: 1., .. }),
            "--schedule has steps by a factor of 1, which change nothing; expected another factor, or constant"
        );
        self.check_changes()
    }

    /// Whether x + ε differs from x in f32.
    fn check_radius(&self) -> Result<()> {
        let (rule, groups) = (&self.perturbation.rule, &self.perturbation.changes.rho_groups);
        let Some(radius) = rule.radius() else { return Ok(()) };
        let (of, name) = if rule.has("rho") { ("--rho", "rho") } else { ("sigma", "sigma") };
        ensure!(
            radius > 0.,
            "{of} is 0, which leaves --rule {} without a perturbation; expected a number above 0, or --rule sgd",
            rule.name()
        );
        let lost = "f32 loses that: adding it to a weight of 0.01 gives the same weight";
        ensure!(
            radius >= LEAST_RADIUS,
            "{of} is {radius:e}, and {lost}; expected at least {LEAST_RADIUS:e}, or --rule sgd"
        );
        let small = groups.iter().find(|group| group.1 > 0. && radius * group.1 < LEAST_RADIUS);
        ensure!(
            small.is_none(),
            "--rho-groups {} makes {name} {:e} there, and {lost}; expected at least {LEAST_RADIUS:e}, or the factor 0",
            text(&small),
            radius * small.map_or(0., |group| group.1)
        );
        Ok(())
    }

    /// Whether the values that the rule was given are of parts that it still has.
    fn check_exchanged(&self) -> Result<()> {
        let (rule, changes) = (&self.perturbation.rule, &self.perturbation.changes);
        let Some([_, offset, combine]) = rule.entry().parts else { return Ok(()) };
        let of_offset = OffsetChoice::named(offset).ok().map(|offset| offset.entry().parameters);
        let of_combine = Combination::named(combine).ok().map(|combine| combine.entry().parameters);
        for (flag, is_exchanged, parameters) in
            [("offset", changes.offset.is_some(), of_offset), ("combine", changes.combine.is_some(), of_combine)]
        {
            let lost = parameters.into_iter().flatten().find(|parameter| rule.is_given(parameter.name));
            if let (true, Some(lost)) = (is_exchanged, lost) {
                bail!("--rule {rule}: {} is of the part that --{flag} exchanges; expected one of them", lost.name)
            }
        }
        Ok(())
    }

    fn check_changes(&self) -> Result<()> {
        self.check_exchanged()?;
        let (rule, changes) = (&self.perturbation.rule, &self.perturbation.changes);
        let special = [
            ("rule", rule.to_string(), rule.special()),
            ("offset", text(&changes.offset), changes.offset.as_ref().and_then(|offset| offset.special())),
            ("combine", text(&changes.combine), changes.combine.as_ref().and_then(|combine| combine.special())),
        ];
        for (flag, choice, special) in special {
            if let Some((parameter, value, what)) = special {
                bail!("--{flag} {choice}: {parameter} is {value}, which makes it {what}; expected another value")
            }
        }
        ensure!(
            rule.name() != "gsam" || changes.offset.is_none() || rule.number("rho-min") == 0.,
            "--rule {rule}: rho-min is of the rule's own offset, which --offset exchanges; expected one of them"
        );
        if rule.name() == "gsam" && changes.offset.is_none() {
            ensure!(
                changes.rho_schedule.is_none(),
                "--rho-schedule would multiply the schedule of --rule gsam; expected none, or --rule sam --combine gsam"
            );
            let (rho, min) = (rule.number("rho"), rule.number("rho-min"));
            ensure!(
                rho != min,
                "--rule {rule}: rho-min is rho, so that the radius is constant; expected a smaller one, or --rule sam \
                 --combine gsam"
            );
            ensure!(
                self.optimisation.schedule.0 != Decay::Constant || self.optimisation.warm_up > 0.,
                "--rule {rule}: the radius follows the learning rate, which --schedule constant keeps as it is; expected \
                 another schedule, or --rule sam --combine gsam"
            );
        }
        ensure!(
            rule.name() != "sampa" || self.perturbation.micro_batch.is_none(),
            "--micro-batch has no form for --rule sampa, which goes on from the last step's batch; expected none"
        );
        ensure!(
            rule.name() != "sampa" || changes.every.is_none(),
            "--every has no form for --rule sampa, which goes on from the step before; expected none"
        );
        let Some([_, offset, _]) = changes.parts(rule) else { return Ok(()) };
        let keeps_length = ["raw", "unified", "friendly", "averaged"].contains(&offset);
        ensure!(
            changes.clip_ascent.is_none() || keeps_length,
            "--clip-ascent has no effect on --offset {offset}, which takes the direction of the ascent gradient and not \
             its length; expected an offset that keeps it, such as raw"
        );
        let schedule = changes.rho_schedule.map(|schedule| schedule.0);
        ensure!(
            !matches!(schedule, Some(RhoSchedule::ByLearningRate { .. }))
                || self.optimisation.schedule.0 != Decay::Constant
                || self.optimisation.warm_up > 0.,
            "--rho-schedule by-lr has no effect with --schedule constant and no --warm-up; expected another"
        );
        let end = match schedule {
            Some(RhoSchedule::ByLearningRate { least: end } | RhoSchedule::Cosine { end }) => end,
            _ => 0.,
        };
        ensure!(end != 1., "--rho-schedule ends at ρ itself, and has no effect; expected another share than 1");
        Ok(())
    }
}

/// Nothing of none.
fn text(choice: &Option<impl Display>) -> String {
    choice.as_ref().map_or_else(String::new, ToString::to_string)
}

#[cfg(test)]
mod tests {
    use crate::config::tests::parse;

    #[test]
    fn a_setting_without_an_effect_is_named() {
        for (flags, flag) in [
            ("--rule sam:rho=0", "--rho"),
            ("--rho 1e-300", "--rho is 1e-300, and f32 loses that"),
            ("--rule rwp:sigma=1e-13", "sigma is 1e-13"),
            ("--rho-groups fc.*=1e-20", "--rho-groups fc.*="),
            ("--rule wsam:gamma=0.3 --combine descend", "gamma is of the part that --combine exchanges"),
            ("--rule wsam:gamma=0.9 --combine descend", "gamma is of the part that --combine exchanges"),
            ("--rule unified-sam:l=0.25 --offset l2", "l is of the part that --offset exchanges"),
            ("--rule gsam:alpha=0.4 --combine descend", "alpha is of the part that --combine exchanges"),
            ("--rule rw-sam:temperature=raw,lambda=0", "lambda"),
            ("--estimator exact", "--estimator"),
            ("--probes 4", "--probes"),
            ("--rule rw-sam --estimator ghost --probes 4", "--probes"),
            ("--delta 1e-4", "--delta"),
            ("--adapt-delta", "--adapt-delta"),
            ("--noise-samples 16", "--noise-samples"),
            ("--label-noise 0.4 --train-accuracy", "--train-accuracy"),
            ("--noise-estimator ghost", "--noise-estimator"),
            ("--noise-every 2 --noise-estimator ghost", "--noise-estimator"),
            ("--optimizer adamw --momentum 0.5", "--momentum"),
            ("--momentum 0 --nesterov", "--nesterov"),
            ("--weight-decay 0 --decay-weights-only", "--decay-weights-only"),
            ("--epochs 3 --evaluate-every 4", "--evaluate-every"),
            ("--cutout 0", "--cutout"),
            ("--micro-path parallel", "--micro-path"),
            ("--rule sgd --norm group --micro-batch 16", "--micro-batch"),
            ("--accumulate 128", "--accumulate"),
            ("--micro-batch 16 --accumulate 16", "--accumulate"),
            ("--clip-ascent 1", "--clip-ascent"),
            ("--rule asam --clip-ascent 1", "--clip-ascent"),
            ("--rho-schedule by-lr --schedule constant", "--rho-schedule"),
            ("--rho-schedule cosine:1", "--rho-schedule"),
            ("--schedule step:0.5:1", "--schedule"),
            ("--rule sampa --micro-batch 16", "--micro-batch"),
            ("--rule n-sam --norm group --micro-batch 16", "--micro-batch"),
            ("--rule sampa --every 2", "--every"),
            ("--rule sampa:lambda=1", "lambda is 1"),
            ("--rule r-sam:sigma=0", "sigma is 0"),
            ("--rule rwp:sigma=0", "sigma is 0"),
            ("--rule friendly-sam:lambda=0", "lambda is 0"),
            ("--rule look-sam:alpha=0", "alpha is 0"),
            ("--rule gsam --rho-schedule cosine", "--rho-schedule"),
            ("--rule gsam:rho-min=0.05 --offset l2", "rho-min"),
            ("--rule rw-sam:temperature=raw --micro-batch 1", "--micro-batch"),
            ("--combine esam-select --micro-batch 1", "--micro-batch"),
            ("--rule sam --combine weighted", "--combine weighted"),
            ("--rule sgd --model vit-mini --micro-batch 16", "--micro-batch"),
            ("--rule unified-sam:l=1", "l is 1"),
            ("--rule unified-sam:l=0", "l is 0"),
            ("--rule pgn:alpha=0", "alpha is 0"),
            ("--rule pgn:alpha=1", "alpha is 1"),
            ("--rule gsam:alpha=0", "alpha is 0"),
            ("--rule wsam:gamma=0.5", "gamma is 0.5"),
            ("--rule wsam:gamma=0", "gamma is 0"),
            ("--rule vasso:theta=1", "theta is 1"),
            ("--rule friendly-sam:sigma=0", "sigma is 0"),
            ("--rule look-sam:k=1", "k is 1"),
            ("--rule esam:beta=1", "beta is 1"),
            ("--rule eigen-sam:alpha=0", "alpha is 0"),
            ("--offset unified:l=1", "--offset unified:l=1"),
            ("--combine gsam:alpha=0", "--combine gsam:alpha=0"),
            ("--rule gsam:rho-min=0.1", "rho-min"),
            ("--rule gsam --schedule constant", "--schedule constant"),
        ] {
            let message = parse(flags).validate().unwrap_err().to_string();
            assert!(message.contains(flag) && message.contains("expected"), "{flags}: {message}");
        }
    }
}

//! Whether every setting has an effect on the data, in the steps and on the parameters that there are, and selects some
//! of them: what is known before the first step.

use crate::config::RunConfig;
use anyhow::{Context, Result, ensure};
use msharp_core::{Param, Params, Perturbation, Role, Select};
use msharp_models::Norm;
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
    pub side: usize,
}

impl RunConfig {
    /// What can be known before the first step, now that there are data and a network.
    ///
    /// # Errors
    /// Names a flag that has no effect on these data, in these steps, on these parameters, or that selects none of
    /// them.
    pub fn check_against(&self, facts: &Facts, rule: &dyn Perturbation) -> Result<()> {
        let Facts { samples, steps, params, side } = *facts;
        let batch = self.optimisation.batch_size;
        ensure!(
            batch <= samples,
            "--batch-size is {batch}, and there are {samples} training images; expected at most as many"
        );
        if let Some(cutout) = self.data.cutout {
            ensure!(cutout <= side, "--cutout is {cutout}, and images are {side} × {side}; expected at most a side");
        }
        let step = |share: f64| (0..steps).find(|k| *k as f64 / steps as f64 >= share);
        ensure!(
            self.optimisation.warm_up == 0. || step(self.optimisation.warm_up).is_none_or(|k| k > 1),
            "--warm-up is {}, less than 2 of the run's {steps} steps; expected a larger share, or none",
            self.optimisation.warm_up
        );
        if let Decay::Step { at, .. } = &self.optimisation.schedule.0 {
            for share in at {
                ensure!(
                    step(*share).is_some(),
                    "--schedule has a step at {share} of the run, after the last of its {steps} steps; expected an \
                     earlier one"
                );
            }
        }
        self.check_steps(steps)?;
        if let Norm::Group(most) = self.model.norm {
            let channels: Vec<usize> =
                params.iter().filter(|p| p.role == Role::Norm).map(|p| p.var.elem_count()).collect();
            let same =
                |fewer: &usize| channels.iter().all(|c| Norm::Group(*fewer).groups(*c) == self.model.norm.groups(*c));
            let fewest = (1..=most).find(same).unwrap_or(most);
            ensure!(
                fewest == most || self.model.norm == Norm::Group(32) || !self.model.architecture.has_choice_of_norm(),
                "--norm {} has the groups of group-{fewest} in every layer of {}; expected that",
                self.model.norm,
                self.model.architecture
            );
        }
        self.check_selections(params)?;
        rule.check(params).with_context(|| format!("--rule {}", self.perturbation.rule))?;
        Ok(())
    }

    /// In which of the run's steps the rule is applied, and what is left of its settings there.
    fn check_steps(&self, steps: usize) -> Result<()> {
        let changes = &self.perturbation.changes;
        let (from, until) = (changes.from.unwrap_or(0.), changes.until.unwrap_or(1.));
        let progress = |step: usize| step as f64 / steps as f64;
        let within: Vec<usize> = (0..steps).filter(|k| (from..until).contains(&progress(*k))).collect();
        if changes.from.is_some() || changes.until.is_some() {
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
        let applied: Vec<usize> = within.iter().copied().step_by(changes.every.unwrap_or(1)).collect();
        let [ascent, offset, combine] = changes.parts(&self.perturbation.rule).unwrap_or_default();
        let k = match (&changes.combine, combine) {
            (Some(other), "look-sam") => Some(other.values().count("k")),
            (None, "look-sam") => Some(self.perturbation.rule.values().count("k")),
            _ => None,
        };
        let measured = (self.measuring.noise_every > 0).then_some(self.measuring.noise_every);
        let of_k = if changes.combine.is_some() { "k of --combine look-sam" } else { "k of --rule look-sam" };
        for (what, every, of) in
            [("--every", changes.every, within.len()), (of_k, k, applied.len()), ("--noise-every", measured, steps)]
        {
            ensure!(
                every.is_none_or(|every| every <= of),
                "{what} is {}, and is counted in {of} of the run's {steps} steps; expected at most {of}",
                every.unwrap_or(0)
            );
        }
        let carries = ascent == "momentum"
            || ["friendly", "averaged"].contains(&offset)
            || ["look-sam", "ae-sam"].contains(&combine)
            || self.perturbation.rule.name() == "sampa";
        ensure!(
            applied.len() > 1 || !carries,
            "--rule {} carries something from step to step, and is applied in one of the run's {steps} steps; expected \
             more steps",
            self.perturbation.rule.name()
        );
        if let Some(schedule) = changes.rho_schedule.map(|schedule| schedule.0) {
            let rates = self.optimisation.schedule.schedule(self.optimisation.lr, self.optimisation.warm_up);
            let factors: Vec<f64> = applied.iter().map(|step| schedule.factor(rates.at(*step, steps))).collect();
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
        let changes = &self.perturbation.changes;
        let holds = |select: &Select| params.iter().filter(|param| select.holds(param)).count();
        if let Some(select) = &changes.perturb {
            select.check(params).with_context(|| format!("--perturb {select}"))?;
            let held = holds(select);
            ensure!(held > 0, "--perturb {select} selects no parameter; expected at least one");
            ensure!(
                held < params.len(),
                "--perturb {select} selects every parameter, as without it; expected none, or another"
            );
        }
        let masked = |param: &Param| changes.perturb.as_ref().is_some_and(|select| !select.holds(param));
        let first = |param: &Param| changes.rho_groups.iter().position(|group| group.0.holds(param));
        for (i, group) in changes.rho_groups.iter().enumerate() {
            group.0.check(params).with_context(|| format!("--rho-groups {group}"))?;
            ensure!(
                params.iter().any(|param| !masked(param) && first(param) == Some(i)),
                "--rho-groups {group} decides about no parameter that is perturbed: groups before it hold all of its \
                 own, or --perturb takes them out; expected none"
            );
        }
        let factor = |param: &Param| match first(param) {
            _ if masked(param) => 0.,
            Some(i) => changes.rho_groups[i].1,
            None => 1.,
        };
        let decays = |param: &Param| !self.optimisation.decay_weights_only || param.role == Role::Weight;
        ensure!(
            !changes.decay_in_ascent || params.iter().any(|param| factor(param) != 0. && decays(param)),
            "--decay-in-ascent has no effect: no parameter that is perturbed decays (--decay-weights-only); expected none"
        );
        if let [group] = &changes.rho_groups[..] {
            let all = params.iter().all(|param| masked(param) || group.0.holds(param));
            ensure!(
                !all || group.1 == 0.,
                "--rho-groups {group} multiplies every radius by {}; expected --rho {} instead",
                group.1,
                self.perturbation.rule.radius().unwrap_or(0.) * group.1
            );
            ensure!(
                group.1 != 0. || all || changes.perturb.is_some(),
                "--rho-groups {group} leaves these parameters out; expected --perturb !{} instead",
                group.0
            );
        }
        self.check_lr_groups(params)?;
        if !changes.rho_groups.is_empty() {
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

    fn check_lr_groups(&self, params: &Params) -> Result<()> {
        let groups = &self.optimisation.lr_groups;
        let first = |param: &Param| groups.iter().position(|group| group.0.holds(param));
        for (i, group) in groups.iter().enumerate() {
            group.0.check(params).with_context(|| format!("--lr-groups {group}"))?;
            ensure!(
                params.iter().any(|param| first(param) == Some(i)),
                "--lr-groups {group} decides about no parameter: groups before it hold all of its own; expected none"
            );
            ensure!(
                group.1 != 1. || i + 1 < groups.len(),
                "--lr-groups {group} leaves the learning rate as it is; expected another factor, or none"
            );
        }
        ensure!(
            groups.is_empty() || params.iter().any(|param| first(param).is_none()),
            "--lr-groups hold every parameter; expected --lr for all, and factors for some"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::{model, rule};
    use crate::config::tests::parse;
    use msharp_data::{Loader, synthetic};
    use std::sync::Arc;

    /// 40 images in 2 batches of 20, 2 epochs: 4 steps.
    #[test]
    fn settings_are_held_against_samples_steps_and_parameters() {
        let set = Loader::eval(Arc::new(synthetic(40, 0, 0).train), 20);
        let check = |flags: &str| -> Result<()> {
            let batch = if flags.contains("--batch-size") { "" } else { "--batch-size 20" };
            let config = parse(&format!("--epochs 2 {batch} {flags}")).canonical();
            config.validate()?;
            let (_, params) = model(&config, 10)?;
            let facts = Facts { samples: 40, steps: 4, params: &params, side: 32 };
            config.check_against(&facts, &*rule(&config, set.clone())?)
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
            "--lr-groups fc.*=10",
            "--optimizer adamw --lr-groups role:bias=2,fc.*=0",
        ] {
            check(flags).unwrap_or_else(|error| panic!("{flags}: {error:#}"));
        }
        for (flags, parts) in [
            ("--batch-size 41", ["--batch-size is 41", "40 training images"]),
            ("--from 0.9", ["--from 0.9", "none of the run's 4 steps"]),
            ("--from 0.3 --until 0.4", ["--until 0.4", "none of the run's 4 steps"]),
            ("--until 0.9", ["--until 0.9", "all of the run's 4 steps"]),
            ("--every 5", ["--every is 5", "4 of the run's 4 steps"]),
            ("--every 3 --until 0.5", ["--every is 3", "2 of the run's 4 steps"]),
            ("--rule look-sam:k=9", ["k of --rule look-sam is 9", "4 of the run's 4 steps"]),
            ("--combine look-sam:k=3 --every 2", ["k of --rule look-sam is 3", "2 of the run's 4 steps"]),
            ("--rule vasso --until 0.2", ["--rule vasso", "one of the run's 4 steps"]),
            ("--until 0.2 --rho-schedule warm-up:0.5", ["--rho-schedule", "ρ 0 in every step"]),
            ("--from 0.5 --rho-schedule warm-up:0.3", ["--rho-schedule", "leaves ρ as it is"]),
            ("--norm group-64", ["--norm group-64", "group-32"]),
            ("--norm group-5", ["--norm group-5", "group-1"]),
            ("--rule sam-on --decay-in-ascent --decay-weights-only", ["--decay-in-ascent", "no parameter"]),
            ("--noise-every 7", ["--noise-every is 7", "4 of the run's 4 steps"]),
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
            ("--rho-groups *=2", ["--rho-groups *=2", "--rho 0.2"]),
            ("--rho-groups role:norm=0", ["--rho-groups role:norm=0", "--perturb !role:norm"]),
            ("--rho-groups *=2,fc.*=3", ["--rho-groups fc.*=3", "decides about no parameter"]),
            ("--lr-groups layer9.*=2", ["--lr-groups layer9.*=2", "no parameter"]),
            ("--lr-groups fc.*=1", ["--lr-groups fc.*=1", "as it is"]),
            ("--lr-groups *=2", ["--lr-groups", "--lr for all"]),
            ("--lr-groups fc.*=2,fc.weight=3", ["--lr-groups fc.weight=3", "decides about no parameter"]),
            ("--perturb role:norm --rho-groups fc.*=3", ["--rho-groups fc.*=3", "--perturb"]),
        ] {
            let error = format!("{:#}", check(flags).map(|()| flags).unwrap_err());
            assert!(parts.iter().all(|part| error.contains(part)), "{flags}: {error}");
        }
    }
}

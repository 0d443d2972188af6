//! One record for each run: what a flag abbreviates is written out, and what is at its default is left out.

use crate::config::start::START_LR;
use crate::config::{MicroPathName, RunConfig};
use anyhow::{Context, Result, ensure};
use msharp_core::{Role, Select};
use msharp_perturb::catalogue::{Choice, Combination, Kind, OffsetChoice, Value, rules};
use msharp_perturb::{RhoSchedule, Rule};
use msharp_train::Decay;

impl RunConfig {
    /// The same with --rho in the rule, and with rules that are another one in micro-batches, in several steps, in a
    /// part of the run or on some parameters written as that.
    ///
    /// # Errors
    /// If a flag says again what the rule says, the rule has no radius, or --rho is none.
    pub fn settled(mut self) -> Result<Self> {
        if let Some(rho) = self.perturbation.rho.take() {
            let rule = &self.perturbation.rule;
            ensure!(
                !rule.is_given("rho"),
                "--rho is {rho}, and --rule {} has the rho {} too; expected it once",
                rule.name(),
                rule.number("rho")
            );
            ensure!(
                rho > 0. || !rule.has("rho"),
                "--rho is {rho}; expected a radius above 0 for --rule {}, or --rule sgd, which has none",
                rule.name()
            );
            self.perturbation.rule = self.perturbation.rule.with("rho", rho).with_context(|| format!("--rho {rho}"))?;
        }
        let rule = self.perturbation.rule.clone();
        let plain = |base: &str| named(base).with("rho", rule.number("rho"));
        let once = |is_given: bool, flag: &str| {
            ensure!(!is_given, "--{flag} is a part of --rule {}; expected one of them, or another rule", rule.name());
            Ok(())
        };
        match rule.name() {
            "m-sam" | "m-usam" => {
                once(self.perturbation.micro_batch.is_some(), "micro-batch")?;
                self.perturbation.micro_batch = Some(rule.values().count("m"));
                self.perturbation.rule = plain(if rule.name() == "m-sam" { "sam" } else { "usam" })?;
            }
            "multi-step-sam" => {
                once(self.perturbation.changes.ascent_steps.is_some(), "ascent-steps")?;
                self.perturbation.changes.ascent_steps = Some(rule.values().count("k"));
                self.perturbation.rule = plain("sam")?;
            }
            "late-phase-sam" => {
                once(self.perturbation.changes.from.is_some(), "from")?;
                self.perturbation.changes.from = Some(rule.number("start"));
                self.perturbation.rule = plain("sam")?;
            }
            "sam-on" => {
                once(self.perturbation.changes.perturb.is_some(), "perturb")?;
                self.perturbation.changes.perturb = Some(Select::Role(Role::Norm));
                self.perturbation.rule = plain("sam")?;
            }
            _ => {}
        }
        if let (Some(size), Some(_)) = (self.images.image_size, self.model.architecture.image_size()) {
            self.model.architecture = self.model.architecture.with_image_size(size)?;
        }
        Ok(self)
    }

    /// The same run without what is at its default (micro-batches of the whole batch, parts that are exchanged for
    /// themselves): runs with the same bits have one record.
    pub fn canonical(mut self) -> Self {
        let batch = self.optimisation.batch_size;
        if self.perturbation.micro_batch.take_if(|m| *m == batch).is_some() {
            self.perturbation.micro_path = MicroPathName::Auto;
        }
        self.measuring.noise_samples.take_if(|samples| *samples == batch);
        self.start.start_lr.take_if(|lr| *lr == START_LR);
        let side = self.usual_side();
        self.images.image_size.take_if(|size| *size == side);
        self.name_parts();
        self.name_gsam();
        if let Decay::Step { at, .. } = &mut self.optimisation.schedule.0 {
            at.sort_by(f64::total_cmp);
        }
        let changes = &mut self.perturbation.changes;
        for groups in [&mut changes.rho_groups, &mut self.optimisation.lr_groups] {
            while groups.len() > 1 && groups.last().is_some_and(|group| group.1 == 1.) {
                groups.pop();
            }
        }
        changes.ascent_steps.take_if(|steps| *steps == 1);
        changes.every.take_if(|every| *every == 1);
        changes.from.take_if(|from| *from == 0.);
        changes.until.take_if(|until| *until == 1.);
        changes.rho_schedule.take_if(|schedule| schedule.0 == RhoSchedule::Constant);
        self
    }

    /// GSAM written as its parts: a radius that follows the learning rate is the rule's own.
    fn name_gsam(&mut self) {
        let (Some(combine), Some(schedule)) =
            (&self.perturbation.changes.combine, self.perturbation.changes.rho_schedule)
        else {
            return;
        };
        let (RhoSchedule::ByLearningRate { least }, "sam", "gsam") =
            (schedule.0, self.perturbation.rule.name(), combine.name())
        else {
            return;
        };
        let (rho, alpha) = (self.perturbation.rule.number("rho"), combine.number("alpha"));
        let named = named("gsam").with("rho", rho).and_then(|rule| rule.with("alpha", alpha));
        let named = named.and_then(|rule| rule.with("rho-min", rho * least));
        if let (Ok(rule), None, true) = (named, &self.perturbation.changes.offset, rho * least / rho == least) {
            (self.perturbation.rule, self.perturbation.changes.combine, self.perturbation.changes.rho_schedule) =
                (rule, None, None);
        }
    }

    /// Where parts are exchanged: the rule that is composed of them, if there is one, and otherwise the rule of the
    /// same ascent with an l2 offset that is descended at x + ε, with the parts that differ.
    fn name_parts(&mut self) {
        let (rule, changes) = (&self.perturbation.rule, &self.perturbation.changes);
        let Some([ascent, offset, combine]) = changes.parts(rule) else { return };
        if changes.offset.is_none() && changes.combine.is_none() {
            return;
        }
        let own = |name: &str| rule.has(name).then(|| rule.values().value(name));
        let offset: Option<OffsetChoice> = changes.offset.clone().or_else(|| filled(Choice::named(offset).ok()?, own));
        let combine: Option<Combination> =
            changes.combine.clone().or_else(|| filled(Choice::named(combine).ok()?, own));
        // The offset of gsam has a schedule, and is in no list.
        let (Some(offset), Some(combine)) = (offset, combine) else { return };
        let of = |parts: [&str; 3]| rules().iter().find(|entry| entry.parts == Some(parts)).map(Rule::of);
        let of_all = |name: &str| {
            let of_offset = offset.has(name).then(|| offset.values().value(name));
            of_offset.or_else(|| combine.has(name).then(|| combine.values().value(name))).or_else(|| own(name))
        };
        if let Some(named) = of([ascent, offset.name(), combine.name()]).and_then(|rule| filled(rule, of_all)) {
            (self.perturbation.rule, self.perturbation.changes.offset, self.perturbation.changes.combine) =
                (named, None, None);
        } else if let Some(base) = of([ascent, "l2", "descend"]).and_then(|rule| filled(rule, own)) {
            self.perturbation.changes.offset = Some(offset).filter(|offset| offset.name() != "l2");
            self.perturbation.changes.combine = Some(combine).filter(|combine| combine.name() != "descend");
            self.perturbation.rule = base;
        }
    }
}

/// `choice` with these values of all its parameters.
fn filled<K: Kind>(choice: Choice<K>, value: impl Fn(&str) -> Option<Value>) -> Option<Choice<K>> {
    let parameters = choice.entry().parameters;
    parameters.iter().try_fold(choice, |choice, parameter| choice.with(parameter.name, value(parameter.name)?).ok())
}

/// The rule of that name, which exists.
pub fn named(name: &str) -> Rule {
    Rule::named(name).expect("a rule of the catalogue")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::parse;

    #[test]
    fn defaults_are_those_of_the_command_line() {
        assert_eq!(RunConfig::defaults(), parse(""));
    }

    /// What is said and what goes without saying have one record; the label is that of the plain rule.
    #[test]
    fn runs_with_the_same_bits_have_one_record() {
        for (flags, plain) in [
            ("--micro-batch 128", ""),
            ("--micro-batch 128 --micro-path sequential", ""),
            ("--offset l2 --combine descend --from 0 --until 1 --every 1 --ascent-steps 1", ""),
            ("--rho-schedule constant", ""),
            ("--rule gsam:alpha=0.4", "--rule gsam"),
            ("--rule esam:beta=0.6,gamma=0.5", "--rule esam"),
            ("--rule look-sam:k=5,alpha=0.7", "--rule look-sam"),
            ("--noise-every 2 --noise-samples 128", "--noise-every 2"),
            ("--rule usam --offset l2", ""),
            ("--rule pgn --combine descend", ""),
            ("--offset adaptive", "--rule asam --rho 0.1"),
            ("--combine blend:alpha=0.2", "--rule pgn:alpha=0.2"),
            ("--rule gsam --offset l2", "--combine gsam"),
            ("--rule unified-sam:l=0.25 --combine gsam", "--offset unified:l=0.25 --combine gsam"),
            (
                "--rule eigen-sam:alpha=0.3 --combine gsam:alpha=0.2",
                "--offset eigen:alpha=0.3 --combine gsam:alpha=0.2",
            ),
            ("--rule rw-usam:lambda=8,rho=0.2 --offset l2", "--rule rw-sam:lambda=8 --rho 0.2"),
            ("--rule esam:gamma=0.25 --offset sparse:beta=0.3", "--rule esam:beta=0.3,gamma=0.25"),
            ("--schedule step:0.75,0.5:0.1", "--schedule step:0.5,0.75:0.1"),
            ("--rho-groups fc.*=2,*=1", "--rho-groups fc.*=2"),
            ("--after-random-labels 2 --start-lr 0.05", "--after-random-labels 2"),
            ("--rho 0.2", "--rule sam:rho=0.2"),
            ("--rule m-sam:m=16", "--micro-batch 16"),
            ("--rule m-usam:m=16,rho=0.2", "--rule usam --rho 0.2 --micro-batch 16"),
            ("--rule multi-step-sam:k=3", "--ascent-steps 3"),
            ("--rule late-phase-sam:start=0.5", "--from 0.5"),
            ("--combine gsam --rho-schedule by-lr", "--rule gsam"),
            ("--combine gsam:alpha=0.2 --rho-schedule by-lr:0.5", "--rule gsam:alpha=0.2,rho-min=0.05"),
            ("--rule sam-on", "--perturb role:norm"),
        ] {
            let (found, expected) = (parse(flags).canonical(), parse(plain));
            assert_eq!(found.id(), expected.id(), "{flags}");
            assert_eq!(found, expected);
            assert_eq!(expected, expected.clone().canonical());
        }
        for flags in [
            "--micro-batch 64",
            "--rule gsam:alpha=0.3",
            "--rule rw-sam --offset adaptive",
            "--from 0.5",
            "--rule sampa",
        ] {
            assert_eq!(parse(flags).canonical(), parse(flags));
        }
    }
}

//! One record for each run: what goes without saying is not said.

use crate::config::{DataName, RuleName, RunConfig};
use crate::experiments::standard;
use crate::names::AscentName;
use crate::start::START_LR;
use msharp_models::{Architecture, Norm};
use msharp_perturb::RhoSchedule;
use msharp_train::Decay;

impl RunConfig {
    /// What the command line takes where nothing is said.
    pub fn defaults() -> Self {
        let data = DataName::Synthetic;
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
}

//! Which rule, and what of it is changed: each flag is a word of the sentence, or something around it.

use crate::config::is_default;
use crate::experiments::typed;
use crate::names::{AscentName, BallName, CombineName, RuleName};
use crate::text::{GroupText, RhoText, as_optional_text, as_texts};
use anyhow::{Result, ensure};
use clap::Args;
use msharp_core::Range;
use msharp_perturb::{
    Averaged, Blend, Clipped, Eigen, Friendly, Gsam, Look, Momentum, Select, Selected, Smoothed, Sparse, Unified,
};
use serde::{Deserialize, Serialize};

/// What of the rule is changed.
#[derive(Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Words {
    /// Another ball than the rule's
    #[arg(long, help_heading = "Words of the rule")]
    #[serde(skip_serializing_if = "is_default")]
    pub ball: Option<BallName>,
    /// Another combination than the rule's
    #[arg(long, help_heading = "Words of the rule")]
    #[serde(skip_serializing_if = "is_default")]
    pub combine: Option<CombineName>,
    /// α of GSAM [default: 0.4], PGN and blend [0.8], LookSAM [0.7]
    #[arg(long, help_heading = "Words of the rule", allow_hyphen_values = true)]
    #[serde(skip_serializing_if = "is_default")]
    pub alpha: Option<f64>,
    /// γ of WSAM [default: 0.9]
    #[arg(long, help_heading = "Words of the rule", allow_hyphen_values = true)]
    #[serde(skip_serializing_if = "is_default")]
    pub gamma: Option<f64>,
    /// θ of VaSSO: how much of a new gradient the average takes [default: 0.4]
    #[arg(long, help_heading = "Words of the rule", allow_hyphen_values = true)]
    #[serde(skip_serializing_if = "is_default")]
    pub theta: Option<f64>,
    /// σ of Friendly SAM: how much of the average is subtracted [default: 1]
    #[arg(long, help_heading = "Words of the rule", allow_hyphen_values = true)]
    #[serde(skip_serializing_if = "is_default")]
    pub sigma: Option<f64>,
    /// λ of Friendly SAM: how much of its average a step keeps [default: 0.6]
    #[arg(long, help_heading = "Words of the rule", allow_hyphen_values = true)]
    #[serde(skip_serializing_if = "is_default")]
    pub keep: Option<f64>,
    /// μ of MSAM [default: 0.9]
    #[arg(long, help_heading = "Words of the rule", allow_hyphen_values = true)]
    #[serde(skip_serializing_if = "is_default")]
    pub mu: Option<f64>,
    /// α of Eigen-SAM [default: 0.2]
    #[arg(long, help_heading = "Words of the rule", allow_hyphen_values = true)]
    #[serde(skip_serializing_if = "is_default")]
    pub bend: Option<f64>,
    /// β of ESAM: the share of parameters that is perturbed [default: 0.6]
    #[arg(long, help_heading = "Words of the rule", allow_hyphen_values = true)]
    #[serde(skip_serializing_if = "is_default")]
    pub mask: Option<f64>,
    /// γ of ESAM: the share of samples that is descended [default: 0.5]
    #[arg(long, help_heading = "Words of the rule", allow_hyphen_values = true)]
    #[serde(skip_serializing_if = "is_default")]
    pub select: Option<f64>,
    /// l of Unified SAM: 0 is USAM, 1 is SAM [default: 0.5]
    #[arg(long, help_heading = "Words of the rule", allow_hyphen_values = true)]
    #[serde(skip_serializing_if = "is_default")]
    pub share: Option<f64>,
    /// σ of R-SAM's noise [default: 0.01]
    #[arg(long, help_heading = "Words of the rule", allow_hyphen_values = true)]
    #[serde(skip_serializing_if = "is_default")]
    pub noise: Option<f64>,
    /// k of LookSAM [default: 5]
    #[arg(long, help_heading = "Words of the rule", allow_hyphen_values = true)]
    #[serde(skip_serializing_if = "is_default")]
    pub k: Option<f64>,
    /// So many ascent steps of ρ divided by their number
    #[arg(long, help_heading = "Words of the rule")]
    #[serde(skip_serializing_if = "is_default")]
    pub ascent_steps: Option<usize>,

    /// Permute the weights of RW-SAM over the batch: a control, which keeps them and m_eff and forgets whose they are
    #[arg(long, help_heading = "Words of the rule")]
    #[serde(skip_serializing_if = "is_default")]
    pub shuffle_weights: bool,

    /// How ρ changes: by-lr or by-lr:LEAST (linearly with the learning rate, from LEAST·ρ at 0), cosine or cosine:END,
    /// warm-up:SHARE
    #[arg(long, help_heading = "Around the rule")]
    #[serde(with = "as_optional_text", skip_serializing_if = "is_default")]
    pub rho_schedule: Option<RhoText>,
    /// Perturb these parameters only: role:weight, role:bias, role:norm, a glob on names such as layer4.*, or ! and one
    /// of these
    #[arg(long, help_heading = "Around the rule")]
    #[serde(with = "as_optional_text", skip_serializing_if = "is_default")]
    pub perturb: Option<Select>,
    /// Factors on ρ for groups of parameters, the first that fits: fc.*=2,role:bias=0.5
    #[arg(long, help_heading = "Around the rule", value_delimiter = ',')]
    #[serde(with = "as_texts", skip_serializing_if = "is_default")]
    pub rho_groups: Vec<GroupText>,
    /// Add the weight decay to the ascent gradient
    #[arg(long, help_heading = "Around the rule")]
    #[serde(skip_serializing_if = "is_default")]
    pub decay_in_ascent: bool,
    /// Shorten the ascent gradient to this length
    #[arg(long, help_heading = "Around the rule", allow_hyphen_values = true)]
    #[serde(skip_serializing_if = "is_default")]
    pub clip_ascent: Option<f64>,
    /// Shorten what the optimizer gets to this length
    #[arg(long, help_heading = "Around the rule", allow_hyphen_values = true)]
    #[serde(skip_serializing_if = "is_default")]
    pub clip: Option<f64>,
    /// The rule in every so many steps only, the plain gradient between
    #[arg(long, help_heading = "Around the rule")]
    #[serde(skip_serializing_if = "is_default")]
    pub every: Option<usize>,
    /// The rule from this share of the run on; the plain gradient before
    #[arg(long, help_heading = "Around the rule", allow_hyphen_values = true)]
    #[serde(skip_serializing_if = "is_default")]
    pub from: Option<f64>,
    /// The rule up to this share of the run; the plain gradient after
    #[arg(long, help_heading = "Around the rule", allow_hyphen_values = true)]
    #[serde(skip_serializing_if = "is_default")]
    pub until: Option<f64>,
}

/// A constant of a word: its flag, the rules that have it, what was given, the default, and what is allowed.
struct Constant(&'static str, bool, Option<f64>, f64, Range);

impl Words {
    /// The sentence of `rule` with the words that are exchanged.
    pub fn sentence(&self, rule: RuleName) -> Option<(AscentName, BallName, CombineName)> {
        let (ascent, ball, combine) = rule.sentence()?;
        Some((ascent, self.ball.unwrap_or(ball), self.combine.unwrap_or(combine)))
    }

    fn constants(&self, rule: RuleName) -> Vec<Constant> {
        let sentence = self.sentence(rule);
        let has_ball = |name| sentence.is_some_and(|(_, ball, _)| ball == name);
        let combines = |name| sentence.is_some_and(|(_, _, combine)| combine == name);
        let ascends = |name| sentence.is_some_and(|(ascent, _, _)| ascent == name);
        let (gsam, blend, look) =
            (combines(CombineName::Gsam), combines(CombineName::Blend), combines(CombineName::Look));
        let alpha = if gsam {
            0.4
        } else if blend {
            0.8
        } else {
            0.7
        };
        let friendly = has_ball(BallName::Friendly);
        vec![
            Constant(
                "alpha",
                gsam || blend || look,
                self.alpha,
                alpha,
                if gsam { Gsam::ALPHA } else { LookSam::ALPHA },
            ),
            Constant("gamma", combines(CombineName::Wsam), self.gamma, 0.9, Blend::GAMMA),
            Constant("theta", has_ball(BallName::Averaged), self.theta, 0.4, Averaged::THETA),
            Constant("sigma", friendly, self.sigma, 1., Friendly::SIGMA),
            Constant("keep", friendly, self.keep, 0.6, Friendly::LAMBDA),
            Constant("mu", ascends(AscentName::Momentum), self.mu, 0.9, Momentum::MU),
            Constant("bend", has_ball(BallName::Eigen), self.bend, 0.2, Eigen::ALPHA),
            Constant("mask", has_ball(BallName::Sparse), self.mask, 0.6, Sparse::BETA),
            Constant("select", combines(CombineName::Selected), self.select, 0.5, Selected::GAMMA),
            Constant("share", has_ball(BallName::Unified), self.share, 0.5, Unified::L),
            Constant("noise", ascends(AscentName::Smoothed), self.noise, 0.01, Smoothed::SIGMA),
            Constant("k", look, self.k, 5., Range::AT_LEAST_1),
        ]
    }

    /// The defaults of the constants that the rule has, by their flags.
    pub fn defaults(&self, rule: RuleName) -> Vec<(&'static str, f64)> {
        let used = self.constants(rule).into_iter().filter(|constant| constant.1);
        used.map(|Constant(flag, _, _, default, _)| (flag, default)).collect()
    }

    /// A constant at which a part of the rule is another, simpler one: its flag, its value, and what it makes of the
    /// part.
    pub fn neutral(&self, rule: RuleName) -> Option<(&'static str, f64, &'static str)> {
        let (_, ball, combine) = self.sentence(rule)?;
        let of_ball: &[(&str, f64, &str)] = match ball {
            BallName::Unified => &[("share", 0., "one of the raw gradient"), ("share", 1., "one of the L2 ball")],
            BallName::Averaged => &[("theta", 1., "one without an average")],
            BallName::Friendly => &[("sigma", 0., "one that subtracts nothing")],
            BallName::Sparse => &[("mask", 1., "one of all parameters")],
            BallName::Eigen => &[("bend", 0., "one that is not bent")],
            _ => &[],
        };
        let of_combine: &[(&str, f64, &str)] = match combine {
            CombineName::Gsam => &[("alpha", 0., "descend as SAM does")],
            CombineName::Blend => &[("alpha", 0., "plain SGD"), ("alpha", 1., "descend as SAM does")],
            CombineName::Wsam => &[("gamma", 0., "plain SGD"), ("gamma", 0.5, "descend as SAM does")],
            CombineName::Look => &[("k", 1., "descend as SAM does")],
            CombineName::Selected => &[("select", 1., "descend all samples")],
            _ => &[],
        };
        let all = of_ball.iter().chain(of_combine).copied();
        all.into_iter().find(|(flag, value, _)| self.constant(rule, flag) == *value)
    }

    /// What was given for the constant called `flag`.
    pub fn given(&mut self, flag: &str) -> &mut Option<f64> {
        match flag {
            "alpha" => &mut self.alpha,
            "gamma" => &mut self.gamma,
            "theta" => &mut self.theta,
            "sigma" => &mut self.sigma,
            "keep" => &mut self.keep,
            "mu" => &mut self.mu,
            "bend" => &mut self.bend,
            "mask" => &mut self.mask,
            "select" => &mut self.select,
            "share" => &mut self.share,
            "noise" => &mut self.noise,
            _ => &mut self.k,
        }
    }

    /// The constant called `flag`, as given or by default.
    pub fn constant(&self, rule: RuleName, flag: &str) -> f64 {
        let constants = self.constants(rule);
        let Constant(_, _, given, default, _) =
            constants.iter().find(|constant| constant.0 == flag).expect("a constant that exists");
        given.unwrap_or(*default)
    }

    /// Whether every number makes sense and every flag has an effect; an error names the flag.
    pub fn validate(&self, rule: RuleName, weight_decay: f64) -> Result<()> {
        for Constant(flag, is_used, given, _, range) in self.constants(rule) {
            let Some(given) = given else { continue };
            ensure!(
                is_used,
                "--{flag} has no effect on --rule {}; expected another rule, --ball or --combine",
                typed(rule)
            );
            ensure!(range.holds(given), "--{flag} is {given}; expected {range}");
        }
        let k = self.constant(rule, "k");
        ensure!(k.fract() == 0., "--k is {k}; expected a whole number of steps");
        if rule == RuleName::Sgd {
            let plain = Words { clip: self.clip, ..Words::default() };
            ensure!(
                *self == plain,
                "--rule sgd has no perturbation; expected none of the flags that change one, but --clip"
            );
        }
        let is_reweighted = self.sentence(rule).is_some_and(|(ascent, _, _)| ascent == AscentName::Gibbs);
        ensure!(
            is_reweighted || !self.shuffle_weights,
            "--shuffle-weights has no effect on --rule {}, which weighs no samples; expected rw-sam or rw-usam",
            typed(rule)
        );
        if let Some((ascent, ball, combine)) = self.sentence(rule) {
            let (rule, no_gradient) = (typed(rule), [AscentName::Momentum, AscentName::Random, AscentName::Smoothed]);
            ensure!(
                combine == CombineName::Descend || !no_gradient.contains(&ascent),
                "--combine {} needs the gradient at x, which --rule {rule} does not compute; expected --combine \
                 descend",
                typed(combine)
            );
            ensure!(
                combine != CombineName::Selected || ascent != AscentName::FullBatch,
                "--combine selected needs the losses of the batch at x, which --rule {rule} does not compute; expected \
                 another"
            );
            ensure!(
                !self.decay_in_ascent || !no_gradient.contains(&ascent),
                "--decay-in-ascent is about an ascent gradient, which --rule {rule} does not compute; expected another \
                 rule"
            );
            ensure!(
                !self.decay_in_ascent || weight_decay > 0.,
                "--decay-in-ascent has no effect with --weight-decay 0; expected a number above 0"
            );
            let averages = [BallName::Friendly, BallName::Averaged, BallName::Eigen].contains(&ball);
            ensure!(
                self.ascent_steps.is_none() || (ascent == AscentName::Mean && !averages),
                "--ascent-steps repeats the batch's own gradient, which is not what --rule {rule} ascends; expected \
                 another rule"
            );
            ensure!(
                ascent != AscentName::Smoothed || (self.perturb.is_none() && self.rho_groups.is_empty()),
                "--rule {rule} moves all parameters by its noise; expected neither --perturb nor --rho-groups"
            );
        }
        for (flag, length) in [("clip", self.clip), ("clip-ascent", self.clip_ascent)] {
            let Some(length) = length else { continue };
            ensure!(Clipped::MOST.holds(length), "--{flag} is {length}; expected {}", Clipped::MOST);
        }
        for (flag, count) in [("every", self.every), ("ascent-steps", self.ascent_steps)] {
            ensure!(count.is_none_or(|count| count > 0), "--{flag} is 0; expected at least 1");
        }
        let (from, until) = (self.from.unwrap_or(0.), self.until.unwrap_or(1.));
        ensure!(
            0. <= from && from < until && until <= 1.,
            "--from is {from}, --until {until}; expected 0 ≤ from < until ≤ 1"
        );
        Ok(())
    }

    /// What is changed, for tables: the flags without their dashes.
    pub fn label(&self) -> Vec<String> {
        let value = serde_json::to_value(self).expect("words are numbers and names");
        let one = |(flag, value): (&String, &serde_json::Value)| {
            let flag = flag.replace('_', "-");
            match value {
                serde_json::Value::Bool(_) => flag,
                serde_json::Value::String(text) => format!("{flag} {text}"),
                serde_json::Value::Array(all) => {
                    let all: Vec<&str> = all.iter().filter_map(|text| text.as_str()).collect();
                    format!("{flag} {}", all.join(","))
                }
                value => format!("{flag} = {value}"),
            }
        };
        value.as_object().into_iter().flatten().map(one).collect()
    }
}

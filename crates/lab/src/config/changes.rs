//! What of a rule is changed: parts that are exchanged, and what stands around it.

use super::text::{GroupText, RhoText, as_optional_text, as_texts};
use anyhow::{Result, ensure};
use clap::Args;
use msharp_core::Select;
use msharp_perturb::catalogue::{Combination, OffsetChoice};
use msharp_perturb::{Clipped, Rule};
use serde::{Deserialize, Serialize};

/// What of the rule is changed.
#[derive(Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[command(next_help_heading = "Rule, changed")]
pub struct Changes {
    /// Another offset than the rule's, with its parameters: `msharp rules --offsets` lists them
    #[arg(long, hide_short_help = true, value_name = "NAME:PARAMETERS")]
    #[serde(with = "as_optional_text")]
    pub offset: Option<OffsetChoice>,
    /// Another combination of the gradients at x and at x + ε than the rule's: `msharp rules --combinations`
    #[arg(long, hide_short_help = true, value_name = "NAME:PARAMETERS")]
    #[serde(with = "as_optional_text")]
    pub combine: Option<Combination>,
    /// So many ascent steps, each of ρ divided by their number
    #[arg(long, hide_short_help = true, value_name = "N")]
    pub ascent_steps: Option<usize>,

    /// How ρ changes: by-lr or by-lr:LEAST (linearly with the learning rate, from LEAST·ρ at rate 0), cosine or
    /// cosine:END, warm-up:SHARE
    #[arg(long, hide_short_help = true, value_name = "SCHEDULE")]
    #[serde(with = "as_optional_text")]
    pub rho_schedule: Option<RhoText>,
    /// Perturb these parameters only: role:weight, role:bias, role:norm, a glob on names such as layer4.*, or ! and one
    /// of these
    #[arg(long, hide_short_help = true, value_name = "PARAMETERS")]
    #[serde(with = "as_optional_text")]
    pub perturb: Option<Select>,
    /// Factors on ρ for groups of parameters, the first that fits: fc.*=2,role:bias=0.5
    #[arg(long, hide_short_help = true, value_delimiter = ',', value_name = "PARAMETERS=FACTOR")]
    #[serde(with = "as_texts")]
    pub rho_groups: Vec<GroupText>,
    /// Add the weight decay to the ascent gradient
    #[arg(long, hide_short_help = true)]
    pub decay_in_ascent: bool,
    /// Shorten the ascent gradient to this length
    #[arg(long, hide_short_help = true, allow_hyphen_values = true, value_name = "NUMBER")]
    pub clip_ascent: Option<f64>,
    /// Shorten what the optimizer gets to this length
    #[arg(long, hide_short_help = true, allow_hyphen_values = true, value_name = "NUMBER")]
    pub clip: Option<f64>,
    /// The rule in every so many steps only, the plain gradient between
    #[arg(long, hide_short_help = true, value_name = "N")]
    pub every: Option<usize>,
    /// The rule from this share of the run on; the plain gradient before
    #[arg(long, hide_short_help = true, allow_hyphen_values = true, value_name = "SHARE")]
    pub from: Option<f64>,
    /// The rule up to this share of the run; the plain gradient after
    #[arg(long, hide_short_help = true, allow_hyphen_values = true, value_name = "SHARE")]
    pub until: Option<f64>,
}

impl Changes {
    /// The names of the ascent, the offset and the combination of `rule` with these changes; none for a rule whose
    /// parts cannot be exchanged.
    pub fn parts(&self, rule: &Rule) -> Option<[&'static str; 3]> {
        let [ascent, offset, combine] = rule.entry().parts?;
        let offset = self.offset.as_ref().map_or(offset, |other| other.name());
        let combine = self.combine.as_ref().map_or(combine, |other| other.name());
        Some([ascent, offset, combine])
    }

    /// Whether every number makes sense and every flag has an effect; an error names the flag.
    pub fn validate(&self, rule: &Rule, weight_decay: f64) -> Result<()> {
        let name = rule.name();
        if rule.radius().is_none() {
            let plain = Changes { clip: self.clip, ..Changes::default() };
            let given = Changes { clip: None, ..self.clone() }.label();
            ensure!(
                *self == plain,
                "--rule {name} has no perturbation that --{} could change; expected another rule, or only --clip",
                given.first().map_or("", String::as_str)
            );
        }
        let own = rule.entry().parts;
        for (flag, is_given) in [("offset", self.offset.is_some()), ("combine", self.combine.is_some())] {
            ensure!(
                own.is_some() || !is_given,
                "--{flag} exchanges a part, and --rule {name} has none that can be exchanged; expected another rule, as \
                 sam"
            );
        }
        for (flag, is_given) in [
            ("decay-in-ascent", self.decay_in_ascent),
            ("ascent-steps", self.ascent_steps.is_some()),
            ("perturb", self.perturb.is_some()),
            ("rho-groups", !self.rho_groups.is_empty()),
            ("clip-ascent", self.clip_ascent.is_some()),
            ("rho-schedule", self.rho_schedule.is_some()),
        ] {
            ensure!(
                own.is_some() || !is_given,
                "--{flag} changes the offset of a rule that is composed of parts, and --rule {name} is not; expected \
                 another rule"
            );
        }
        if let Some([ascent, offset, combine]) = self.parts(rule) {
            let no_gradient = ["momentum", "random", "smoothed"].contains(&ascent);
            ensure!(
                combine == "descend" || !no_gradient,
                "--combine {combine} needs the gradient at x, which --rule {name} does not compute; expected --combine \
                 descend"
            );
            ensure!(
                !self.decay_in_ascent || !no_gradient,
                "--decay-in-ascent is about an ascent gradient, which --rule {name} does not compute; expected another \
                 rule"
            );
            ensure!(
                self.clip_ascent.is_none() || !no_gradient,
                "--clip-ascent is about an ascent gradient, which --rule {name} does not compute; expected another rule"
            );
            ensure!(
                !self.decay_in_ascent || weight_decay > 0.,
                "--decay-in-ascent has no effect with --weight-decay 0; expected a number above 0"
            );
            let averages = ["friendly", "averaged", "eigen"].contains(&offset);
            ensure!(
                self.ascent_steps.is_none() || (ascent == "mean" && !averages),
                "--ascent-steps repeats the batch's own gradient, which is not what --rule {name} ascends; expected \
                 another rule"
            );
            ensure!(
                ascent != "smoothed" || (self.perturb.is_none() && self.rho_groups.is_empty()),
                "--rule {name} moves all parameters by its noise; expected neither --perturb nor --rho-groups"
            );
        }
        for (flag, length) in [("clip", self.clip), ("clip-ascent", self.clip_ascent)] {
            let Some(length) = length else { continue };
            ensure!(Clipped::MAX_NORM.holds(length), "--{flag} is {length}; expected {}", Clipped::MAX_NORM);
        }
        for (flag, count) in [("every", self.every), ("ascent-steps", self.ascent_steps)] {
            ensure!(count.is_none_or(|count| count > 0), "--{flag} is 0; expected at least 1");
        }
        let (from, until) = (self.from.unwrap_or(0.), self.until.unwrap_or(1.));
        ensure!(
            0. <= from && from < until && until <= 1.,
            "--from (the start of late-phase-sam) is {from} and --until is {until}; expected 0 ≤ from < until ≤ 1"
        );
        Ok(())
    }

    /// What is changed, for tables: the flags without their dashes.
    pub fn label(&self) -> Vec<String> {
        let value = serde_json::to_value(self).expect("changes are numbers and names");
        let one = |(flag, value): (&String, &serde_json::Value)| {
            let flag = flag.replace('_', "-");
            Some(match value {
                serde_json::Value::Null | serde_json::Value::Bool(false) => return None,
                serde_json::Value::Array(all) if all.is_empty() => return None,
                serde_json::Value::Bool(true) => flag,
                serde_json::Value::String(text) => format!("{flag} {text}"),
                serde_json::Value::Array(all) => {
                    let all: Vec<&str> = all.iter().filter_map(|text| text.as_str()).collect();
                    format!("{flag} {}", all.join(","))
                }
                value => format!("{flag} = {value}"),
            })
        };
        value.as_object().into_iter().flatten().filter_map(one).collect()
    }
}

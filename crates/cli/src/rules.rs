//! `rules`: the catalogue of rules, and one entry of it.

use anyhow::{Result, bail};
use clap::Args;
use msharp_lab::page::rules::{cost, state};
use msharp_perturb::Rule;
use msharp_perturb::catalogue::{Combination, Entry, Needs, OffsetChoice, combinations, offsets, rules as catalogue};

/// What to show before the flags.
const EXAMPLES: &str = "Examples:
  msharp rules        all rules, a line each
  msharp rules esam   one: formula, cost, state, reference, defaults";

/// The catalogue, or one entry.
#[derive(Args)]
#[command(before_help = EXAMPLES)]
pub struct RulesArgs {
    /// A rule, an offset or a combination
    name: Option<String>,
    /// List the offsets, for --offset
    #[arg(long, conflicts_with_all = ["name", "combinations"])]
    offsets: bool,
    /// List the combinations, for --combine
    #[arg(long, conflicts_with = "name")]
    combinations: bool,
}

/// What the symbols of formulas mean.
const LEGEND: &str = "g: gradient of the batch's mean loss at x; s: at x + ε; û = u/‖u‖ over all parameters";

/// Prints it.
pub fn rules(args: RulesArgs) -> Result<()> {
    let text = match args {
        RulesArgs { offsets: true, .. } => list(offsets()),
        RulesArgs { combinations: true, .. } => list(combinations()),
        RulesArgs { name: Some(name), .. } => one(&name)?,
        _ => format!(
            "{}\nOne rule with its formula: `msharp rules esam`. Any rule on micro-batches of m samples: --micro-batch m. Parts \
             that can be exchanged: `msharp rules --offsets`, `msharp rules --combinations`.",
            list(catalogue())
        ),
    };
    println!("{}", text.trim_end());
    Ok(())
}

/// A line for each entry: name, parameters with defaults, what it does.
fn list<B>(entries: &[Entry<B>]) -> String {
    let written: Vec<(String, &str)> = entries.iter().map(|entry| (written(entry), entry.about)).collect();
    let width = written.iter().map(|(text, _)| text.chars().count()).max().unwrap_or(0);
    written.iter().map(|(text, about)| format!("{text:width$}  {about}\n")).collect()
}

/// As it is written with all its parameters: `esam:rho=0.1,beta=0.6,gamma=0.5`.
fn written<B>(entry: &Entry<B>) -> String {
    let parameters: Vec<String> = entry.parameters.iter().map(|p| format!("{}={}", p.name, p.default)).collect();
    let colon = if parameters.is_empty() { "" } else { ":" };
    format!("{}{colon}{}", entry.name, parameters.join(","))
}

/// All that has the name: a rule and a part of it can share one.
fn one(name: &str) -> Result<String> {
    let mut found = Vec::new();
    let rule = Rule::named(name);
    if let Ok(rule) = &rule {
        found.push(describe_rule(rule)?);
    }
    if let Ok(offset) = OffsetChoice::named(name) {
        found.push(describe(offset.entry(), "An offset, for --offset"));
    }
    if let Ok(combination) = Combination::named(name) {
        found.push(describe(combination.entry(), "A combination, for --combine"));
    }
    match (found.is_empty(), rule) {
        (true, Err(unknown)) => bail!("{unknown}"),
        _ => Ok(found.join("\n")),
    }
}

fn describe_rule(rule: &Rule) -> Result<String> {
    let entry = rule.entry();
    let mut text = describe(entry, "A rule, for --rule");
    let mut line = |name: &str, value: &str| text.push_str(&format!("{name:11}{value}\n"));
    if let Some(parts) = entry.parts {
        line("parts", &parts.join(" × "));
    }
    line("passes", &format!("{} (forwards + backwards over a batch, in the mean step)", cost(rule)?));
    line("state", &state(rule)?);
    match entry.needs {
        Needs::Nothing => {}
        Needs::Estimator => line("needs", "an estimator of per-sample gradient norms: --estimator"),
        Needs::Data => line("needs", "the whole training set in every step"),
    }
    line("reference", entry.reference);
    if !entry.radius.is_empty() {
        line("published ρ", &format!(" {}", entry.radius));
    }
    Ok(text)
}

fn describe<B>(entry: &Entry<B>, what: &str) -> String {
    let mut text = format!("{} ({})\n{}. {what}.\n\n", entry.label, entry.name, entry.about);
    text.push_str(&format!("{:11}{LEGEND}\n", ""));
    text.push_str(&format!("{:11}{}\n", "formula", entry.formula));
    for (i, p) in entry.parameters.iter().enumerate() {
        let heading = if i == 0 { "parameters" } else { "" };
        text.push_str(&format!("{heading:11}{}={}: {}; {}\n", p.name, p.default, p.about, p.domain));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_listed_and_described() -> Result<()> {
        for entry in catalogue() {
            let text = one(entry.name)?;
            assert!(list(catalogue()).contains(entry.about));
            for part in [entry.label, entry.formula, entry.reference, "passes", "state"] {
                assert!(text.contains(part), "{}: {part} is missing from {text}", entry.name);
            }
            assert!(entry.parameters.iter().all(|p| text.contains(p.about)));
        }
        for name in offsets().iter().map(|entry| entry.name).chain(combinations().iter().map(|entry| entry.name)) {
            assert!(one(name).is_ok(), "{name}");
        }
        assert!(one("gsam")?.contains("A rule, for --rule") && one("gsam")?.contains("A combination, for --combine"));
        assert!(one("esma").unwrap_err().to_string().contains("esam"));
        Ok(())
    }
}

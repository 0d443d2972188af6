//! What a configuration is called: in folders, and in tables.

use crate::config::{EstimatorName, OptimizerName, RunConfig};
use crate::hex::hex;
use msharp_core::{Role, Select};
use msharp_perturb::catalogue::Value;
use sha2::{Digest, Sha256};

impl RunConfig {
    /// A name of the run for folders: readable, and different for every configuration.
    pub fn id(&self) -> String {
        let hash = hex(&Sha256::digest(self.json())[..4]);
        let rule = self.label_with(None).to_lowercase();
        let rule: String = rule.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
        let rule = rule.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-");
        format!("{}-{rule}-seed{}-{hash}", self.model.architecture, self.optimisation.seed)
    }

    /// The network, with its normalisation where there is a choice.
    pub fn network_label(&self) -> String {
        match self.model.architecture.has_choice_of_norm() {
            true => format!("{} ({})", self.model.architecture, self.model.norm),
            false => self.model.architecture.to_string(),
        }
    }

    /// What the images are called that it is tested on.
    pub fn tested_on(&self) -> &'static str {
        if self.data.validation.is_some() { "validation" } else { "test" }
    }

    /// The rule as a table calls it.
    pub fn rule_label(&self) -> String {
        self.label_with(self.estimator_label())
    }

    /// The same with ρ, where it is not the rule's default.
    pub fn rule_label_with_radius(&self) -> String {
        let rule = &self.perturbation.rule;
        match rule.radius() {
            Some(rho) if rule.has("rho") => format!("{}, ρ = {rho}", self.rule_label()),
            _ => self.rule_label(),
        }
    }

    /// Where the norms come from, unless it is from one finite-difference probe as in the paper.
    fn estimator_label(&self) -> Option<String> {
        match self.weighting.estimator {
            _ if !self.is_reweighted() => None,
            EstimatorName::FiniteDifference if self.weighting.probes == 1 => None,
            EstimatorName::FiniteDifference => Some(format!("{} probes", self.weighting.probes)),
            EstimatorName::Exact | EstimatorName::Ghost => Some("exact norms".to_owned()),
            EstimatorName::LastLayer => Some("last layer's norms".to_owned()),
            EstimatorName::NormLayers => Some("norm layers' norms".to_owned()),
            EstimatorName::Random => Some("random weights".to_owned()),
        }
    }

    fn label_with(&self, estimator: Option<String>) -> String {
        let (rule, mut changes) = (&self.perturbation.rule, self.perturbation.changes.clone());
        let is_on_norms = rule.name() == "sam" && changes.perturb == Some(Select::Role(Role::Norm));
        let is_adamw = rule.name() == "sgd" && self.optimisation.optimizer == OptimizerName::Adamw;
        let name = if is_on_norms { "SAM-ON" } else { rule.entry().label };
        let name = if is_adamw { "AdamW" } else { name };
        changes.perturb.take_if(|_| is_on_norms);

        let temperature = rule.has("temperature").then(|| {
            let lambda = rule.number("lambda");
            match rule.values().value("temperature") {
                Value::Name("raw") => format!("λ = {lambda}"),
                Value::Name("relative") => format!("λ = {lambda} relative"),
                _ => format!("m_eff = {lambda}"),
            }
        });
        let said = if temperature.is_some() { &["rho", "lambda", "temperature"][..] } else { &["rho"] };
        let others = rule.changed().filter(|(parameter, _)| !said.contains(parameter));

        let mut details = Vec::new();
        details.extend(self.perturbation.micro_batch.map(|m| format!("m = {m}")));
        details.extend(temperature);
        details.extend(others.map(|(parameter, value)| format!("{parameter} = {value}")));
        details.extend(estimator);
        details.extend(self.weighting.shuffle_weights.then(|| "shuffle-weights".to_owned()));
        details.extend(changes.label());
        let m = if self.perturbation.micro_batch.is_some() { "m-" } else { "" };
        if details.is_empty() { format!("{m}{name}") } else { format!("{m}{name} ({})", details.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::tests::parse;

    #[test]
    fn a_label_says_where_weights_come_from_and_a_folder_keeps_its_name() {
        for (flags, label) in [
            ("", "RW-SAM (m_eff = 32)"),
            ("--probes 6", "RW-SAM (m_eff = 32, 6 probes)"),
            ("--estimator ghost --shuffle-weights", "RW-SAM (m_eff = 32, exact norms, shuffle-weights)"),
            ("--estimator random", "RW-SAM (m_eff = 32, random weights)"),
        ] {
            assert_eq!(parse(&format!("--rule rw-sam {flags}")).rule_label(), label);
        }
        assert_eq!(parse("--rule sam --estimator ghost").rule_label(), "SAM");
        assert_eq!(parse("--rule sgd --optimizer adamw").rule_label(), "AdamW");
        assert!(parse("--rule rw-sam --estimator ghost").id().starts_with("resnet8-rw-sam-m-eff-32-seed0-"));
    }
}

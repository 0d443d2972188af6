//! What a configuration is called: in folders, and in tables.

use crate::config::{EstimatorName, RunConfig, TemperatureName};
use sha2::{Digest, Sha256};

impl RunConfig {
    /// A name of the run for folders: readable, and different for every configuration.
    pub fn id(&self) -> String {
        let digest = Sha256::digest(self.json());
        let hash: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let rule = self.sentence_label(None).to_lowercase();
        let rule: String = rule.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
        let rule = rule.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-");
        format!("{}-{rule}-seed{}-{hash}", self.model, self.seed)
    }

    /// The network, with its normalisation where there is a choice.
    pub fn network_label(&self) -> String {
        match self.model.has_choice_of_norm() {
            true => format!("{} ({})", self.model, self.norm),
            false => self.model.to_string(),
        }
    }

    /// The rule as a table calls it.
    pub fn rule_label(&self) -> String {
        self.sentence_label(self.estimator_label())
    }

    /// Where the norms come from, unless it is from one finite-difference probe as in the paper.
    fn estimator_label(&self) -> Option<String> {
        match self.estimator {
            _ if !self.is_reweighted() => None,
            EstimatorName::FiniteDifference if self.probes == 1 => None,
            EstimatorName::FiniteDifference => Some(format!("{} probes", self.probes)),
            EstimatorName::Exact | EstimatorName::Ghost => Some("exact norms".to_owned()),
            EstimatorName::LastLayer => Some("last layer's norms".to_owned()),
            EstimatorName::Random => Some("random weights".to_owned()),
        }
    }

    fn sentence_label(&self, estimator: Option<String>) -> String {
        let name = self.rule.label();
        let temperature = match self.temperature {
            TemperatureName::Raw => format!("λ = {}", self.lambda),
            TemperatureName::Relative => format!("λ = {} relative", self.lambda),
            TemperatureName::EffectiveSize => format!("m_eff = {}", self.lambda),
        };
        let mut details = Vec::new();
        details.extend(self.micro_batch.map(|m| format!("m = {m}")));
        details.extend(self.is_reweighted().then_some(temperature));
        details.extend(estimator);
        details.extend(self.words.label());
        let m = if self.micro_batch.is_some() { "m-" } else { "" };
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
        assert!(parse("--rule rw-sam --estimator ghost").id().starts_with("resnet8-rw-sam-m-eff-32-seed0-"));
    }
}

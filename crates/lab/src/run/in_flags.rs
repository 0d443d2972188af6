//! Errors of the libraries whose advice is a type, in terms of flags.

use crate::config::{EstimatorName, RunConfig};
use anyhow::anyhow;
use msharp_gradnorm::Error;

/// The same error; where the finite-difference step of `config` is at fault, with the flags that change it.
pub fn in_flags(error: candle_core::Error, config: &RunConfig) -> anyhow::Error {
    let Some(Error::TooNoisy { ratio, longer, .. }) = Error::of(&error) else { return error.into() };
    let estimates = config.is_reweighted() && config.weighting.estimator == EstimatorName::FiniteDifference;
    let other = if estimates { "--estimator" } else { "--noise-estimator" };
    let noise = format!("the noise of the finite differences is {ratio:.2} times their signal");
    let (is, expected) = if *longer { ("short", "longer") } else { ("long", "shorter") };
    match (config.weighting.adapt_delta, config.weighting.delta) {
        (true, _) => anyhow!("--adapt-delta finds no δ: {noise}; expected another {other}, such as exact"),
        (false, Some(delta)) => {
            anyhow!("--delta {delta:e} is too {is}: {noise}; expected a {expected} one, or --adapt-delta")
        }
        (false, None) => {
            anyhow!("the default δ is too {is}: {noise}; expected a {expected} --delta, or --adapt-delta")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::parse;

    #[test]
    fn advice_about_a_step_names_the_flags_of_the_run() {
        let told = |flags: &str, longer| {
            let text = "set a longer δ, or Delta::Adaptive".to_owned();
            let error = candle_core::Error::from(Error::TooNoisy { ratio: 3., longer, text });
            in_flags(error, &parse(flags)).to_string()
        };
        let short = told("--rule rw-sam --delta 1e-13", true);
        assert!(short.contains("--delta 1e-13 is too short") && short.contains("--adapt-delta"), "{short}");
        assert!(told("--rule rw-sam", false).contains("the default δ is too long"));
        assert!(told("--rule rw-sam --adapt-delta", true).contains("expected another --estimator"));
        assert!(told("--noise-every 2 --adapt-delta", true).contains("expected another --noise-estimator"));
        let other = candle_core::Error::Msg("something else".to_owned());
        assert_eq!(in_flags(other, &parse("")).to_string(), "something else");
    }
}

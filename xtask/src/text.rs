//! What a configuration says in a word: schedules, and whatever else has a textual form.

use anyhow::{Result, bail, ensure};
use msharp_train::{Decay, Schedule};
use serde::Deserialize;
use std::fmt::Display;
use std::str::FromStr;

/// A schedule as it is written on the command line.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleText(pub Decay);

impl ScheduleText {
    /// With the warm-up.
    pub fn schedule(&self, warm_up: f64) -> Schedule {
        Schedule { warm_up, decay: self.0.clone() }
    }
}

impl Display for ScheduleText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Decay::Constant => write!(f, "constant"),
            Decay::Cosine => write!(f, "cosine"),
            Decay::Step { at, factor } => {
                let at: Vec<String> = at.iter().map(f64::to_string).collect();
                write!(f, "step:{}:{factor}", at.join(","))
            }
        }
    }
}

impl FromStr for ScheduleText {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let expected = "expected cosine, constant, step, or step:SHARES:FACTOR such as step:0.3,0.6,0.8:0.2";
        let step = |at: Vec<f64>, factor: f64| {
            ensure!(
                at.iter().all(|share| *share > 0. && *share < 1.),
                "shares of the run lie between 0 and 1; {expected}"
            );
            ensure!(factor.is_finite() && factor > 0., "the factor of a step is above 0; {expected}");
            Ok(Self(Decay::Step { at, factor }))
        };
        match text.split(':').collect::<Vec<_>>().as_slice() {
            ["cosine"] => Ok(Self(Decay::Cosine)),
            ["constant"] => Ok(Self(Decay::Constant)),
            ["step"] => step(vec![0.5, 0.75], 0.1),
            ["step", shares, factor] => {
                let shares: Result<Vec<f64>, _> = shares.split(',').map(str::parse).collect();
                match (shares, factor.parse()) {
                    (Ok(shares), Ok(factor)) => step(shares, factor),
                    _ => bail!("{text:?} has something that is no number; {expected}"),
                }
            }
            _ => bail!("there is no schedule {text:?}; {expected}"),
        }
    }
}

/// Serialises what has a textual form in that form.
pub mod as_text {
    use super::*;
    use serde::{Deserializer, Serializer, de::Error};

    pub fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

//! What a configuration says in a word: schedules, and whatever else has a textual form.

use anyhow::{Result, bail, ensure};
use msharp_core::Select;
use msharp_perturb::RhoSchedule;
use msharp_train::{Decay, Schedule};
use serde::Deserialize;
use std::fmt::Display;
use std::str::FromStr;

/// A schedule as it is written on the command line.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleText(pub Decay);

impl ScheduleText {
    /// From a base rate, after a warm-up.
    pub fn schedule(&self, lr: f64, warm_up: f64) -> Schedule {
        Schedule { lr, warm_up, decay: self.0.clone() }
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

/// A schedule of ρ as it is written on the command line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RhoText(pub RhoSchedule);

impl Display for RhoText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            RhoSchedule::Constant => write!(f, "constant"),
            RhoSchedule::ByLearningRate { least } => write!(f, "by-lr:{least}"),
            RhoSchedule::Cosine { end } => write!(f, "cosine:{end}"),
            RhoSchedule::WarmUp { share } => write!(f, "warm-up:{share}"),
        }
    }
}

impl FromStr for RhoText {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let expected = "expected constant, by-lr, by-lr:LEAST, cosine, cosine:END or warm-up:SHARE, shares from 0 to 1";
        let (name, share) = text.split_once(':').map_or((text, None), |(name, share)| (name, Some(share)));
        let share = match share.map(str::parse::<f64>) {
            None => None,
            Some(Ok(share)) if (0. ..=1.).contains(&share) => Some(share),
            Some(Ok(share)) => bail!("{text:?} has the share {share}, which is not from 0 to 1; {expected}"),
            Some(Err(_)) => bail!("{text:?} has no number after the colon; {expected}"),
        };
        Ok(Self(match (name, share) {
            ("constant", None) => RhoSchedule::Constant,
            ("by-lr", least) => RhoSchedule::ByLearningRate { least: least.unwrap_or(0.) },
            ("cosine", end) => RhoSchedule::Cosine { end: end.unwrap_or(0.) },
            ("warm-up", Some(0.)) => bail!("{text:?} warms up in no step; expected a share above 0"),
            ("warm-up", None) => bail!("warm-up needs the share of the run in which ρ rises; {expected}"),
            ("warm-up", Some(share)) => RhoSchedule::WarmUp { share },
            _ => bail!("there is no schedule of ρ {text:?}; {expected}"),
        }))
    }
}

/// Parameters and a factor as they are written on the command line: `fc.*=2`.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupText(pub Select, pub f64);

impl Display for GroupText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.0, self.1)
    }
}

impl FromStr for GroupText {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let expected = "expected parameters and a factor such as fc.*=2 or role:bias=0";
        match text.split_once('=').map(|(select, factor)| (select.parse(), factor.parse::<f64>())) {
            Some((Ok(select), Ok(factor))) if factor.is_finite() && factor >= 0. => Ok(Self(select, factor)),
            _ => bail!("{text:?} is no group; {expected}"),
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

/// As [`as_text`], for what may be left out.
pub mod as_optional_text {
    use super::*;
    use serde::{Deserializer, Serializer, de::Error};

    pub fn serialize<T: Display, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.collect_str(value),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}

/// As [`as_text`], for lists.
pub mod as_texts {
    use super::*;
    use serde::{Deserializer, Serializer, de::Error};

    pub fn serialize<T: Display, S: Serializer>(values: &[T], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(T::to_string))
    }

    pub fn deserialize<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts.iter().map(|text| text.parse().map_err(D::Error::custom)).collect()
    }
}

//! A configuration as JSON: in groups, and only what differs from the defaults of its format.

use super::RunConfig;
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, FromArgMatches};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt::{self, Display};
use std::sync::OnceLock;

/// The format of records of configurations and rows. It changes when a default does, or the meaning of a setting.
pub const FORMAT: u64 = 2;

/// What a record without a format is: the settings side by side, without groups.
const BEFORE: u64 = 1;

/// A setting in which two configurations differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The flag without its dashes, or a parameter: `lambda of --rule`.
    pub setting: String,
    /// Its value in the one.
    pub was: String,
    /// And in the other.
    pub is: String,
}

impl Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { setting, was, is } = self;
        let dashes = if setting.contains("--") { "" } else { "--" };
        write!(f, "{dashes}{setting} was {was} and is {is}")
    }
}

/// `--rho was 0.05 and is 0.1, --seed was 0 and is 1`.
pub fn listed(differences: &[Difference]) -> String {
    differences.iter().map(Difference::to_string).collect::<Vec<_>>().join(", ")
}

impl RunConfig {
    /// What the command line takes where nothing is said.
    pub fn defaults() -> Self {
        static DEFAULTS: OnceLock<RunConfig> = OnceLock::new();
        let parse = || {
            let matches = RunConfig::augment_args(clap::Command::new("train")).get_matches_from(["train"]);
            RunConfig::from_arg_matches(&matches).expect("every flag has a default")
        };
        DEFAULTS.get_or_init(parse).clone()
    }

    /// The same with what `change` does to it.
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// The record.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("a configuration has only numbers and names")
    }

    /// The settings in which two configurations differ, `self` as it was, for messages.
    pub fn differences(&self, other: &RunConfig) -> Vec<Difference> {
        let mut all = self.differences_of_rules(other);
        let (a, b) = (self.groups(), other.groups());
        for ((_, a), (_, b)) in a.iter().zip(&b) {
            for (name, was) in a {
                let is = &b[name];
                if was != is && name != "rule" {
                    let shown = |value: &Value| match value {
                        Value::Null => "absent".to_owned(),
                        Value::String(text) => text.clone(),
                        value => value.to_string(),
                    };
                    let flag = match name.as_str() {
                        "set" => "data".to_owned(),
                        "architecture" => "model".to_owned(),
                        name => name.replace('_', "-"),
                    };
                    all.push(Difference { setting: flag, was: shown(was), is: shown(is) });
                }
            }
        }
        all
    }

    fn differences_of_rules(&self, other: &RunConfig) -> Vec<Difference> {
        let (a, b) = (&self.perturbation.rule, &other.perturbation.rule);
        if a.name() != b.name() {
            return vec![Difference { setting: "rule".to_owned(), was: a.to_string(), is: b.to_string() }];
        }
        let of = |name: &str| {
            let (was, is) = (a.values().value(name), b.values().value(name));
            let setting = if name == "rho" { name.to_owned() } else { format!("{name} of --rule") };
            (was != is).then(|| Difference { setting, was: was.to_string(), is: is.to_string() })
        };
        a.entry().parameters.iter().filter_map(|parameter| of(parameter.name)).collect()
    }

    /// Every setting of every group.
    fn groups(&self) -> [(&'static str, Map<String, Value>); 9] {
        [
            ("data", map(&self.data)),
            ("images", map(&self.images)),
            ("model", map(&self.model)),
            ("rule", map(&self.perturbation)),
            ("weighting", map(&self.weighting)),
            ("start", map(&self.start)),
            ("optimisation", map(&self.optimisation)),
            ("measuring", map(&self.measuring)),
            ("machine", map(&self.machine)),
        ]
    }
}

fn map(group: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(group) {
        Ok(Value::Object(map)) => map,
        _ => unreachable!("a group is a struct of numbers and names"),
    }
}

/// The format, and of each group what differs from the defaults.
impl From<RunConfig> for Value {
    fn from(config: RunConfig) -> Self {
        let mut record = Map::from_iter([("format".to_owned(), FORMAT.into())]);
        for ((name, group), (_, defaults)) in config.groups().into_iter().zip(RunConfig::defaults().groups()) {
            let own: Map<String, Value> = group.into_iter().filter(|(key, value)| defaults[key] != *value).collect();
            if !own.is_empty() {
                record.insert(name.to_owned(), own.into());
            }
        }
        record.into()
    }
}

/// A record of this format; one of another is refused with its number, and so is a setting that does not exist.
impl TryFrom<Value> for RunConfig {
    type Error = anyhow::Error;

    fn try_from(record: Value) -> Result<Self> {
        let Value::Object(mut record) = record else { bail!("a configuration is an object with groups of settings") };
        check_format(record.remove("format").as_ref())?;
        let mut groups = RunConfig::defaults().groups();
        for (name, own) in record {
            let group = groups.iter_mut().find(|(known, _)| *known == name).map(|(_, group)| group);
            let group = group.with_context(|| format!("there is no group {name:?} of settings"))?;
            let Value::Object(own) = own else { bail!("the group {name:?} is an object of settings") };
            for (key, value) in own {
                let setting =
                    group.get_mut(&key).with_context(|| format!("there is no setting {key:?} in {name:?}"))?;
                *setting = value;
            }
        }
        let [data, images, model, rule, weighting, start, optimisation, measuring, machine] = groups;
        Ok(RunConfig {
            data: read(data)?,
            images: read(images)?,
            model: read(model)?,
            perturbation: read(rule)?,
            weighting: read(weighting)?,
            start: read(start)?,
            optimisation: read(optimisation)?,
            measuring: read(measuring)?,
            machine: read(machine)?,
        })
    }
}

fn read<T: DeserializeOwned>((name, group): (&str, Map<String, Value>)) -> Result<T> {
    serde_json::from_value(group.into()).with_context(|| format!("the settings of {name:?}"))
}

/// # Errors
/// If a record is not of this program's format.
pub fn check_format(format: Option<&Value>) -> Result<()> {
    let format = format.map_or(Some(BEFORE), Value::as_u64);
    ensure!(
        format == Some(FORMAT),
        "it has format {}; expected format {FORMAT}, which this program writes: run it again, or read it with the \
         program of the revision that it names",
        format.map_or("that is no number".to_owned(), |format| format.to_string())
    );
    Ok(())
}

impl Serialize for RunConfig {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Value::from(self.clone()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RunConfig {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let record = Value::deserialize(deserializer)?;
        RunConfig::try_from(record).map_err(|error| serde::de::Error::custom(format!("{error:#}")))
    }
}

#[cfg(test)]
mod tests {
    use super::{FORMAT, Map, Value};
    use crate::config::RunConfig;
    use crate::config::tests::parse;

    #[test]
    fn a_record_holds_what_differs_from_the_defaults_in_groups() {
        assert_eq!(parse("").json(), r#"{"format":2}"#);
        let config = parse("--rho 0.2 --subset 100 --seed 3");
        let expected = r#"{"data":{"subset":100},"format":2,"optimisation":{"seed":3},"rule":{"rule":"sam:rho=0.2"}}"#;
        assert_eq!(config.json(), expected);
        assert_eq!(serde_json::from_str::<RunConfig>(expected).unwrap(), config);
    }

    /// A record leaves out what is a default, so that another default would change what old rows say of themselves. A
    /// new setting may come, whose default is what was done before.
    #[test]
    fn the_defaults_of_this_format_are_those_that_records_were_written_with() {
        let known: Map<String, Value> = serde_json::from_str(include_str!("defaults.json")).unwrap();
        assert_eq!(known["format"], FORMAT, "defaults.json is of the format before: write it anew");
        let groups = RunConfig::defaults().groups();
        for (name, group) in known.iter().filter(|(name, _)| *name != "format") {
            let now = &groups.iter().find(|(known, _)| known == name).unwrap().1;
            for (setting, default) in group.as_object().unwrap() {
                assert_eq!(now.get(setting), Some(default), "{setting} of {name}: a new default needs a new FORMAT");
            }
        }
    }

    #[test]
    fn what_is_not_of_this_format_is_refused() {
        for (text, parts) in [
            (r#"{"model":"resnet8","rule":"sam"}"#, ["format 1", "expected format 2"]),
            (r#"{"format":3}"#, ["format 3", "expected format 2"]),
            (r#"{"format":"2"}"#, ["no number", "expected format 2"]),
            (r#"{"format":2,"rule":{"radius":1}}"#, ["radius", "\"rule\""]),
            (r#"{"format":2,"rules":{}}"#, ["no group", "rules"]),
            (r#"{"format":2,"data":{"set":"mnist"}}"#, ["data", "mnist"]),
            (r#"[2]"#, ["object", "groups"]),
        ] {
            let message = serde_json::from_str::<RunConfig>(text).unwrap_err().to_string();
            assert!(parts.iter().all(|part| message.contains(part)), "{text}: {message}");
        }
    }

    #[test]
    fn differences_name_flag_and_both_values() {
        let said = |a: &str, b: &str| super::listed(&parse(a).differences(&parse(b)));
        assert_eq!(said("--rho 0.05", "--rho 0.2 --seed 1"), "--rho was 0.05 and is 0.2, --seed was 0 and is 1");
        assert_eq!(said("--rule usam", ""), "--rule was usam and is sam");
        assert_eq!(said("--rule rw-sam:lambda=8", "--rule rw-sam:lambda=4"), "lambda of --rule was 8 and is 4");
        assert_eq!(
            said("", "--subset 100 --offset adaptive"),
            "--subset was absent and is 100, --offset was absent and is adaptive"
        );
        assert_eq!(said("", ""), "");
    }
}

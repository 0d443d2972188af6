//! An entry of a catalogue with values for its parameters, as text and back.

use super::built::{Built, Supplies};
use super::entry::{Entry, Needs, Parameter, Value, Values};
use super::{combinations, offsets, rules};
use crate::Error;
use candle_core::Result;
use msharp_core::{Combine, Offset, Perturbation};
use std::fmt::{Debug, Display, Formatter};
use std::str::FromStr;

/// A catalogue: of rules, of offsets, of combinations.
pub trait Kind: Sized + 'static {
    /// How an entry is built.
    type Build: 'static;
    /// What an entry is, in messages.
    const WHAT: &'static str;

    /// All entries.
    fn list() -> &'static [Entry<Self::Build>];
}

/// The catalogue of [`rules`].
pub enum Rules {}
/// The catalogue of [`offsets`].
pub enum Offsets {}
/// The catalogue of [`combinations`].
pub enum Combinations {}

/// A rule with its parameters: `esam:beta=0.6,gamma=0.5`.
pub type Rule = Choice<Rules>;
/// An offset with its parameters: `unified:l=0.5`.
pub type OffsetChoice = Choice<Offsets>;
/// A combination with its parameters: `gsam:alpha=0.4`.
pub type Combination = Choice<Combinations>;

impl Kind for Rules {
    type Build = fn(&Values, &mut Supplies) -> Result<Built>;
    const WHAT: &'static str = "rule";

    fn list() -> &'static [Entry<Self::Build>] {
        rules()
    }
}

impl Kind for Offsets {
    type Build = fn(f64, &Values) -> Box<dyn Offset>;
    const WHAT: &'static str = "offset";

    fn list() -> &'static [Entry<Self::Build>] {
        offsets()
    }
}

impl Kind for Combinations {
    type Build = fn(&Values) -> Box<dyn Combine>;
    const WHAT: &'static str = "combination";

    fn list() -> &'static [Entry<Self::Build>] {
        combinations()
    }
}

/// An entry of a catalogue with values for its parameters.
///
/// As text, `name` or `name:parameter=value,…`; parameters at their defaults are not written.
///
/// Choices are equal if their values are; which of them were given makes no difference.
pub struct Choice<K: Kind> {
    entry: &'static Entry<K::Build>,
    values: Values,
    given: Vec<&'static str>,
}

impl<K: Kind> Choice<K> {
    /// The entry called `name`, with its defaults.
    ///
    /// # Errors
    /// [`Error::UnknownName`], which lists the names that there are.
    pub fn named(name: &str) -> Result<Self> {
        let Some(entry) = K::list().iter().find(|entry| entry.name == name) else {
            let known = K::list().iter().map(|entry| entry.name).collect();
            return Err(Error::UnknownName { what: K::WHAT, name: name.to_owned(), known }.into());
        };
        Ok(Self::of(entry))
    }

    /// An entry with its defaults.
    pub fn of(entry: &'static Entry<K::Build>) -> Self {
        let values = Values(entry.parameters.iter().map(|p| (p.name, p.default)).collect());
        Self { entry, values, given: Vec::new() }
    }

    /// The entry.
    pub fn entry(&self) -> &'static Entry<K::Build> {
        self.entry
    }

    /// The name of the entry.
    pub fn name(&self) -> &'static str {
        self.entry.name
    }

    /// The values of the parameters.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// The number called `parameter`.
    ///
    /// # Panics
    /// If the entry has no such number.
    #[track_caller]
    pub fn number(&self, parameter: &str) -> f64 {
        self.values.number(parameter)
    }

    /// Whether the entry has a parameter of that name.
    pub fn has(&self, parameter: &str) -> bool {
        self.entry.parameters.iter().any(|p| p.name == parameter)
    }

    /// The same with another value, written as text.
    ///
    /// # Errors
    /// [`Error::UnknownParameter`] or [`Error::OutOfRange`], which say what there is.
    pub fn with(self, parameter: &str, value: impl Display) -> Result<Self> {
        let (parameter, value) = self.read(parameter, &value.to_string())?;
        self.set(parameter, value).checked()
    }

    /// The parameters that are not at their defaults.
    pub fn changed(&self) -> impl Iterator<Item = (&'static str, Value)> + '_ {
        let values = self.entry.parameters.iter().zip(&self.values.0);
        values.filter(|(parameter, (_, value))| parameter.default != *value).map(|(_, value)| *value)
    }

    /// Whether `parameter` was given a value, be it its default.
    pub fn is_given(&self, parameter: &str) -> bool {
        self.given.contains(&parameter)
    }

    /// The first parameter at whose value the entry is another, simpler one: the parameter, its value, and which.
    pub fn special(&self) -> Option<(&'static str, Value, &'static str)> {
        self.entry.parameters.iter().find_map(|parameter| {
            let value = self.values.value(parameter.name);
            let special = parameter.special.iter().find(|(special, _)| value == Value::Number(*special))?;
            Some((parameter.name, value, special.1))
        })
    }

    fn read(&self, name: &str, text: &str) -> Result<(&'static Parameter, Value)> {
        let owner = self.entry.name;
        let Some(parameter) = self.entry.parameters.iter().find(|parameter| parameter.name == name) else {
            let known = self.entry.parameters.iter().map(|parameter| parameter.name).collect();
            return Err(Error::UnknownParameter { of: owner, name: name.to_owned(), known }.into());
        };
        match parameter.parse(text) {
            Ok(value) => Ok((parameter, value)),
            Err(expected) => {
                Err(Error::OutOfRange { of: owner, parameter: parameter.name, value: text.to_owned(), expected }.into())
            }
        }
    }

    fn set(mut self, parameter: &Parameter, value: Value) -> Self {
        self.given.push(parameter.name);
        for (name, old) in &mut self.values.0 {
            if *name == parameter.name {
                *old = value;
            }
        }
        self
    }

    fn checked(self) -> Result<Self> {
        match (self.entry.check)(&self.values) {
            Ok(()) => Ok(self),
            Err(problem) => Err(Error::Contradiction { of: self.entry.name, problem }.into()),
        }
    }
}

impl Rule {
    /// The rule, built: that of the constructor of the same name.
    ///
    /// # Errors
    /// [`Error::Missing`], if the entry [needs](Entry::needs) something that is not supplied.
    pub fn build(&self, supplies: Supplies) -> Result<Box<dyn Perturbation>> {
        Ok(self.compose(supplies)?.rule())
    }

    /// The rule in its parts, of which some can be exchanged before it is [finished](Built::rule).
    ///
    /// # Errors
    /// As those of [`build`](Rule::build).
    pub fn compose(&self, mut supplies: Supplies) -> Result<Built> {
        let missing = match self.entry.needs {
            Needs::Estimator if supplies.estimator.is_none() => "an estimator of per-sample gradient norms",
            Needs::Data if supplies.data.is_none() => "the training set",
            _ => return (self.entry.build)(&self.values, &mut supplies),
        };
        Err(Error::Missing { rule: self.entry.name, what: missing }.into())
    }

    /// The size of the perturbation: ρ, or σ for noise; none for a rule that does not perturb.
    pub fn radius(&self) -> Option<f64> {
        let first = self.entry.parameters.first()?;
        ["rho", "sigma"].contains(&first.name).then(|| self.number(first.name))
    }
}

impl OffsetChoice {
    /// The offset of radius `rho`.
    pub fn build(&self, rho: f64) -> Box<dyn Offset> {
        (self.entry.build)(rho, &self.values)
    }
}

impl Combination {
    /// The combination.
    pub fn build(&self) -> Box<dyn Combine> {
        (self.entry.build)(&self.values)
    }
}

impl<K: Kind> FromStr for Choice<K> {
    type Err = candle_core::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, list) = text.split_once(':').map_or((text, None), |(name, list)| (name, Some(list)));
        let mut choice = Self::named(name)?;
        for part in list.into_iter().flat_map(|list| list.split(',')) {
            let Some((parameter, value)) = part.split_once('=') else {
                let expected = "parameter=value, several separated by commas".to_owned();
                return Err(Error::Syntax { text: text.to_owned(), part: part.to_owned(), expected }.into());
            };
            let (parameter, value) = choice.read(parameter.trim(), value.trim())?;
            if choice.is_given(parameter.name) {
                let expected = format!("{} once", parameter.name);
                return Err(Error::Syntax { text: text.to_owned(), part: part.to_owned(), expected }.into());
            }
            choice = choice.set(parameter, value);
        }
        choice.checked()
    }
}

impl<K: Kind> Display for Choice<K> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.entry.name)?;
        for (i, (name, value)) in self.changed().enumerate() {
            write!(f, "{}{name}={value}", if i == 0 { ':' } else { ',' })?;
        }
        Ok(())
    }
}

impl<K: Kind> Debug for Choice<K> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl<K: Kind> Clone for Choice<K> {
    fn clone(&self) -> Self {
        Self { entry: self.entry, values: self.values.clone(), given: self.given.clone() }
    }
}

impl<K: Kind> PartialEq for Choice<K> {
    fn eq(&self, other: &Self) -> bool {
        self.entry.name == other.entry.name && self.values == other.values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_names_a_rule_and_a_rule_is_its_text() -> Result<()> {
        for text in ["sam", "esam:gamma=0.25", "rw-sam:rho=0.2,lambda=4", "rw-sam:lambda=2,temperature=raw", "sgd"] {
            assert_eq!(text.parse::<Rule>()?.to_string(), text);
        }
        assert_eq!("esam:beta=0.6, rho=0.1".parse::<Rule>()?, "esam".parse()?);
        assert_eq!(Rule::named("look-sam")?.with("k", 3)?, "look-sam:k=3".parse()?);
        assert_eq!("unified:l=0.25".parse::<OffsetChoice>()?.number("l"), 0.25);
        let (sam, at_default): (Rule, Rule) = ("sam".parse()?, "sam:rho=0.1".parse()?);
        assert_eq!(sam, at_default);
        assert_eq!((sam.is_given("rho"), at_default.is_given("rho")), (false, true));
        for entry in rules() {
            let rule = Rule::of(entry);
            assert_eq!(rule.to_string(), entry.name);
            assert_eq!(rule.clone().checked()?, entry.name.parse()?, "its defaults are in range");
        }
        Ok(())
    }

    #[test]
    fn what_there_is_not_is_an_error_that_lists_what_there_is() {
        let error = |text: &str| text.parse::<Rule>().unwrap_err();
        let unknown = error("esma");
        assert!(matches!(Error::of(&unknown), Some(Error::UnknownName { .. })), "{unknown}");
        for (text, parts) in [
            ("esma", ["esma", "esam, "]),
            ("esam:k=3", ["esam has no parameter \"k\"", "rho, beta, gamma"]),
            ("esam:beta=0", ["beta of esam is 0", "above 0"]),
            ("esam:beta=x", ["beta of esam is x", "expected"]),
            ("look-sam:k=2.5", ["k of look-sam is 2.5", "whole"]),
            ("sam:rho=-1", ["rho of sam is -1", "at least 0"]),
            ("sam:rho=NaN", ["rho of sam is NaN", "expected"]),
            ("sam:rho", ["\"rho\"", "parameter=value"]),
            ("sam:", ["\"sam:\"", "parameter=value"]),
            ("sam:rho=1,", ["\"sam:rho=1,\"", "parameter=value"]),
            ("sam:rho=1,rho=2", ["rho=2", "once"]),
            ("sgd:rho=1", ["sgd has no parameter \"rho\"", "none"]),
            ("rw-sam:temperature=hot", ["temperature of rw-sam is hot", "effective-size, relative, raw"]),
            ("rw-sam:lambda=0.5", ["lambda", "at least 1"]),
            ("gsam:rho-min=0.2", ["rho-min", "at most rho"]),
        ] {
            let error = error(text).to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{text}: {error}");
        }
        let error = Rule::named("rw-sam").and_then(|rule| rule.build(Supplies::default()).map(drop)).unwrap_err();
        assert!(error.to_string().contains("estimator"), "{error}");
        assert!(Rule::named("n-sam").and_then(|rule| rule.build(Supplies::default()).map(drop)).is_err());
    }
}

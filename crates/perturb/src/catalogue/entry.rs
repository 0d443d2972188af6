//! An entry of a catalogue, and its parameters.

use msharp_core::Range;
use std::fmt::{Display, Formatter};

/// A rule, an offset or a combination; `B` builds it.
pub struct Entry<B> {
    /// As it is written: `esam`.
    pub name: &'static str,
    /// As tables call it: `ESAM`.
    pub label: &'static str,
    /// What it does, in a few words.
    pub about: &'static str,
    /// Its parameters, in the order of the constructor's arguments.
    pub parameters: &'static [Parameter],
    /// The formula: g is the gradient of the batch's mean loss at x, s the one at x + ε, û = u/‖u‖.
    pub formula: &'static str,
    /// Where it was published.
    pub reference: &'static str,
    /// Published values of ρ, where its paper's authors give one in their text or in their code.
    pub radius: &'static str,
    /// What it is built with, besides its parameters.
    pub needs: Needs,
    /// Of a rule whose parts can be exchanged: the names of its ascent, its offset and its combination.
    pub parts: Option<[&'static str; 3]>,
    /// What must hold between parameters that are each in their range.
    pub(super) check: fn(&Values) -> Result<(), String>,
    pub(super) build: B,
}

impl<B> Entry<B> {
    /// A part of rules, which is known by its name alone.
    pub(super) const fn part(
        name: &'static str,
        about: &'static str,
        formula: &'static str,
        parameters: &'static [Parameter],
        build: B,
    ) -> Self {
        let (label, reference, radius, needs, parts) = (name, "", "", Needs::Nothing, None);
        Self { name, label, about, parameters, formula, reference, radius, needs, parts, check: |_| Ok(()), build }
    }
}

/// A parameter of an entry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameter {
    /// As it is written: `beta`. Greek is spelled out.
    pub name: &'static str,
    /// Its value where none is written.
    pub default: Value,
    /// What it may be.
    pub domain: Domain,
    /// What it is.
    pub about: &'static str,
    /// Values at which the rule is another one, and which.
    pub special: &'static [(f64, &'static str)],
}

/// What a parameter may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Domain {
    /// A number in a range.
    Number(Range),
    /// A whole number in a range.
    Whole(Range),
    /// One of these names.
    Name(&'static [&'static str]),
}

/// A value of a parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A number.
    Number(f64),
    /// A name.
    Name(&'static str),
}

/// What an entry needs to be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing but its parameters.
    Nothing,
    /// An estimator of per-sample gradient norms.
    Estimator,
    /// The training set.
    Data,
}

/// The values of an entry's parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Values(pub(super) Vec<(&'static str, Value)>);

impl Parameter {
    /// A number.
    pub const fn number(name: &'static str, default: f64, range: Range, about: &'static str) -> Self {
        let domain = Domain::Number(range);
        Self { name, default: Value::Number(default), domain, about, special: &[] }
    }

    /// A whole number, at least 1.
    pub const fn count(name: &'static str, default: f64, about: &'static str) -> Self {
        let domain = Domain::Whole(Range::AT_LEAST_1);
        Self { name, default: Value::Number(default), domain, about, special: &[] }
    }

    /// One of `names`, the first by default.
    pub const fn name(name: &'static str, names: &'static [&'static str], about: &'static str) -> Self {
        Self { name, default: Value::Name(names[0]), domain: Domain::Name(names), about, special: &[] }
    }

    /// The same, with values at which the rule is another one.
    pub const fn special(self, special: &'static [(f64, &'static str)]) -> Self {
        Self { special, ..self }
    }

    /// The value that `text` stands for.
    pub(super) fn parse(&self, text: &str) -> Result<Value, String> {
        let value = match self.domain {
            Domain::Name(names) => names.iter().find(|name| **name == text).map(|name| Value::Name(name)),
            _ => text.parse().ok().map(Value::Number),
        };
        match value {
            Some(value) if self.domain.holds(value) => Ok(value),
            _ => Err(self.domain.to_string()),
        }
    }
}

impl Domain {
    pub(super) fn holds(&self, value: Value) -> bool {
        match (self, value) {
            (Domain::Number(range), Value::Number(value)) => range.holds(value),
            (Domain::Whole(range), Value::Number(value)) => range.holds(value) && value.fract() == 0.,
            (Domain::Name(names), Value::Name(name)) => names.contains(&name),
            _ => false,
        }
    }
}

impl Values {
    /// The number called `name`.
    ///
    /// # Panics
    /// If there is no such number.
    #[track_caller]
    pub fn number(&self, name: &str) -> f64 {
        match self.value(name) {
            Value::Number(value) => value,
            Value::Name(value) => panic!("{name} is the name {value}, and no number"),
        }
    }

    /// The whole number called `name`.
    ///
    /// # Panics
    /// If there is no such number.
    #[track_caller]
    pub fn count(&self, name: &str) -> usize {
        self.number(name) as usize
    }

    /// The value called `name`.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn value(&self, name: &str) -> Value {
        match self.0.iter().find(|(other, _)| *other == name) {
            Some((_, value)) => *value,
            None => panic!("no parameter is called {name}"),
        }
    }
}

impl Display for Domain {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Domain::Number(range) => write!(f, "{range}"),
            Domain::Whole(range) => write!(f, "{range}, whole"),
            Domain::Name(names) => write!(f, "{}", names.join(", ")),
        }
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Number(value) => write!(f, "{value}"),
            Value::Name(name) => write!(f, "{name}"),
        }
    }
}

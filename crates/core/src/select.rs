//! Sets of parameters: by their names, or by their roles.

use crate::{Param, Params, Role};
use candle_core::{Result, bail};
use glob::Pattern;
use std::fmt::{Display, Formatter};
use std::str::FromStr;

/// A set of parameters.
///
/// As text: `*` for all; `role:weight`, `role:bias`, `role:norm`; otherwise a glob on names, `layer4.*` or `*.bias`; a
/// `!` in front takes the others.
///
/// ```
/// use msharp_core::{Role, Select};
/// let select: Select = "!role:norm".parse()?;
/// assert_eq!(select, Select::Not(Box::new(Select::Role(Role::Norm))));
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Select {
    /// Every parameter.
    All,
    /// Those of one role.
    Role(Role),
    /// Those whose names match a glob; `*` matches dots too.
    Name(Pattern),
    /// The others.
    Not(Box<Select>),
}

impl Select {
    /// Whether `param` is in the set.
    pub fn holds(&self, param: &Param) -> bool {
        match self {
            Select::All => true,
            Select::Role(role) => param.role == *role,
            Select::Name(pattern) => pattern.matches(&param.name),
            Select::Not(others) => !others.holds(param),
        }
    }

    /// # Errors
    /// If the name or the role, without a `!` in front, is that of none of `params`: it is misspelt, and silence would
    /// leave a rule without effect.
    pub fn check(&self, params: &Params) -> Result<()> {
        if let Select::Not(others) = self {
            return others.check(params);
        }
        if params.iter().any(|param| self.holds(param)) {
            return Ok(());
        }
        let names: Vec<&str> = params.iter().map(|param| param.name.as_str()).take(3).collect();
        bail!("no parameter is selected by {self}; there are {} parameters, {names:?} first", params.len())
    }
}

impl FromStr for Select {
    type Err = candle_core::Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some(others) = text.strip_prefix('!') {
            return Ok(Select::Not(Box::new(others.parse()?)));
        }
        Ok(match text {
            "*" => Select::All,
            "role:weight" => Select::Role(Role::Weight),
            "role:bias" => Select::Role(Role::Bias),
            "role:norm" => Select::Role(Role::Norm),
            _ if text.is_empty() || text.starts_with("role:") => {
                bail!(
                    "{text:?} selects nothing; expected role:weight, role:bias, role:norm, or a glob such as layer4.*"
                )
            }
            _ => match Pattern::new(text) {
                Ok(pattern) => Select::Name(pattern),
                Err(error) => bail!("{text:?} is no glob: {error}"),
            },
        })
    }
}

impl Display for Select {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Select::All => write!(f, "*"),
            Select::Role(Role::Weight) => write!(f, "role:weight"),
            Select::Role(Role::Bias) => write!(f, "role:bias"),
            Select::Role(Role::Norm) => write!(f, "role:norm"),
            Select::Name(pattern) => write!(f, "{pattern}"),
            Select::Not(others) => write!(f, "!{others}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Var};

    #[test]
    fn text_names_a_set_and_a_set_is_its_text() -> Result<()> {
        let var = |dims: &[usize]| Var::zeros(dims, DType::F32, &Device::Cpu);
        let params = Params::new([
            ("fc.weight".to_owned(), var(&[3, 2])?),
            ("fc.bias".to_owned(), var(&[3])?),
            ("bn.weight".to_owned(), var(&[2])?),
            ("bn.bias".to_owned(), var(&[2])?),
        ])?;
        let cases: [(&str, &[&str]); 7] = [
            ("*", &["bn.bias", "bn.weight", "fc.bias", "fc.weight"]),
            ("role:norm", &["bn.bias", "bn.weight"]),
            ("!role:norm", &["fc.bias", "fc.weight"]),
            ("*.bias", &["bn.bias", "fc.bias"]),
            ("role:bias", &["fc.bias"]),
            ("fc.*", &["fc.bias", "fc.weight"]),
            ("!!role:weight", &["fc.weight"]),
        ];
        for (text, expected) in cases {
            let select: Select = text.parse()?;
            let held: Vec<&str> = params.iter().filter(|p| select.holds(p)).map(|p| p.name.as_str()).collect();
            assert_eq!(held, expected, "{text}");
            assert_eq!(select.to_string(), text);
            select.check(&params)?;
        }
        for wrong in ["", "role:bn", "!", "[a"] {
            assert!(wrong.parse::<Select>().is_err(), "{wrong:?}");
        }
        let error = "head.*".parse::<Select>()?.check(&params).unwrap_err().to_string();
        assert!(error.contains("head.*") && error.contains("bn.bias"), "{error}");
        Ok(())
    }
}

//! Weights to start from, as they are typed: a file, or one of a repository on the Hugging Face hub.

use crate::hub::{HubFile, SCHEME};
use anyhow::{Error, Result, ensure};
use std::fmt::{Display, Formatter};
use std::path::PathBuf;
use std::str::FromStr;

/// What --init-weights takes. Two are equal if their names are, whatever the folder: a record does not depend on where
/// a file lies, and the digest beside it tells its content.
#[derive(Clone, Debug)]
pub enum WeightsName {
    /// A safetensors file.
    File(PathBuf),
    /// A file of a repository.
    Hub(HubFile),
}

impl WeightsName {
    /// What a record calls it: a file without its folder, or a repository and a file.
    pub fn name(&self) -> String {
        match self {
            WeightsName::File(path) => path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
            WeightsName::Hub(file) => file.to_string(),
        }
    }
}

impl PartialEq for WeightsName {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Display for WeightsName {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            WeightsName::File(path) => write!(f, "{}", path.display()),
            WeightsName::Hub(file) => write!(f, "{file}"),
        }
    }
}

impl FromStr for WeightsName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        ensure!(!text.is_empty(), "the name of the weights is empty; expected FILE or hub:ORG/NAME[/FILE]");
        match text.starts_with(SCHEME) {
            true => Ok(WeightsName::Hub(text.parse()?)),
            false => Ok(WeightsName::File(PathBuf::from(text))),
        }
    }
}

/// Serialises the name alone, without a folder.
pub mod as_optional_name {
    use super::WeightsName;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub fn serialize<S: Serializer>(weights: &Option<WeightsName>, serializer: S) -> Result<S::Ok, S::Error> {
        weights.as_ref().map(WeightsName::name).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<WeightsName>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> WeightsName {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_is_a_file_or_one_of_the_hub() {
        for text in ["a/b.safetensors", "hub:timm/vit.augreg/sub/other.safetensors"] {
            assert_eq!(parse(text).to_string(), text);
        }
        assert_eq!(parse("hub:a/b"), parse("hub:a/b/model.safetensors"));
        for text in ["", "hub:alone"] {
            assert!(text.parse::<WeightsName>().unwrap_err().to_string().contains("expected"), "{text}");
        }
    }

    #[test]
    fn a_record_does_not_depend_on_the_folder() {
        assert_eq!(parse("/here/x.safetensors"), parse("there/x.safetensors"));
        assert_eq!(parse("/here/x.safetensors").name(), "x.safetensors");
        assert_ne!(parse("x.safetensors"), parse("y.safetensors"));
        assert_ne!(parse("hub:a/b"), parse("hub:a/c"));
    }
}

//! What a run has to say for itself besides weights and sums: its curve, and who made its steps. It stands in the
//! checkpoint, so that a row does not depend on a log that can be lost.

use crate::host::{Host, revision};
use crate::run::outcome::{EpochLine, Maker};
use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use msharp_models::Description;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// The notes of a run's checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Notes {
    /// The points of the curve so far.
    pub curve: Vec<EpochLine>,
    /// The programs and machines that made the steps, in order.
    pub makers: Vec<Maker>,
    /// What the weights are of: the entries of a [`Description`].
    pub weights: BTreeMap<String, String>,
    /// What the images are: see [`Streams::contents`](crate::data::Streams::contents).
    #[serde(default)]
    pub images: String,
}

impl Notes {
    /// From the text of a checkpoint.
    pub fn parse(text: &str) -> Result<Self> {
        Ok(serde_json::from_str(text)?)
    }

    /// This program on this machine, with no step made.
    pub fn this(&self, host: &Host) -> Maker {
        Maker { revision: revision().to_owned(), host: host.clone(), steps: 0 }
    }

    /// What changes with the steps to come, which `host` makes, in the bits or in more.
    pub fn changes(&self, host: &Host) -> Vec<String> {
        let Some(before) = self.makers.last().map(|maker| &maker.host) else { return Vec::new() };
        let [was, is] = [before, host];
        let mut changes = Vec::new();
        if was.ranks != is.ranks {
            let [was, is] = [was, is].map(|host| host.ranks.unwrap_or(1));
            changes.push(format!(
                "steps before this one were made by {was} ranks, and {is} go on: bits differ by rounding"
            ));
        }
        if was.amx != is.amx {
            let [was, is] = [was, is].map(|host| if host.amx { "with AMX" } else { "without AMX" });
            changes
                .push(format!("steps before this one were made {was}, and {is} it goes on: bits differ by rounding"));
        }
        if was.ranks.is_some() && is.ranks.is_some() && was.sync_batch_norm != is.sync_batch_norm {
            let [was, is] = [was, is].map(|host| if host.sync_batch_norm { "all ranks" } else { "each rank" });
            changes
                .push(format!("steps before this one have the batch statistics of {was}, and those to come of {is}"));
        }
        changes
    }

    /// A step more, made by this program.
    pub fn made_a_step(&mut self, host: &Host) {
        let is_this = |maker: &Maker| maker.revision == revision() && maker.host == *host;
        if !self.makers.last().is_some_and(is_this) {
            self.makers.push(self.this(host));
        }
        if let Some(maker) = self.makers.last_mut() {
            maker.steps += 1;
        }
    }
}

/// What the weights are of, if their file says so: weights that were written here, or a checkpoint.
///
/// # Errors
/// If the file cannot be read.
pub fn description(path: &Path) -> Result<Option<Description>> {
    let metadata = msharp_core::metadata(path)?;
    let is_checkpoint = metadata.get("format").is_some_and(|format| format.starts_with("msharp-checkpoint-"));
    match metadata.get("notes") {
        Some(notes) if is_checkpoint && !notes.is_empty() => {
            let notes = Notes::parse(notes).with_context(|| format!("cannot read the notes of {}", path.display()))?;
            Ok(Description::of(&notes.weights)?)
        }
        _ => Ok(Description::of(&metadata)?),
    }
}

/// What the classes of weights are called, if their file says so; empty otherwise.
///
/// # Errors
/// If the file cannot be read.
pub fn class_names(path: &Path) -> Result<Vec<String>> {
    let names = msharp_core::metadata(path)?.remove(CLASS_NAMES);
    names.map_or(Ok(Vec::new()), |names| {
        serde_json::from_str(&names).with_context(|| format!("the names of the classes in {}", path.display()))
    })
}

/// The entry of a file of weights that says what its classes are called.
pub const CLASS_NAMES: &str = "class_names";

/// The tensors of a state dict, or those of the model in a checkpoint, on the CPU.
///
/// # Errors
/// If the file cannot be read.
pub fn weights_in(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let tensors = tensors_in(path)?;
    if !tensors.keys().any(|name| name.starts_with("model/")) {
        return Ok(tensors);
    }
    let of_model = |(name, tensor): (String, Tensor)| Some((name.strip_prefix("model/")?.to_owned(), tensor));
    Ok(tensors.into_iter().filter_map(of_model).collect())
}

/// All tensors of a safetensors file, on the CPU.
///
/// # Errors
/// If it cannot be read, with its path.
pub fn tensors_in(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let tensors = candle_core::safetensors::load(path, &Device::Cpu).with_context(|| {
        format!("cannot read {} as safetensors: it is missing, truncated or something else", path.display())
    })?;
    Ok(tensors.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DeviceName;

    #[test]
    fn every_step_has_its_maker_and_a_resumption_that_makes_none_adds_none() {
        let host = Host::this(DeviceName::Cpu);
        let other = Maker { revision: "before".to_owned(), host: host.clone(), steps: 3 };
        let mut notes = Notes { makers: vec![other.clone()], ..Notes::default() };
        let read = Notes::parse(&crate::jsonl::line(&notes).unwrap()).unwrap();
        assert_eq!(read, notes);
        assert_eq!(read.makers.last(), Some(&other));
        (0..2).for_each(|_| notes.made_a_step(&host));
        assert_eq!(notes.makers.len(), 2);
        assert_eq!((notes.makers[1].steps, notes.makers[1].revision.as_str()), (2, revision()));
        assert!(notes.changes(&host).is_empty() && Notes::default().changes(&host).is_empty());
        let other = Host { amx: !host.amx, ranks: Some(2), ..host.clone() };
        let told = notes.changes(&other).join("; ");
        assert!(told.contains("made by 1 ranks, and 2 go on") && told.contains("AMX"), "{told}");
        let elsewhere = Host { threads: host.threads + 1, ..host };
        notes.made_a_step(&elsewhere);
        assert_eq!(notes.makers.iter().map(|maker| maker.steps).collect::<Vec<_>>(), [3, 2, 1]);
    }
}

//! What the ranks of a training run tell each other beside gradients: the numbers of a step, statistics of norm layers,
//! and that they are still the same run.

use candle_core::{Device, Error, Result, Tensor, bail};
use msharp_core::{Communicator, Optimizer, Params, Perturbation, State, to_safetensors};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};

/// The numbers of a step on one rank, or over all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Numbers {
    pub samples: usize,
    pub passes: (u64, u64),
    /// The mean over the samples.
    pub loss: Option<Float>,
    /// Means over the samples.
    pub measures: BTreeMap<String, Float>,
    /// Whether a checkpoint is due, by the clock of rank 0.
    pub is_due: bool,
}

/// A number as its bits, since JSON has none that are not finite.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Float(u64);

impl From<f64> for Float {
    fn from(value: f64) -> Self {
        Self(value.to_bits())
    }
}

impl Float {
    pub fn value(self) -> f64 {
        f64::from_bits(self.0)
    }
}

impl Numbers {
    /// Those of all ranks together, and the first rank whose loss is not finite. Of the measures those that this rank
    /// has, over the ranks that have them.
    pub fn over(self, ranks: &dyn Communicator) -> Result<(Self, Option<usize>)> {
        if ranks.size() == 1 {
            return Ok((self, None));
        }
        let text = serde_json::to_vec(&self).map_err(Error::wrap)?;
        let all = ranks.gather(&text)?;
        let all = all.iter().map(|text| serde_json::from_slice(text).map_err(Error::wrap));
        let all: Vec<Numbers> = all.collect::<Result<_>>()?;
        let mean = |of: &dyn Fn(&Numbers) -> Option<Float>| {
            let terms = all.iter().filter_map(|rank| Some((rank.samples as f64, of(rank)?.value())));
            let (weights, sum) = terms.fold((0., 0.), |(weights, sum), (w, value)| (weights + w, sum + w * value));
            Float::from(sum / weights)
        };
        let sound = |rank: &Numbers| rank.loss.is_none_or(|loss| loss.value().is_finite());
        let numbers = Self {
            samples: all.iter().map(|rank| rank.samples).sum(),
            passes: all.iter().fold((0, 0), |(f, b), rank| (f + rank.passes.0, b + rank.passes.1)),
            loss: self.loss.map(|_| mean(&|rank| rank.loss)),
            measures: self
                .measures
                .keys()
                .map(|name| (name.clone(), mean(&|rank| rank.measures.get(name).copied())))
                .collect(),
            is_due: all[0].is_due,
        };
        Ok((numbers, all.iter().position(|rank| !sound(rank))))
    }
}

/// What is wrong on the first rank where something is, with the rank unless it is wrong on all.
pub(crate) fn first_fault(ranks: &dyn Communicator, own: Option<String>) -> Result<Option<String>> {
    if ranks.size() == 1 {
        return Ok(own);
    }
    let all = ranks.gather(own.unwrap_or_default().as_bytes())?;
    let Some((rank, fault)) = all.iter().enumerate().find(|(_, fault)| !fault.is_empty()) else { return Ok(None) };
    let of_rank = if all.iter().all(|other| other == fault) { String::new() } else { format!(" on rank {rank}") };
    Ok(Some(String::from_utf8_lossy(fault).into_owned() + &of_rank))
}

/// Makes the buffers of rank 0 those of all ranks.
pub(crate) fn share_buffers(ranks: &dyn Communicator, params: &Params) -> Result<()> {
    if ranks.size() == 1 || params.buffers().is_empty() {
        return Ok(());
    }
    let own: BTreeMap<String, Tensor> = params
        .buffers()
        .iter()
        .map(|(name, var)| Ok((name.clone(), var.as_detached_tensor().to_device(&Device::Cpu)?)))
        .collect::<Result<_>>()?;
    let bytes = ranks.broadcast(&to_safetensors(&own, &BTreeMap::new())?)?;
    let mut first = candle_core::safetensors::load_buffer(&bytes, params.device())?;
    for (name, var) in params.buffers().iter().filter(|_| ranks.rank() > 0) {
        let Some(value) = first.remove(name) else { bail!("rank 0 has no buffer {name:?}; expected one model") };
        var.set(&value)?;
    }
    Ok(())
}

/// # Errors
/// If parameters, or the state of rule or optimizer, are not the same on all ranks: names the first that is another.
pub(crate) fn check_same(
    ranks: &dyn Communicator,
    params: &Params,
    optimizer: &mut dyn Optimizer,
    rule: &mut dyn Perturbation,
) -> Result<()> {
    if ranks.size() == 1 {
        return Ok(());
    }
    let mut all = BTreeMap::new();
    for param in params.iter() {
        all.insert(format!("model/{}", param.name), param.var.as_detached_tensor());
    }
    optimizer.state(params, &mut State::save("optimizer", &mut all))?;
    rule.state(params, &mut State::save("rule", &mut all))?;
    let mut digests = BTreeMap::new();
    for (name, tensor) in all {
        let one = BTreeMap::from([(String::new(), tensor.to_device(&Device::Cpu)?)]);
        let mut hasher = DefaultHasher::new();
        hasher.write(&to_safetensors(&one, &BTreeMap::new())?);
        digests.insert(name, hasher.finish());
    }
    let texts = ranks.gather(&serde_json::to_vec(&digests).map_err(Error::wrap)?)?;
    let of = |rank: usize| serde_json::from_slice::<BTreeMap<String, u64>>(&texts[rank]).map_err(Error::wrap);
    let first = of(0)?;
    for rank in 1..ranks.size() {
        let other = of(rank)?;
        let differs = |name: &&String| first.get(*name) != other.get(*name);
        let Some(name) = first.keys().chain(other.keys()).find(differs) else { continue };
        bail!(
            "{name:?} is another on rank {rank} than on rank 0; expected the same: a rule with state has one on each \
             rank inside micro-batches, and machines of several types may round differently"
        )
    }
    Ok(())
}

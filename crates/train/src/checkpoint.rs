//! All that a run needs to go on as if it had never stopped, in one file.

use crate::Progress;
use candle_core::{Device, Error, Result, Tensor, bail};
use msharp_core::{Optimizer, Params, Perturbation, State, write_aside};
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

const FORMAT: &str = "msharp-checkpoint-3";

/// When and where [`fit`](crate::fit) writes checkpoints.
#[derive(Clone, Debug)]
pub struct CheckpointPolicy {
    /// The file; each checkpoint replaces the one before.
    pub path: PathBuf,
    /// How much wall time may pass between two. One is also written at the end, and when an observer stops the run.
    pub every: Duration,
    /// The configuration of the run, kept as it is.
    pub config: String,
}

/// A run at rest. The file is safetensors: `model/…` (parameters and buffers, under the names that PyTorch reads),
/// `optimizer/…`, `rule/…`, and progress and configuration in its metadata.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Where the run stands.
    pub progress: Progress,
    /// What [`CheckpointPolicy::config`] was.
    pub config: String,
    tensors: BTreeMap<String, Tensor>,
}

impl Checkpoint {
    /// Takes everything as it stands. The tensors share storage with the run: write it before the run goes on.
    pub fn of(
        params: &Params,
        optimizer: &mut dyn Optimizer,
        rule: &mut dyn Perturbation,
        progress: &Progress,
        config: &str,
    ) -> Result<Self> {
        let model = params.tensors().into_iter().map(|(name, tensor)| (format!("model/{name}"), tensor));
        let mut tensors: BTreeMap<String, Tensor> = model.collect();
        optimizer.state(params, &mut State::save("optimizer", &mut tensors))?;
        rule.state(params, &mut State::save("rule", &mut tensors))?;
        Ok(Self { progress: progress.clone(), config: config.to_owned(), tensors })
    }

    /// Writes it aside, flushes and renames.
    pub fn write(&self, path: &Path) -> Result<()> {
        let progress = serde_json::to_string(&self.progress).map_err(Error::wrap)?;
        let metadata = HashMap::from([
            ("format".to_owned(), FORMAT.to_owned()),
            ("progress".to_owned(), progress),
            ("config".to_owned(), self.config.clone()),
        ]);
        let on_host = |(name, tensor): (&String, &Tensor)| Ok((name.clone(), tensor.to_device(&Device::Cpu)?));
        let tensors = self.tensors.iter().map(on_host).collect::<Result<BTreeMap<_, _>>>()?;
        let bytes = safetensors::serialize(&tensors, Some(metadata)).map_err(Error::wrap)?;
        write_aside(path, |file| Ok(file.write_all(&bytes)?))
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    /// Names the file, and says if it is truncated, damaged, or something else.
    pub fn read(path: &Path) -> Result<Self> {
        let named = |error: Error| error.context(format!("cannot read the checkpoint {}", path.display()));
        let bytes = std::fs::read(path).map_err(|e| named(e.into()))?;
        Self::parse(&bytes).map_err(named)
    }

    fn parse(bytes: &[u8]) -> Result<Self> {
        let (_, header) = safetensors::SafeTensors::read_metadata(bytes)
            .map_err(|e| Error::msg(format!("it is truncated or no safetensors file ({e})")))?;
        let entries = header.metadata().clone().unwrap_or_default();
        let entry = |name: &str| match entries.get(name) {
            Some(value) => Ok(value.as_str()),
            None => bail!("it is a safetensors file without the entry {name:?} that a checkpoint has"),
        };
        if entry("format")? != FORMAT {
            bail!("its format is {:?}, expected {FORMAT:?}", entry("format")?)
        }
        let progress = serde_json::from_str(entry("progress")?)
            .map_err(|e| Error::msg(format!("its entry \"progress\" is damaged ({e})")))?;
        let config = entry("config")?.to_owned();
        let tensors = candle_core::safetensors::load_buffer(bytes, &Device::Cpu)
            .map_err(|e| Error::msg(format!("it is truncated or damaged ({e})")))?;
        Ok(Self { progress, config, tensors: tensors.into_iter().collect() })
    }

    /// Puts weights, buffers and states back into a run that was built from the same configuration.
    ///
    /// # Errors
    /// Names the first tensor that this model does not have, or has in another shape.
    pub fn restore(
        &self,
        params: &Params,
        optimizer: &mut dyn Optimizer,
        rule: &mut dyn Perturbation,
    ) -> Result<Progress> {
        let model = self.tensors.iter().filter_map(|(name, tensor)| Some((name.strip_prefix("model/")?, tensor)));
        params.assign(&model.map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect())?;
        optimizer.state(params, &mut State::load("optimizer", &self.tensors))?;
        rule.state(params, &mut State::load("rule", &self.tensors))?;
        Ok(self.progress.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sgd;
    use candle_core::{DType, Var};
    use msharp_core::{Key, ParamVec};

    struct NoRule;
    impl Perturbation for NoRule {
        fn gradient(
            &mut self,
            f: &dyn msharp_core::Objective,
            params: &Params,
            batch: &msharp_core::Batch,
        ) -> Result<msharp_core::Gradient> {
            msharp_core::gradient_at(f, params, batch, None, None)
        }
    }

    fn params(n: usize) -> Params {
        Params::new([("w".to_owned(), Var::ones(n, DType::F32, &Device::Cpu).unwrap())]).unwrap()
    }

    fn saved(folder: &Path) -> PathBuf {
        let (params, path) = (params(3), folder.join("c.safetensors"));
        let mut sgd = Sgd { momentum: 0.9, ..Sgd::default() };
        sgd.step(&params, &ParamVec::gaussian(&params, Key::new(0)).unwrap(), 0.1).unwrap();
        let progress = Progress { epoch: 3, step: 2, ..Progress::default() };
        Checkpoint::of(&params, &mut sgd, &mut NoRule, &progress, "{\"seed\":1}").unwrap().write(&path).unwrap();
        path
    }

    #[test]
    fn a_checkpoint_comes_back_whole() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = Checkpoint::read(&saved(folder.path())).unwrap();
        assert_eq!(checkpoint.config, "{\"seed\":1}");
        let (params, mut sgd) = (params(3), Sgd { momentum: 0.9, ..Sgd::default() });
        let progress = checkpoint.restore(&params, &mut sgd, &mut NoRule).unwrap();
        assert_eq!((progress.epoch, progress.step), (3, 2));
        assert_ne!(params.norm().unwrap(), 3f64.sqrt());
        assert!(sgd.velocity.is_some());
    }

    #[test]
    fn another_model_truncation_and_other_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = saved(folder.path());
        let checkpoint = Checkpoint::read(&path).unwrap();
        let error = checkpoint.restore(&params(4), &mut Sgd::default(), &mut NoRule).unwrap_err().to_string();
        assert!(error.contains("\"w\"") && error.contains("[3]") && error.contains("[4]"), "{error}");

        let bytes = std::fs::read(&path).unwrap();
        for cut in [0, 7, 40, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let error = Checkpoint::read(&path).unwrap_err().to_string();
            assert!(error.contains("c.safetensors") && error.contains("truncated"), "cut at {cut}: {error}");
        }
        params(2).save(&path).unwrap();
        let error = Checkpoint::read(&path).unwrap_err().to_string();
        assert!(error.contains("without the entry"), "{error}");
        assert!(Checkpoint::read(&folder.path().join("none")).unwrap_err().to_string().contains("none"));
    }
}

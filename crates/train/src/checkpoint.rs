//! All that a run needs to go on as if it had never stopped, in one file.

use crate::{Progress, error};
use candle_core::{Device, Error, Result, Tensor, bail};
use msharp_core::{Optimizer, Params, Perturbation, State, to_safetensors, write_aside};
use std::{collections::BTreeMap, io::Write, path::Path, path::PathBuf, time::Duration};

const FORMAT: &str = "msharp-checkpoint-5";

/// When and where [`fit`](crate::fit) writes checkpoints.
#[derive(Clone, Debug)]
pub struct CheckpointPolicy {
    /// The file; each checkpoint replaces the one before.
    pub path: PathBuf,
    /// How much wall time may pass between two. One is also written at the end, and when an observer stops the run.
    pub every: Duration,
    /// The configuration of the run, kept as it is.
    pub config: String,
    /// Whether each epoch leaves a checkpoint of its own, `run.epoch-3.safetensors` for `run.safetensors`.
    pub each_epoch: bool,
    /// Whether the epoch of the highest [score](crate::Observer::score) leaves one, `run.best.safetensors`.
    pub best: bool,
}

impl CheckpointPolicy {
    /// One file, at most ten minutes old.
    pub fn new(path: impl Into<PathBuf>, config: impl Into<String>) -> Self {
        let every = Duration::from_secs(600);
        Self { path: path.into(), every, config: config.into(), each_epoch: false, best: false }
    }

    /// Where the checkpoint after `epoch` complete epochs goes.
    pub fn path_of_epoch(&self, epoch: usize) -> PathBuf {
        self.beside(&format!("epoch-{epoch}"))
    }

    /// Where the checkpoint of the best epoch goes.
    pub fn path_of_best(&self) -> PathBuf {
        self.beside("best")
    }

    fn beside(&self, what: &str) -> PathBuf {
        match self.path.extension() {
            Some(extension) => self.path.with_extension(format!("{what}.{}", extension.to_string_lossy())),
            None => self.path.with_extension(what),
        }
    }
}

/// A run at rest. The file is safetensors: `model/…` (parameters and buffers, under the names that PyTorch reads),
/// `optimizer/…`, `rule/…`, and progress, configuration, notes and the names of optimizer and rule in its metadata.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Where the run stands.
    pub progress: Progress,
    /// What [`CheckpointPolicy::config`] was.
    pub config: String,
    /// What [`Observer::notes`](crate::Observer::notes) were.
    pub notes: String,
    /// The [name](msharp_core::Component::name) of the optimizer whose state it holds.
    pub optimizer: String,
    /// The [name](msharp_core::Component::name) of the rule whose state it holds.
    pub rule: String,
    tensors: BTreeMap<String, Tensor>,
}

impl Checkpoint {
    /// Copies everything as it stands: what the run does afterwards does not change it.
    pub fn of(
        params: &Params,
        optimizer: &mut dyn Optimizer,
        rule: &mut dyn Perturbation,
        progress: &Progress,
        config: &str,
    ) -> Result<Self> {
        let model = params.snapshot()?.into_iter().map(|(name, tensor)| (format!("model/{name}"), tensor));
        let mut tensors: BTreeMap<String, Tensor> = model.collect();
        optimizer.state(params, &mut State::save("optimizer", &mut tensors))?;
        rule.state(params, &mut State::save("rule", &mut tensors))?;
        let (progress, config, notes) = (progress.clone(), config.to_owned(), String::new());
        Ok(Self { progress, config, notes, optimizer: optimizer.name(), rule: rule.name(), tensors })
    }

    /// Restores the checkpoint at `path`, if there is one, and returns where the run stands; or begins a run.
    ///
    /// # Errors
    /// If the checkpoint is one of another configuration than `config`; those of [`read`](Checkpoint::read) and
    /// [`restore`](Checkpoint::restore).
    pub fn resume_or_start(
        path: &Path,
        config: &str,
        params: &Params,
        optimizer: &mut dyn Optimizer,
        rule: &mut dyn Perturbation,
    ) -> Result<Progress> {
        if !path.exists() {
            return Ok(Progress::default());
        }
        let checkpoint = Self::read(path)?;
        if checkpoint.config != config {
            let (path, saved) = (path.to_owned(), checkpoint.config);
            return Err(error::Error::AnotherConfiguration { path, saved, expected: config.to_owned() }.into());
        }
        checkpoint.restore(params, optimizer, rule)
    }

    /// Writes it aside, flushes and renames.
    ///
    /// # Errors
    /// Names the file: it cannot be written, or what would be written could not be read; the file is then as it was.
    pub fn write(&self, path: &Path) -> Result<()> {
        let named = |error: Error| error.context(format!("cannot write the checkpoint {}", path.display()));
        let progress = self.check_progress().map_err(named)?;
        let entries = [
            ("format", FORMAT),
            ("progress", &progress),
            ("config", &self.config),
            ("notes", &self.notes),
            ("optimizer", &self.optimizer),
            ("rule", &self.rule),
        ];
        let metadata = entries.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let on_host = |(name, tensor): (&String, &Tensor)| Ok((name.clone(), tensor.to_device(&Device::Cpu)?));
        let tensors = self.tensors.iter().map(on_host).collect::<Result<BTreeMap<_, _>>>()?;
        let bytes = to_safetensors(&tensors, &metadata).map_err(named)?;
        write_aside(path, |file| Ok(file.write_all(&bytes)?))
    }

    /// The progress as text that can be read back.
    pub(crate) fn check_progress(&self) -> Result<String> {
        let progress = serde_json::to_string(&self.progress).map_err(Error::wrap)?;
        if serde_json::from_str::<Progress>(&progress).ok().as_ref() != Some(&self.progress) {
            bail!("its progress has a number that is not finite, and could not be read back: {progress}")
        }
        Ok(progress)
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
            .map_err(|e| error::Error::no_checkpoint(format!("it is truncated or no safetensors file ({e})")))?;
        let entries = header.metadata().clone().unwrap_or_default();
        let entry = |name: &str| match entries.get(name) {
            Some(value) => Ok(value.as_str()),
            None => Err(error::Error::no_checkpoint(format!(
                "it is a safetensors file without the entry {name:?} that a checkpoint has"
            ))),
        };
        if entry("format")? != FORMAT {
            return Err(error::Error::no_checkpoint(format!(
                "its format is {:?}, expected {FORMAT:?}",
                entry("format")?
            )));
        }
        let progress = serde_json::from_str(entry("progress")?)
            .map_err(|e| error::Error::no_checkpoint(format!("its entry \"progress\" is damaged ({e})")))?;
        let text = |name: &str| entry(name).map(str::to_owned);
        let (config, notes, optimizer, rule) = (text("config")?, text("notes")?, text("optimizer")?, text("rule")?);
        let tensors = candle_core::safetensors::load_buffer(bytes, &Device::Cpu)
            .map_err(|e| error::Error::no_checkpoint(format!("it is truncated or damaged ({e})")))?;
        Ok(Self { progress, config, notes, optimizer, rule, tensors: tensors.into_iter().collect() })
    }

    /// Puts weights, buffers and states back into a run that was built from the same configuration: all of it, or,
    /// where anything does not fit, nothing.
    ///
    /// # Errors
    /// Names the first tensor that this model does not have, or has in another shape; both rules or optimizers, where
    /// the state is another one's; what of the state is missing, or is read by nothing.
    pub fn restore(
        &self,
        params: &Params,
        optimizer: &mut dyn Optimizer,
        rule: &mut dyn Perturbation,
    ) -> Result<Progress> {
        for (what, saved, present) in
            [("optimizer", &self.optimizer, optimizer.name()), ("rule", &self.rule, rule.name())]
        {
            if *saved != present {
                let (saved, expected) = (saved.clone(), present);
                return Err(error::Error::AnotherState { what, saved, expected }.into());
            }
        }
        let model = self.tensors.iter().filter_map(|(name, tensor)| Some((name.strip_prefix("model/")?, tensor)));
        let model = model.map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect();
        params.check_fit(&model)?;
        let mut before = BTreeMap::new();
        optimizer.state(params, &mut State::save("optimizer", &mut before))?;
        rule.state(params, &mut State::save("rule", &mut before))?;
        if let Err(error) = self.restore_states(params, optimizer, rule) {
            optimizer.state(params, &mut State::load("optimizer", &before))?;
            rule.state(params, &mut State::load("rule", &before))?;
            return Err(error);
        }
        params.assign(&model)?;
        Ok(self.progress.clone())
    }

    fn restore_states(
        &self,
        params: &Params,
        optimizer: &mut dyn Optimizer,
        rule: &mut dyn Perturbation,
    ) -> Result<()> {
        let of = |name: String| move |error: Error| error.context(format!("the saved state is not one of {name}"));
        let mut state = State::load("optimizer", &self.tensors);
        let loaded = optimizer.state(params, &mut state).and_then(|()| state.check_all_read());
        loaded.map_err(of(optimizer.name()))?;
        let mut state = State::load("rule", &self.tensors);
        rule.state(params, &mut state).and_then(|()| state.check_all_read()).map_err(of(rule.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sgd;
    use candle_core::{DType, Var};
    use msharp_core::{BatchLoss, Component, Gradient, Key, ParamVec};

    struct NoRule;
    impl Component for NoRule {}
    impl Perturbation for NoRule {
        fn gradient(&mut self, loss: BatchLoss) -> Result<Gradient> {
            loss.gradient()
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

    /// A moving average, as rules have them.
    #[derive(Default)]
    struct Average {
        mean: Option<ParamVec>,
        steps: f64,
        other_name: bool,
    }
    impl Component for Average {
        fn own_state(&mut self, params: &Params, state: &mut State) -> Result<()> {
            state.number(if self.other_name { "count" } else { "steps" }, &mut self.steps)?;
            state.vector("mean", params, &mut self.mean)
        }
    }

    impl Perturbation for Average {
        fn gradient(&mut self, loss: BatchLoss) -> Result<Gradient> {
            NoRule.gradient(loss)
        }
    }

    fn message<T>(found: Result<T>) -> String {
        found.err().expect("an error").to_string()
    }

    #[test]
    fn a_number_that_could_not_be_read_back_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = saved(folder.path());
        let mut bad = Checkpoint::read(&path).unwrap();
        bad.progress.whole_run.seconds = f64::INFINITY;
        let error = message(bad.write(&path));
        assert!(error.contains("c.safetensors") && error.contains("could not be read back"), "{error}");
        assert_eq!(Checkpoint::read(&path).unwrap().progress.epoch, 3, "the good one is still there");
    }

    #[test]
    fn what_the_run_does_next_does_not_change_a_checkpoint() {
        let (params, mut sgd) = (params(3), Sgd { momentum: 0.9, ..Sgd::default() });
        let ones = ParamVec::new(&params, vec![Tensor::ones(3, DType::F32, &Device::Cpu).unwrap()]);
        sgd.step(&params, &ones, 0.1).unwrap();
        let checkpoint = Checkpoint::of(&params, &mut sgd, &mut NoRule, &Progress::default(), "").unwrap();
        let (norm, velocity) = (params.norm().unwrap(), sgd.velocity.as_ref().unwrap().norm().unwrap());
        for _ in 0..2 {
            sgd.step(&params, &ones, 0.1).unwrap();
            assert_ne!(params.norm().unwrap(), norm);
            checkpoint.restore(&params, &mut sgd, &mut NoRule).unwrap();
            assert_eq!((params.norm().unwrap(), sgd.velocity.as_ref().unwrap().norm().unwrap()), (norm, velocity));
        }
    }

    #[test]
    fn the_state_of_another_rule_or_optimizer_is_refused_with_both_names() {
        let (params, progress) = (params(3), Progress::default());
        let of = |optimizer: &mut dyn Optimizer, rule: &mut dyn Perturbation| {
            Checkpoint::of(&params, optimizer, rule, &progress, "").unwrap()
        };
        let plain = of(&mut Sgd::default(), &mut NoRule);
        let average = of(&mut Sgd::default(), &mut Average::default());
        for (checkpoint, rule) in [(&plain, &mut Average::default() as &mut dyn Perturbation), (&average, &mut NoRule)]
        {
            let error = message(checkpoint.restore(&params, &mut Sgd::default(), rule));
            assert!(error.contains("Average") && error.contains("NoRule"), "{error}");
        }
        let error = message(plain.restore(&params, &mut crate::AdamW::default(), &mut NoRule));
        assert!(error.contains("Sgd") && error.contains("AdamW"), "{error}");
        // one name, and another version's state
        let error = message(average.restore(
            &params,
            &mut Sgd::default(),
            &mut Average { other_name: true, ..Average::default() },
        ));
        assert!(error.contains("Average") && error.contains("rule/count"), "{error}");
    }

    #[test]
    fn a_step_that_fails_leaves_the_optimizer_as_it_is() {
        let (params, other) = (params(3), params(3));
        let gradient = |dtype: DType| ParamVec::new(&params, vec![Tensor::ones(3, dtype, &Device::Cpu).unwrap()]);
        let (mut sgd, mut adamw) = (Sgd { momentum: 0.9, ..Sgd::default() }, crate::AdamW::default());
        sgd.step(&params, &gradient(DType::F32), 0.1).unwrap();
        adamw.step(&other, &gradient(DType::F32), 0.1).unwrap();
        assert!(sgd.step(&params, &gradient(DType::F64), 0.1).is_err());
        assert!(adamw.step(&other, &gradient(DType::F64), 0.1).is_err());
        assert_eq!(sgd.velocity.unwrap().to_vec().unwrap(), [1., 1., 1.]);
        assert!(adamw.mean.is_some() && adamw.square.is_some() && adamw.steps == 1);
    }

    #[test]
    fn a_restoration_that_fails_changes_nothing() {
        let gradient = |params: &Params| ParamVec::gaussian(params, Key::new(3)).unwrap();
        let (small, other) = (params(3), params(4));
        let mut sgd = Sgd { momentum: 0.9, ..Sgd::default() };
        sgd.step(&small, &gradient(&small), 0.1).unwrap();
        let mut rule = Average { mean: Some(gradient(&small)), steps: 7., other_name: false };
        let checkpoint = Checkpoint::of(&small, &mut sgd, &mut rule, &Progress::default(), "").unwrap();

        // Everything of the optimizer fits, and the last of the rule does not.
        let mut damaged = checkpoint.clone();
        damaged.tensors.remove("rule/mean/w").unwrap();
        let (fresh, mut optimizer, mut rule) = (params(3), Sgd::default(), Average::default());
        let error = message(damaged.restore(&fresh, &mut optimizer, &mut rule));
        assert!(error.contains("rule/mean/w"), "{error}");
        assert!(optimizer.velocity.is_none() && rule.mean.is_none() && rule.steps == 0.);
        assert_eq!(fresh.norm().unwrap(), 3f64.sqrt());

        // States fit, weights do not.
        let mut damaged = checkpoint.clone();
        damaged.tensors.insert("model/extra".to_owned(), Tensor::ones(1, DType::F32, &Device::Cpu).unwrap());
        let error = message(damaged.restore(&fresh, &mut optimizer, &mut rule));
        assert!(error.contains("extra"), "{error}");
        assert!(optimizer.velocity.is_none() && rule.mean.is_none() && rule.steps == 0.);
        assert!(message(checkpoint.restore(&other, &mut optimizer, &mut rule)).contains("[4]"));
        checkpoint.restore(&fresh, &mut optimizer, &mut rule).unwrap();
        assert!(optimizer.velocity.is_some() && rule.steps == 7.);
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

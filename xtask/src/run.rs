//! One run, from a configuration to a row.

use crate::claim::claim;
use crate::config::{OptimizerName, RunConfig};
use crate::datasets::{Datasets, Streams};
use crate::facts::Facts;
use crate::host::Host;
use crate::log::Log;
use crate::notes::Notes;
use crate::row::{Cost, Ending, EpochLine, Maker, Metrics, Row};
use crate::rule::rule;
use crate::screen::Screen;
use crate::watch::{self, Watch};
use crate::{interrupt, leftovers, rows, start};
use anyhow::{Context, Result, bail, ensure};
use candle_core::DType;
use msharp_core::{Accumulated, BatchLoss, DataSource, Objective, Optimizer, Params, Seeded, write_aside};
use msharp_data::Dataset;
use msharp_models::{Description, Model};
use msharp_train::{
    AdamW, Checkpoint, CheckpointPolicy, Classifier, Control, Evaluation, Observer, Outcome, Progress, Sgd, StepReport,
    Task, evaluate, fit,
};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// How much training an interruption without warning may cost.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);

/// Every so many steps a line goes into the log.
const LOG_EVERY: usize = 10;

/// The model of a configuration with its initial weights, and the parameters that it trains.
pub fn build(config: &RunConfig, classes: usize) -> Result<(Model, Params)> {
    let init = Seeded::new(config.seed, DType::F32, &config.device.open()?);
    let model = config.model.build(config.norm, classes, init.var_builder())?;
    Ok((model, init.params()?))
}

/// The objective as configured.
pub fn classifier(model: Model, config: &RunConfig) -> Classifier<Model> {
    Classifier { model, label_smoothing: config.label_smoothing, precision: config.precision.precision() }
}

/// The optimizer as configured.
pub fn optimizer(config: &RunConfig) -> Box<dyn Optimizer> {
    let (weight_decay, decay_norms_and_biases) = (config.weight_decay, !config.decay_weights_only);
    match config.optimizer {
        OptimizerName::Sgd => Box::new(Sgd {
            momentum: config.momentum,
            nesterov: config.nesterov,
            weight_decay,
            decay_norms_and_biases,
            velocity: None,
        }),
        OptimizerName::Adamw => Box::new(AdamW { weight_decay, decay_norms_and_biases, ..AdamW::default() }),
    }
}

/// What the weights of a run are of.
pub fn description(config: &RunConfig, streams: &Streams) -> Description {
    let RunConfig { model: architecture, norm, .. } = *config;
    let Dataset { mean, std, .. } = *streams.train.dataset;
    Description { architecture, norm, classes: streams.classes, mean, std }
}

/// # Errors
/// What can be known of a run before its first step, and before the runs that it starts from: flags without effect on
/// the data and the network that there are, selections that select nothing.
pub fn check(config: &RunConfig, data: &mut Datasets) -> Result<()> {
    let streams = data.streams(config)?;
    let (_, params) = build(config, streams.classes)?;
    check_against(config, &streams, &params)
}

fn check_against(config: &RunConfig, streams: &Streams, params: &Params) -> Result<()> {
    let Streams { train, whole, .. } = streams;
    let (samples, size) = (train.samples(), train.dataset.size);
    let facts = Facts { samples, steps: train.steps() * config.epochs, params, size };
    config.check_against(&facts, &*rule(config, whole.clone())?)
}

/// Trains in `folder`, from its checkpoint if there is one; `None` if the user stopped it, and the checkpoint is saved.
///
/// The folder holds `config.json`, `checkpoint.safetensors`, `log.jsonl`, `epochs.csv`, and at the end `row.json` and,
/// unless the run diverged, `weights.safetensors`. The row is made of the checkpoint; the log is for people.
///
/// # Errors
/// If the checkpoint is of another configuration, the folder holds files of another run, or anything is missing,
/// unreadable or not writable.
pub fn run(name: &str, config: &RunConfig, folder: &Path, data: &mut Datasets) -> Result<Option<Row>> {
    config.validate()?;
    let _claim = claim(folder)?;
    let path = folder.join("checkpoint.safetensors");
    let streams = data.streams(config)?;
    let (model, params) = build(config, streams.classes)?;
    check_against(config, &streams, &params)?;
    let saved = match path.exists() {
        true => Some(resume(&path, config)?),
        false => {
            leftovers::clear(folder, config)?;
            None
        }
    };
    leftovers::check_writable(folder)?;
    let start = match start::before(config) {
        Some(before) if saved.is_none() => match start::weights(name, &before, folder, data)? {
            Some(weights) => Some(weights),
            None => return Ok(None),
        },
        _ => None,
    };
    let about = description(config, &streams);
    let Streams { train, whole, test, .. } = streams;
    let classifier = classifier(model, config);
    let (mut rule, mut optimizer) = (rule(config, whole.clone())?, optimizer(config));

    let (progress, notes) = match &saved {
        Some(checkpoint) => (
            checkpoint.restore(&params, &mut optimizer, &mut rule).with_context(|| {
                format!("the checkpoint {} does not fit the model {}", path.display(), config.model)
            })?,
            Notes::parse(&checkpoint.notes)
                .with_context(|| format!("the checkpoint {} was not written by this command line", path.display()))?,
        ),
        None => (Progress::default(), Notes { weights: about.metadata(), ..Notes::default() }),
    };
    drop(saved);
    ensure!(
        notes.weights == about.metadata(),
        "the checkpoint {} holds weights of {:?}; expected those of {:?}",
        path.display(),
        notes.weights,
        about.metadata()
    );
    write_aside(&folder.join("config.json"), |file| Ok(writeln!(file, "{}", config.json())?))?;
    let steps = train.steps() * config.epochs;
    let mut watcher = Watcher {
        classifier: &classifier,
        test: &test,
        steps,
        every: config.evaluate_every,
        epochs: config.epochs,
        log: Log::open(folder, &progress, &notes.curve, LOG_EVERY)?,
        notes,
        host: Host::this(config.device),
        screen: Screen::new(name, steps, &progress),
        watch: Watch::of(config),
    };
    if let Some(weights) = start {
        about.load(&params, &weights)?;
        watcher.begin(&whole)?;
    }
    let objective = match config.accumulate {
        Some(max_samples) => &Accumulated { objective: &classifier, max_samples } as &dyn Objective,
        None => &classifier,
    };
    let task = Task {
        objective,
        params: &params,
        rule: &mut rule,
        optimizer: &mut optimizer,
        data: &train,
        epochs: config.epochs,
        schedule: config.schedule.schedule(config.lr, config.warm_up),
        checkpoint: Some(CheckpointPolicy { every: CHECKPOINT_EVERY, ..CheckpointPolicy::new(&path, config.json()) }),
        read_every: config.device.read_every(),
    };
    let (outcome, progress) = fit(task, progress, &mut watcher)?;
    watcher.screen.done();
    let outcome = match outcome {
        Outcome::Stopped => return Ok(None),
        Outcome::Finished => Ending::Finished,
        Outcome::Diverged { epoch, step, what } => Ending::Diverged { epoch, step, what },
    };

    let row = row(config, outcome, &progress, &watcher.notes, params.count());
    row.check()?;
    let text = rows::line(&row)?;
    if row.outcome == Ending::Finished {
        let of_run = BTreeMap::from([("config".to_owned(), config.json())]);
        about.save(&params, &folder.join("weights.safetensors"), of_run)?;
    }
    write_aside(&folder.join("row.json"), |file| Ok(writeln!(file, "{text}")?))?;
    Ok(Some(row))
}

/// The checkpoint at `path`, if it is one of this configuration.
fn resume(path: &Path, config: &RunConfig) -> Result<Checkpoint> {
    let checkpoint = Checkpoint::read(path)?;
    let saved: RunConfig = serde_json::from_str(&checkpoint.config)
        .with_context(|| format!("the checkpoint {} was not written by this command line", path.display()))?;
    let differences = saved.differences(config)?;
    if !differences.is_empty() {
        bail!(
            "the checkpoint {} is of another run: --{} differ; expected the same flags, or another --out",
            path.display(),
            differences.join(", --")
        )
    }
    Ok(checkpoint)
}

fn row(config: &RunConfig, outcome: Ending, progress: &Progress, notes: &Notes, parameters: usize) -> Row {
    let is_last = |line: &&EpochLine| outcome == Ending::Finished && line.epoch == config.epochs;
    let last = notes.curve.last().filter(is_last);
    let ((forward, backward), run) = (progress.whole_run.passes(), &progress.whole_run);
    let mut earlier = notes.makers.clone();
    let Maker { revision, host, .. } = earlier.pop().unwrap_or_else(|| notes.this(&Host::this(config.device)));
    Row {
        experiment: "train".to_owned(),
        preset: String::new(),
        config: config.clone(),
        outcome,
        metrics: Metrics {
            test_accuracy: last.map(|line| line.test_accuracy),
            test_loss: last.and_then(|line| line.test_loss),
            train_loss: last.and_then(|line| line.train_loss),
            measures: watch::means(run),
            not_finite: run.not_finite(),
            parameters,
        },
        curve: notes.curve.clone(),
        cost: Cost {
            steps: run.steps,
            forward,
            backward,
            seconds: run.seconds,
            images_per_second: run.samples as f64 / run.seconds.max(1e-9),
        },
        host,
        revision,
        earlier,
    }
}

/// Logs, shows, evaluates after each epoch, and passes Ctrl-C on.
struct Watcher<'a> {
    classifier: &'a Classifier<Model>,
    test: &'a dyn DataSource,
    steps: usize,
    /// Epochs between two evaluations.
    every: usize,
    epochs: usize,
    log: Log,
    notes: Notes,
    host: Host,
    screen: Screen,
    watch: Watch,
}

fn control() -> Control {
    if interrupt::requested() { Control::Stop } else { Control::Continue }
}

/// What was found on the test images, beside `measures`.
fn point(test: Evaluation, mut measures: BTreeMap<String, f64>) -> EpochLine {
    if test.not_finite > 0 {
        measures.insert("test_not_finite".to_owned(), test.not_finite as f64);
    }
    let test_loss = Some(test.loss).filter(|loss| loss.is_finite());
    EpochLine { epoch: 0, train_loss: None, test_loss, test_accuracy: test.accuracy, seconds: 0., measures }
}

impl Watcher<'_> {
    /// A point of the curve before the first step, for a run that does not start at initial weights. `train` is the
    /// training set as it is.
    fn begin(&mut self, train: &dyn DataSource) -> Result<()> {
        let (train, test) = (evaluate(self.classifier, train)?, evaluate(self.classifier, self.test)?);
        let measures = BTreeMap::from([("train_accuracy".to_owned(), train.accuracy)]);
        let train_loss = Some(train.loss).filter(|loss| loss.is_finite());
        self.point(EpochLine { epoch: 0, train_loss, seconds: 0., ..point(test, measures) })
    }

    /// A point of the curve, for the row and the log.
    fn point(&mut self, line: EpochLine) -> Result<()> {
        self.notes.curve.push(line);
        self.log.epoch(&self.notes.curve)
    }
}

impl Observer for Watcher<'_> {
    fn before_step(&mut self, loss: BatchLoss, step: usize) -> candle_core::Result<BTreeMap<&'static str, f64>> {
        self.watch.measure(loss, step)
    }

    fn notes(&self) -> candle_core::Result<String> {
        rows::line(&self.notes).map_err(|e| candle_core::Error::msg(format!("{e:#}")))
    }

    fn step(&mut self, report: &StepReport) -> candle_core::Result<Control> {
        self.notes.made_a_step(&self.host);
        self.log.step(report).map_err(|e| candle_core::Error::msg(format!("{e:#}")))?;
        self.screen.step(report);
        Ok(control())
    }

    fn epoch(&mut self, progress: &Progress) -> candle_core::Result<Control> {
        if !progress.epoch.is_multiple_of(self.every) && progress.epoch != self.epochs {
            return Ok(control());
        }
        let (test, tally) = (evaluate(self.classifier, self.test)?, &progress.this_epoch);
        let line = EpochLine {
            epoch: progress.epoch,
            train_loss: tally.loss(),
            seconds: tally.seconds,
            ..point(test, watch::means(tally))
        };
        self.screen.epoch(progress, &line, self.steps);
        self.point(line).map_err(|e| candle_core::Error::msg(format!("{e:#}")))?;
        Ok(control())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{NETWORKS, parse};
    use std::sync::PoisonError;

    /// A learning rate that moves no weight makes the end of a run its start.
    const FLAGS: &str = "--norm group --subset 64 --test-subset 20 --batch-size 32 --augment none --epochs 2 --lr \
                         1e-30 --momentum 0 --weight-decay 0 --after-random-labels 2 --after-true-labels 1";

    #[test]
    fn runs_of_one_seed_start_where_one_run_ended_that_is_made_once() {
        let _alone = NETWORKS.lock().unwrap_or_else(PoisonError::into_inner);
        let (folder, mut data) = (tempfile::tempdir().unwrap(), Datasets::new(Path::new("none")));
        let at = |config: &RunConfig| folder.path().join(config.id());
        let mut go = |flags: &str| {
            let config = parse(&format!("{FLAGS} {flags}"));
            let row = run("a test", &config, &at(&config), &mut data).unwrap().unwrap();
            (config, row)
        };
        let (config, row) = go("--rule sgd");
        let truth = start::before(&config).unwrap();
        let random = start::before(&truth).unwrap();
        let tensors = |path: &Path| -> BTreeMap<String, Vec<f32>> {
            let all = candle_core::safetensors::load(path, &candle_core::Device::Cpu).unwrap();
            all.into_iter().map(|(name, t)| (name, t.flatten_all().unwrap().to_vec1().unwrap())).collect()
        };
        let weights = |config: &RunConfig| tensors(&at(config).join("weights.safetensors"));
        assert!(weights(&truth) == weights(&config), "a run starts with the weights that its start ended with");
        assert!(weights(&random) == weights(&truth));
        let initial = build(&config, 10).unwrap().1;
        initial.save(&folder.path().join("initial")).unwrap();
        assert!(tensors(&folder.path().join("initial")) != weights(&random));
        let curve = |row: &Row| row.curve.iter().map(|line| (line.epoch, line.test_accuracy)).collect::<Vec<_>>();
        assert_eq!(row.curve.len(), 3);
        assert!(row.curve[0].measures.contains_key("train_accuracy"));
        assert!(curve(&row).windows(2).all(|pair| pair[0].1 == pair[1].1));

        // Another rule finds the start; what it would be if it was made again is something else.
        let (marked, _) = go("--rule sgd --seed 9");
        let of_truth = at(&truth).join("weights.safetensors");
        let (about, stand_in) = (msharp_core::metadata(&of_truth).unwrap(), build(&config, 10).unwrap().1);
        std::fs::copy(at(&marked).join("weights.safetensors"), &of_truth).unwrap();
        stand_in.load(&of_truth).unwrap();
        let refused = std::panic::AssertUnwindSafe(|| go("--rule sam --rho 0.3"));
        assert!(std::panic::catch_unwind(refused).is_err(), "weights of another run are no start");
        stand_in.save_with(&of_truth, &about).unwrap();
        let (other, row) = go("--rule sam --rho 0.1 --evaluate-every 2");
        assert!(weights(&other) == weights(&marked) && weights(&other) != weights(&config));
        assert_eq!(curve(&row).iter().map(|point| point.0).collect::<Vec<_>>(), [0, 2]);
    }
}

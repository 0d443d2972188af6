//! One run, from a configuration to a row.

pub mod duration;
mod in_flags;
mod job;
pub mod leftovers;
pub mod log;
pub mod noise;
pub mod notes;
pub mod outcome;
pub mod phases;
mod watcher;

use crate::build;
use crate::claim::{claim, remove_unfinished};
use crate::config::RunConfig;
use crate::config::record::listed;
use crate::data::{Datasets, Streams};
use crate::host::Host;
use crate::jsonl;
use crate::ranks::{self, Meeting, Ranks};
use crate::row::{Content, Row};
use crate::screen::{self, Screen};
use crate::shared::lease::Lease;
use crate::weights;
use anyhow::{Context, Result, bail, ensure};
use in_flags::in_flags;
use log::Log;
use msharp_core::{Accumulated, DataSource, Objective, Params, write_aside};
use msharp_data::BrokenPictures;
use msharp_models::Description;
use msharp_train::{Checkpoint, CheckpointPolicy, Outcome, Progress, Task, fit};
use noise::NoiseMeter;
use notes::{CLASS_NAMES, Notes};
use outcome::{Cost, Ending, EpochLine, Maker, Metrics, Run, RunRow};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;
use watcher::Watcher;

/// How much training an interruption without warning may cost.
pub const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);

/// Every so many steps a line goes into the log.
const LOG_EVERY: usize = 10;

/// Where a run is done.
#[derive(Clone, Copy)]
pub struct Site<'a> {
    /// Its folder.
    pub folder: &'a Path,
    /// The folder of those of what it is [preceded by](phases), which runs can share.
    pub starts: &'a Path,
    /// The lease of the run, where several processes [share](crate::shared) the folder.
    pub lease: Option<&'a Lease>,
}

impl Site<'_> {
    /// Makes the folder this process's own: by its lease, or for as long as the returned lock is open.
    fn claim(&self) -> Result<Option<File>> {
        let Some(lease) = self.lease else { return claim(self.folder).map(Some) };
        std::fs::create_dir_all(self.folder).with_context(|| format!("cannot make {}", self.folder.display()))?;
        lease.renew()?;
        remove_unfinished(self.folder).map(|()| None)
    }

    /// Whether it still is.
    fn renew(&self) -> Result<()> {
        self.lease.map_or(Ok(()), Lease::renew)
    }
}

/// Trains in the folder of `site`, from its checkpoint if there is one; `None` if the user stopped it, and the
/// checkpoint is saved.
///
/// The folder holds `config.json`, `checkpoint.safetensors`, `log.jsonl`, `epochs.csv`, and at the end `row.json` and,
/// unless the run diverged, `weights.safetensors`. The row is made of the checkpoint; the log is for people. Of several
/// `ranks` each calls it; rank 0 writes, and all get the row.
///
/// # Errors
/// If the checkpoint is of another configuration, the folder holds files of another run, or anything is missing,
/// unreadable or not writable; if another process has taken the lease.
pub fn run(name: &str, config: &RunConfig, site: &Site, data: &mut Datasets, ranks: &Ranks) -> Result<Option<RunRow>> {
    config.validate()?;
    let folder = site.folder;
    let _claim = if ranks.leads() { site.claim()? } else { None };
    let path = folder.join("checkpoint.safetensors");
    let streams = data.streams(config)?;
    let (network, params) = build::model(config, streams.classes)?;
    build::check_against(config, &streams, &params)?;
    if let Some(size) = ranks.several() {
        ranks::check(config, streams.train.samples(), size)?;
    }
    site.renew()?; // data may take long to read
    let saved = match path.exists() {
        true => Some(resume(&path, config)?),
        false => {
            if ranks.leads() {
                leftovers::clear(folder, config)?;
            }
            None
        }
    };
    if ranks.leads() {
        leftovers::check_writable(folder)?;
    }
    if saved.is_none()
        && let Some(loaded) = weights::load(config, &params)?
    {
        screen::say(loaded.to_string());
        if let Some(text) = weights::renamed_classes(config, &loaded, &streams.class_names)? {
            screen::say(text);
        }
    }
    let start = match phases::before(config) {
        Some(before) if saved.is_none() => match phases::weights(name, &before, site, data)? {
            Some(weights) => Some(weights),
            None => return Ok(None),
        },
        _ => None,
    };
    let about = build::description(config, &streams);
    let Streams { train, whole, test, by_label, contents, class_names, broken, .. } = streams;
    let classifier = build::classifier(network, config);
    let (mut rule, mut optimizer) = (build::rule(config, whole.clone())?, build::optimizer(config));

    let (progress, notes) = match &saved {
        Some(checkpoint) => (
            checkpoint.restore(&params, &mut optimizer, &mut rule).with_context(|| {
                format!("the checkpoint {} does not fit the model {}", path.display(), config.model.architecture)
            })?,
            Notes::parse(&checkpoint.notes)
                .with_context(|| format!("the checkpoint {} was not written by this command line", path.display()))?,
        ),
        None => {
            let notes = Notes { weights: about.metadata(), images: contents.clone(), ..Notes::default() };
            (Progress::default(), notes)
        }
    };
    drop(saved);
    ensure!(
        notes.weights == about.metadata(),
        "the checkpoint {} holds weights of {:?}; expected those of {:?}",
        path.display(),
        notes.weights,
        about.metadata()
    );
    ensure!(
        notes.images.is_empty() || notes.images == contents,
        "the checkpoint {} is of a run on other images: {}; those that are there now are {contents}",
        path.display(),
        notes.images
    );
    let sync_batch_norm = ranks.syncs_batch_norm();
    let host = Host { ranks: ranks.several(), sync_batch_norm, ..Host::this(config.machine.device) };
    ranks.meet(Meeting {
        program: ranks::program(),
        config: config.json(),
        flags: if sync_batch_norm { "--sync-batch-norm" } else { "none" }.to_owned(),
        images: contents,
        start: format!("epoch {}, step {}", progress.epoch, progress.step),
    })?;
    ranks.connect(config.machine.device)?;
    notes.changes(&host).into_iter().for_each(screen::say);
    site.renew()?;
    if ranks.leads() {
        write_aside(&folder.join("config.json"), |file| Ok(writeln!(file, "{}", config.json())?))?;
    }
    let steps = train.steps() * config.optimisation.epochs;
    let mut watcher = Watcher {
        classifier: &classifier,
        test: &*test,
        by_label: by_label.as_ref(),
        train: config.measuring.train_accuracy.then_some(&*whole as &dyn DataSource),
        steps,
        every: config.measuring.evaluate_every,
        epochs: config.optimisation.epochs,
        ranks: ranks.all(),
        lease: site.lease,
        log: if ranks.leads() { Some(Log::open(folder, &progress, &notes.curve, LOG_EVERY)?) } else { None },
        notes,
        host,
        screen: Screen::new(name, config.tested_on(), steps, &progress),
        noise: NoiseMeter::of(config),
    };
    if let Some(weights) = start {
        about.load(&params, &weights)?;
        watcher.begin(&*whole)?;
    }
    let objective = match config.optimisation.accumulate {
        Some(max_samples) => &Accumulated { objective: &classifier, max_samples } as &dyn Objective,
        None => &classifier,
    };
    let task = Task {
        objective,
        params: &params,
        rule: &mut rule,
        optimizer: &mut optimizer,
        data: &*train,
        epochs: config.optimisation.epochs,
        schedule: config.optimisation.schedule.schedule(config.optimisation.lr, config.optimisation.warm_up),
        checkpoint: Some(CheckpointPolicy { every: CHECKPOINT_EVERY, ..CheckpointPolicy::new(&path, config.json()) }),
        read_every: config.machine.device.read_every(),
        ranks: ranks.training(),
    };
    let (outcome, progress) = fit(task, progress, &mut watcher).map_err(|error| in_flags(error, config))?;
    watcher.screen.done();
    let left_out = left_out(ranks, broken.as_deref())?;
    left_out.values().for_each(|why| screen::say(format!("left out: {why}")));
    match left_out.len() {
        0 => {}
        1 => screen::say("1 picture could not be read, and was left out each time"),
        n => screen::say(format!("{n} pictures could not be read, and were left out each time")),
    }
    let outcome = match outcome {
        Outcome::Stopped => return Ok(None),
        Outcome::Finished => Ending::Finished,
        Outcome::Diverged { epoch, step, what } => Ending::Diverged { epoch, step, what },
    };

    let row = row(config, outcome, &progress, &watcher.notes, params.count(), left_out.len());
    row.content.check()?;
    site.renew()?;
    if ranks.leads() {
        write(&row, folder, &about, class_names, &params)?;
    }
    ranks.all().barrier()?; // a rank that ends first could end the others
    Ok(Some(row))
}

/// The pictures that this rank or another could not read, and why.
fn left_out(ranks: &Ranks, broken: Option<&BrokenPictures>) -> Result<BTreeMap<String, String>> {
    let Some(broken) = broken else { return Ok(BTreeMap::new()) };
    let mut all = BTreeMap::new();
    for of_rank in ranks.all().gather(&serde_json::to_vec(&broken.list())?)? {
        all.extend(serde_json::from_slice::<Vec<(String, String)>>(&of_rank)?);
    }
    Ok(all)
}

/// Row and weights of a run that is over.
fn write(row: &RunRow, folder: &Path, about: &Description, class_names: Vec<String>, params: &Params) -> Result<()> {
    let text = jsonl::line(row)?;
    if row.content.outcome == Ending::Finished {
        let mut of_run = BTreeMap::from([("config".to_owned(), row.content.config.json())]);
        if !class_names.is_empty() {
            of_run.insert(CLASS_NAMES.to_owned(), serde_json::to_string(&class_names)?);
        }
        about.save(params, &folder.join("weights.safetensors"), of_run)?;
    }
    Ok(write_aside(&folder.join("row.json"), |file| Ok(writeln!(file, "{text}")?))?)
}

/// The checkpoint at `path`, if it is one of this configuration.
fn resume(path: &Path, config: &RunConfig) -> Result<Checkpoint> {
    let checkpoint = Checkpoint::read(path).with_context(|| {
        format!(
            "cannot go on from {}; expected it whole: restore it, or delete it and leave --resume out to start again",
            path.display()
        )
    })?;
    let saved: RunConfig = serde_json::from_str(&checkpoint.config)
        .with_context(|| format!("the checkpoint {} is of no run of this program", path.display()))?;
    let differences = saved.differences(config);
    if !differences.is_empty() {
        let longer = match saved.optimisation.epochs < config.optimisation.epochs {
            true => {
                "; a run cannot be made longer, since its schedules depend on its length: start another one, with \
                 --out, of that many --epochs"
            }
            false => "",
        };
        bail!(
            "the checkpoint {} is of another run: {}; expected the flags that it was started with, or another --out{longer}",
            path.display(),
            listed(&differences)
        )
    }
    Ok(checkpoint)
}

fn row(
    config: &RunConfig,
    outcome: Ending,
    progress: &Progress,
    notes: &Notes,
    parameters: usize,
    left_out: usize,
) -> RunRow {
    let is_last = |line: &&EpochLine| outcome == Ending::Finished && line.epoch == config.optimisation.epochs;
    let last = notes.curve.last().filter(is_last);
    let ((forward, backward), run) = (progress.whole_run.passes(), &progress.whole_run);
    let mut earlier = notes.makers.clone();
    let Maker { revision, host, .. } = earlier.pop().unwrap_or_else(|| notes.this(&Host::this(config.machine.device)));
    let content = Run {
        config: config.clone(),
        metrics: Metrics {
            test_accuracy: last.map(|line| line.test_accuracy),
            test_loss: last.and_then(|line| line.test_loss),
            train_loss: last.and_then(|line| line.train_loss),
            measures: noise::means(run),
            not_finite: run.not_finite(),
            left_out,
            parameters,
        },
        outcome,
        curve: notes.curve.clone(),
        cost: Cost {
            steps: run.steps,
            forward,
            backward,
            images_per_second: run.samples as f64 / run.seconds.max(1e-9),
        },
        earlier,
    };
    Row { revision, ..Row::new(host, run.seconds, content) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::parse;

    /// A learning rate that moves no weight makes the end of a run its start.
    const FLAGS: &str = "--norm group --subset 64 --test-subset 20 --batch-size 32 --augment none --epochs 2 --lr \
                         1e-30 --momentum 0 --weight-decay 0 --after-random-labels 2 --after-true-labels 1";

    #[test]
    fn runs_of_one_seed_start_where_one_run_ended_that_is_made_once() {
        let (folder, mut data) = (tempfile::tempdir().unwrap(), Datasets::new(Path::new("none")));
        let at = |config: &RunConfig| folder.path().join(config.id());
        let mut go = |flags: &str| {
            let config = parse(&format!("{FLAGS} {flags}"));
            let site = Site { folder: &at(&config), starts: folder.path(), lease: None };
            let row = run("a test", &config, &site, &mut data, &Ranks::alone()).unwrap().unwrap();
            (config, row)
        };
        let (config, row) = go("--rule sgd");
        let truth = phases::before(&config).unwrap();
        let random = phases::before(&truth).unwrap();
        let tensors = |path: &Path| -> BTreeMap<String, Vec<f32>> {
            let all = candle_core::safetensors::load(path, &candle_core::Device::Cpu).unwrap();
            all.into_iter().map(|(name, t)| (name, t.flatten_all().unwrap().to_vec1().unwrap())).collect()
        };
        let weights = |config: &RunConfig| tensors(&at(config).join("weights.safetensors"));
        assert!(weights(&truth) == weights(&config), "a run starts with the weights that its start ended with");
        assert!(weights(&random) == weights(&truth));
        let initial = build::model(&config, 10).unwrap().1;
        initial.save(&folder.path().join("initial")).unwrap();
        assert!(tensors(&folder.path().join("initial")) != weights(&random));
        let curve =
            |row: &RunRow| row.content.curve.iter().map(|line| (line.epoch, line.test_accuracy)).collect::<Vec<_>>();
        assert_eq!(row.content.curve.len(), 3);
        assert!(row.content.curve[0].measures.contains_key("train_accuracy"));
        assert!(curve(&row).windows(2).all(|pair| pair[0].1 == pair[1].1));

        // Another rule finds the start; what it would be if it was made again is something else.
        let (marked, _) = go("--rule sgd --seed 9");
        let of_truth = at(&truth).join("weights.safetensors");
        let (about, stand_in) = (msharp_core::metadata(&of_truth).unwrap(), build::model(&config, 10).unwrap().1);
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

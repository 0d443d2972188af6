//! Whole runs: data, network, rule, trainer, checkpoint. A resumed run ends as if it had never stopped, to the bit.

use crate::problems::{Net, bits, buffers, resnet8, weights, wrn10};
use candle_core::{Result, Tensor, bail};
use msharp_core::{Batch, Objective, Perturbation, Temperature};
use msharp_data::{Augment, Dataset, Loader, synthetic};
use msharp_gradnorm::FiniteDifference;
use msharp_models::Norm;
use msharp_perturb::{Micro, rw_sam, sam};
use msharp_train::{
    Checkpoint, CheckpointPolicy, Control, Observer, Outcome, Progress, Schedule, Sgd, StepReport, Task, evaluate, fit,
};
use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The stripes of the synthetic set, level and upright: what a short run on little data can tell apart.
fn stripes(mut set: Dataset) -> Arc<Dataset> {
    let kept: Vec<usize> = (0..set.len()).filter(|&i| [6, 7].contains(&set.labels[i])).collect();
    set.images = kept.iter().flat_map(|&i| set.image(i)).copied().collect();
    set.labels = kept.iter().map(|&i| set.labels[i]).collect();
    Arc::new(set)
}

#[test]
fn a_short_run_learns_more_than_chance() -> Result<()> {
    let split = synthetic(1200, 600, 1);
    let (train, test) = (Loader::train(stripes(split.train), 16, 2), Loader::eval(stripes(split.test), 60));
    let train = Loader { augment: Augment::none(), ..train };
    let net = resnet8(Norm::Batch, 3)?;
    let task = Task {
        objective: &net,
        params: &net.params,
        rule: &mut sam(0.05),
        optimizer: &mut Sgd { momentum: 0.9, weight_decay: 5e-4, ..Sgd::default() },
        data: &train,
        epochs: 6,
        lr: 0.05,
        schedule: Schedule::cosine(),
        checkpoint: None,
    };
    let (outcome, progress) = fit(task, Progress::default(), &mut ())?;
    assert_eq!((outcome, progress.whole_run.steps), (Outcome::Finished, 90));
    assert_eq!(progress.whole_run.passes(), (2., 2.));
    let evaluation = evaluate(&net.classifier, &test)?;
    assert_eq!(evaluation.samples, 120);
    // 120 guesses between two are right in 60 cases, with a standard deviation of 5.5
    assert!(evaluation.accuracy > 0.5 + 4. * 5.5 / 120., "{evaluation:?}");
    Ok(())
}

const EPOCHS: usize = 2;
const STEPS: usize = 3; // of 16, 16 and 8 samples

/// What a run ends with.
#[derive(PartialEq)]
struct End {
    weights: Vec<u64>,
    buffers: Vec<u64>,
    velocity: Vec<u64>,
}

type Rule = fn() -> Box<dyn Perturbation>;

/// A run of its own: weights from `seed`, or from the checkpoint where `resumes`.
struct Run<'a> {
    rule: Rule,
    seed: u64,
    resumes: bool,
    every: Duration,
    lr: f64,
    path: &'a Path,
}

impl Run<'_> {
    /// With `calls`, the objective fails after so many, as if the power went.
    fn go(&self, observer: &mut dyn Observer, calls: Option<usize>) -> Result<(Outcome, Progress, End)> {
        let net = wrn10(Norm::Batch, self.seed)?;
        let (mut rule, mut sgd) = ((self.rule)(), Sgd { momentum: 0.9, weight_decay: 5e-4, ..Sgd::default() });
        let progress = match self.resumes {
            true => Checkpoint::read(self.path)?.restore(&net.params, &mut sgd, &mut rule)?,
            false => Progress::default(),
        };
        let task = Task {
            objective: &Mortal { inner: &net, calls: Cell::new(calls) },
            params: &net.params,
            rule: &mut rule,
            optimizer: &mut sgd,
            data: &Loader::train(Arc::new(synthetic(40, 0, 4).train), 16, 5),
            epochs: EPOCHS,
            lr: self.lr,
            schedule: Schedule::cosine(),
            checkpoint: Some(CheckpointPolicy { path: self.path.into(), every: self.every, config: "{}".into() }),
        };
        let (outcome, progress) = fit(task, progress, observer)?;
        let velocity = sgd.velocity.as_ref().map(|v| bits(v.tensors())).transpose()?.unwrap_or_default();
        let end = End { weights: weights(&net.params)?, buffers: buffers(&net.params)?, velocity };
        Ok((outcome, progress, end))
    }
}

/// An objective that fails after so many calls.
struct Mortal<'a> {
    inner: &'a Net,
    calls: Cell<Option<usize>>,
}

impl Objective for Mortal<'_> {
    fn losses(&self, batch: &Batch, train: bool) -> Result<Tensor> {
        match self.calls.get() {
            Some(0) => bail!("the power is gone"),
            left => self.calls.set(left.map(|left| left - 1)),
        }
        self.inner.losses(batch, train)
    }
}

/// Stops after a step of an epoch, or after an epoch.
enum Stop {
    Step(usize, usize),
    Epoch(usize),
}

impl Observer for Stop {
    fn step(&mut self, report: &StepReport) -> Result<Control> {
        let stops = matches!(self, Stop::Step(epoch, step) if (*epoch, *step) == (report.epoch, report.step));
        Ok(if stops { Control::Stop } else { Control::Continue })
    }

    fn epoch(&mut self, progress: &Progress) -> Result<Control> {
        Ok(if matches!(self, Stop::Epoch(epochs) if *epochs == progress.epoch) {
            Control::Stop
        } else {
            Control::Continue
        })
    }
}

fn with_sam() -> Box<dyn Perturbation> {
    Box::new(sam(0.05))
}

fn with_rw_sam() -> Box<dyn Perturbation> {
    Box::new(rw_sam(FiniteDifference::default(), Temperature::Relative(1.), 0.05))
}

fn with_m_rw_sam() -> Box<dyn Perturbation> {
    Box::new(Micro { inner: rw_sam(FiniteDifference::default(), Temperature::EffectiveSize(4.), 0.05), size: 6 })
}

#[track_caller]
fn assert_same(found: &(Outcome, Progress, End), expected: &(Outcome, Progress, End), what: &str) {
    assert_eq!(found.0, Outcome::Finished, "{what}");
    assert!(found.2.weights == expected.2.weights, "{what}: the weights differ");
    assert!(found.2.buffers == expected.2.buffers, "{what}: the running statistics differ");
    assert!(found.2.velocity == expected.2.velocity, "{what}: the velocities differ");
}

#[test]
fn a_resumed_run_ends_as_if_it_had_never_stopped() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = &folder.path().join("run.safetensors");
    let hour = Duration::from_secs(3600);
    for (name, rule) in [("SAM", with_sam as Rule), ("RW-SAM", with_rw_sam), ("m-RW-SAM", with_m_rw_sam)] {
        let run = Run { rule, seed: 6, resumes: false, every: hour, lr: 0.1, path };
        let straight = run.go(&mut (), None)?;
        assert!(!straight.2.velocity.is_empty());
        // another seed: nothing of the first weights may survive the checkpoint
        let resumed = Run { resumes: true, seed: 7, ..run };
        for (what, mut stop, stands) in [
            ("after a step", Stop::Step(0, 0), (0, 1)),
            ("in the last epoch", Stop::Step(1, 1), (1, 2)),
            ("between epochs", Stop::Epoch(1), (1, 0)),
        ] {
            let (outcome, progress, _) = run.go(&mut stop, None)?;
            assert_eq!((progress.epoch, progress.step), stands, "{name}, {what}");
            assert_eq!(outcome, Outcome::Stopped, "{name}, {what}");
            assert_same(&resumed.go(&mut (), None)?, &straight, &format!("{name} stopped {what}"));
        }
        // a crash in the middle of a step: on with the last periodic checkpoint
        let careful = Run { every: Duration::ZERO, ..run };
        let error = careful.go(&mut (), Some(9)).err().expect("the objective fails").to_string();
        assert!(error.contains("the power is gone") && error.contains("step "), "{error}");
        let stands = Checkpoint::read(path)?.progress;
        assert!(stands.whole_run.steps > 0 && stands.epoch < EPOCHS, "{stands:?}");
        assert_same(&resumed.go(&mut (), None)?, &straight, &format!("{name} after a crash"));
    }
    Ok(())
}

/// Without the wall time.
fn timeless(mut progress: Progress) -> Progress {
    (progress.this_epoch.seconds, progress.whole_run.seconds) = (0., 0.);
    progress
}

/// The sums that go into tables are part of what is resumed.
#[test]
fn a_resumed_run_ends_with_the_same_tallies() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = &folder.path().join("run.safetensors");
    let run = Run { rule: with_rw_sam, seed: 6, resumes: false, every: Duration::from_secs(3600), lr: 0.1, path };
    let (_, straight, _) = run.go(&mut (), None)?;
    run.go(&mut Stop::Step(1, 1), None)?;
    let (_, resumed, _) = Run { resumes: true, ..run }.go(&mut (), None)?;
    assert_eq!(timeless(resumed), timeless(straight));
    Ok(())
}

/// [`Control::Stop`] is obeyed after any step, the last one of an epoch as well.
#[test]
fn a_run_stops_after_the_last_step_of_an_epoch() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = &folder.path().join("run.safetensors");
    let run = Run { rule: with_sam, seed: 6, resumes: false, every: Duration::from_secs(3600), lr: 0.1, path };
    let (outcome, progress, _) = run.go(&mut Stop::Step(0, STEPS - 1), None)?;
    assert_eq!((outcome, progress.epoch, progress.step), (Outcome::Stopped, 1, 0));
    assert_same(
        &Run { resumes: true, ..run }.go(&mut (), None)?,
        &run.go(&mut (), None)?,
        "after an epoch's last step",
    );
    Ok(())
}

/// Sees that the file always holds a point of the trajectory: the weights after the step before.
struct Watch<'a> {
    net: &'a Net,
    path: &'a Path,
    last: Option<(Vec<u64>, Vec<u64>)>,
    compared: usize,
}

impl Observer for Watch<'_> {
    fn step(&mut self, report: &StepReport) -> Result<Control> {
        if let Some(last) = &self.last {
            let twin = wrn10(Norm::Batch, 99)?;
            let checkpoint = Checkpoint::read(self.path)?;
            checkpoint.restore(&twin.params, &mut Sgd::default(), &mut with_sam())?;
            assert_eq!(checkpoint.progress.whole_run.steps, report.epoch * STEPS + report.step);
            assert!((weights(&twin.params)?, buffers(&twin.params)?) == *last, "not a point of the trajectory");
            self.compared += 1;
        }
        self.last = Some((weights(&self.net.params)?, buffers(&self.net.params)?));
        Ok(Control::Continue)
    }
}

#[test]
fn a_periodic_checkpoint_is_never_at_a_displaced_point() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = &folder.path().join("run.safetensors");
    let (net, rule) = (wrn10(Norm::Batch, 8)?, &mut with_sam());
    let mut watch = Watch { net: &net, path, last: None, compared: 0 };
    let task = Task {
        objective: &net,
        params: &net.params,
        rule,
        optimizer: &mut Sgd { momentum: 0.9, ..Sgd::default() },
        data: &Loader::train(Arc::new(synthetic(40, 0, 4).train), 16, 5),
        epochs: EPOCHS,
        lr: 0.1,
        schedule: Schedule::cosine(),
        checkpoint: Some(CheckpointPolicy { path: path.clone(), every: Duration::ZERO, config: String::new() }),
    };
    fit(task, Progress::default(), &mut watch)?;
    assert_eq!(watch.compared, EPOCHS * STEPS - 1);
    Ok(())
}

#[test]
fn a_run_that_diverges_says_where_and_keeps_its_checkpoint() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = &folder.path().join("run.safetensors");
    let hour = Duration::from_secs(3600);
    for rule in [with_sam as Rule, with_rw_sam] {
        let run = Run { rule, seed: 9, resumes: false, every: hour, lr: 0.1, path };
        assert_eq!(run.go(&mut Stop::Step(0, 1), None)?.0, Outcome::Stopped);
        let before = std::fs::read(path)?;
        let (outcome, progress, _) = Run { resumes: true, lr: 1e36, ..run }.go(&mut (), None)?;
        // the third step is still taken with finite weights; what it makes of them is seen in the first of epoch 1
        assert_eq!(outcome, Outcome::Diverged { epoch: 1, step: 0 });
        assert_eq!((progress.epoch, progress.step), (1, 0));
        assert!(std::fs::read(path)? == before, "the checkpoint of a good point was replaced");
    }
    Ok(())
}

/// Weights that overflow are a divergence, and no error, whatever the rule makes of them.
#[test]
fn a_run_whose_weights_overflow_diverges() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = &folder.path().join("run.safetensors");
    for rule in [with_sam as Rule, with_rw_sam, with_m_rw_sam] {
        let run = Run { rule, seed: 9, resumes: false, every: Duration::from_secs(3600), lr: 1e300, path };
        assert_eq!(run.go(&mut (), None)?.0, Outcome::Diverged { epoch: 0, step: 1 });
    }
    Ok(())
}

#[test]
fn a_checkpoint_of_another_model_is_an_error_that_names_a_tensor() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = &folder.path().join("run.safetensors");
    let run = Run { rule: with_sam, seed: 10, resumes: false, every: Duration::ZERO, lr: 0.1, path };
    run.go(&mut Stop::Step(0, 0), None)?;
    let checkpoint = Checkpoint::read(path)?;
    let others = [(resnet8(Norm::Batch, 11)?, "\"bn1.bias\""), (wrn10(Norm::Group(32), 11)?, "\"block1.layer.0.bn1.")];
    for (other, named) in others {
        let before = weights(&other.params)?;
        let error = checkpoint.restore(&other.params, &mut Sgd::default(), &mut with_sam()).unwrap_err().to_string();
        assert!(error.contains("tensor \"") && error.contains(named), "{error}");
        assert!(weights(&other.params)? == before, "a checkpoint that does not fit changes nothing");
    }
    Ok(())
}

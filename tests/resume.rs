//! A resumed run ends as if it had never stopped, to the bit, wherever it was stopped.

use crate::problems::{Net, buffers, weights, wrn10};
use crate::runs::{EPOCHS, Rule, Run, STEPS, Stop, assert_same, with_m_rw_sam, with_rw_sam, with_sam};
use candle_core::Result;
use msharp_core::Alone;
use msharp_data::{Loader, synthetic};
use msharp_models::Norm;
use msharp_train::{
    Checkpoint, CheckpointPolicy, Control, Observer, Outcome, Progress, Schedule, Sgd, StepReport, Task, fit,
};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn a_resumed_run_ends_as_if_it_had_never_stopped() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = &folder.path().join("run.safetensors");
    let hour = Duration::from_secs(3600);
    for (name, rule) in [("SAM", with_sam as Rule), ("RW-SAM", with_rw_sam)] {
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
    }
    Ok(())
}

/// The power goes in the middle of a step: the run goes on from the last periodic checkpoint.
#[test]
fn a_run_goes_on_after_a_crash() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = &folder.path().join("run.safetensors");
    for (name, rule) in [("SAM", with_sam as Rule), ("m-RW-SAM", with_m_rw_sam)] {
        let run = Run { rule, seed: 6, resumes: false, every: Duration::ZERO, lr: 0.1, path };
        let straight = run.go(&mut (), None)?;
        let error = run.go(&mut (), Some(14)).err().expect("the objective fails").to_string();
        assert!(error.contains("the power is gone") && error.contains("step "), "{error}");
        let stands = Checkpoint::read(path)?.progress;
        assert!(stands.whole_run.steps > 0 && stands.epoch < EPOCHS, "{stands:?}");
        assert_same(&Run { resumes: true, seed: 7, ..run }.go(&mut (), None)?, &straight, name);
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
    assert_eq!((outcome, progress.epoch, progress.step), (Outcome::Stopped, 0, STEPS));
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
        schedule: Schedule::cosine(0.1),
        checkpoint: Some(CheckpointPolicy {
            every: Duration::ZERO,
            ..CheckpointPolicy::new(path.clone(), String::new())
        }),
        read_every: 1,
        ranks: &Alone,
    };
    fit(task, Progress::default(), &mut watch)?;
    assert_eq!(watch.compared, EPOCHS * STEPS - 1);
    Ok(())
}

/// Scores epochs by a list, whatever they learn.
struct Scored {
    scores: Vec<f64>,
    epoch: usize,
}

impl Observer for Scored {
    fn epoch(&mut self, progress: &Progress) -> Result<Control> {
        self.epoch = progress.epoch;
        Ok(Control::Continue)
    }

    fn score(&self) -> Option<f64> {
        self.scores.get(self.epoch).copied()
    }
}

#[test]
fn each_epoch_and_the_best_one_leave_a_checkpoint() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let policy = CheckpointPolicy {
        each_epoch: true,
        best: true,
        ..CheckpointPolicy::new(folder.path().join("run.safetensors"), "")
    };
    let net = wrn10(Norm::Batch, 8)?;
    let data = Loader::train(Arc::new(synthetic(40, 0, 4).train), 16, 5);
    let run = |observer: &mut dyn Observer, epochs, progress| {
        let (mut rule, mut sgd) = (with_sam(), Sgd::default());
        let task = Task::new(&net, &net.params, &mut rule, &mut sgd, &data, epochs, Schedule::constant(0.1));
        fit(Task { checkpoint: Some(policy.clone()), ..task }, progress, observer)
    };
    let mut scored = Scored { scores: vec![f64::NAN, 0.3, 0.9, f64::NAN, 0.5], epoch: 0 };
    let (_, progress) = run(&mut scored, 3, Progress::default())?;
    for epoch in 1..=3 {
        assert_eq!(Checkpoint::read(&policy.path_of_epoch(epoch))?.progress.epoch, epoch);
    }
    assert!(policy.path_of_epoch(2).ends_with("run.epoch-2.safetensors"));
    assert_eq!(Checkpoint::read(&policy.path_of_best())?.progress.epoch, 2);
    // Resumed, it compares with the best of before.
    let (_, progress) = run(&mut scored, 4, progress)?;
    assert_eq!((progress.best, Checkpoint::read(&policy.path_of_best())?.progress.epoch), (Some(0.9), 2));
    let error = run(&mut (), 1, Progress::default()).map(drop).unwrap_err().to_string();
    assert!(error.contains("Observer::score"), "{error}");
    Ok(())
}

//! Whole runs: data, network, rule and trainer learn, or say that they diverged.

use crate::problems::{resnet8, weights, wrn10};
use crate::runs::{Rule, Run, Stop, with_m_rw_sam, with_rw_sam, with_sam};
use candle_core::Result;
use msharp_core::Alone;
use msharp_data::{Augment, Dataset, Loader, synthetic};
use msharp_models::Norm;
use msharp_perturb::sam;
use msharp_train::{Checkpoint, Outcome, Progress, Schedule, Sgd, Task, evaluate, fit};
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
        schedule: Schedule::cosine(0.05),
        checkpoint: None,
        read_every: 1,
        ranks: &Alone,
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
        assert!(matches!(&outcome, Outcome::Diverged { epoch: 1, step: 0, .. }), "{outcome:?}");
        assert_eq!((progress.epoch, progress.step), (1, 0));
        assert!(std::fs::read(path)? == before, "the checkpoint of a good point was replaced");
    }
    Ok(())
}

/// Weights that overflow are a divergence in the step that made them, whatever the rule.
#[test]
fn a_run_whose_weights_overflow_diverges() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = &folder.path().join("run.safetensors");
    for rule in [with_sam as Rule, with_rw_sam, with_m_rw_sam] {
        let run = Run { rule, seed: 9, resumes: false, every: Duration::from_secs(3600), lr: 1e300, path };
        let outcome = run.go(&mut (), None)?.0;
        let Outcome::Diverged { epoch: 0, step: 0, what } = outcome else { panic!("{outcome:?}") };
        assert!(what.starts_with("block1.layer.0."), "the first parameter that overflowed is named: {what}");
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

//! Where a run starts: at its seed's initial weights, or at a poor minimum that another run, derived from it, has
//! reached.

use crate::config::{AugmentName, OptimizerName, RunConfig, ScheduleText, is_default};
use crate::datasets::Datasets;
use crate::experiments::standard;
use crate::{leftovers, run};
use anyhow::{Result, bail, ensure};
use clap::Args;
use msharp_train::Decay;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The learning rate that fits random labels, unless another is given.
pub const START_LR: f64 = 0.05;

/// Test images that show how a phase goes on; where it ends is measured as the run that follows measures.
const TESTED: usize = 200;

/// What a run is preceded by. Each phase is a run with a configuration of its own, in a folder beside the run's, which
/// all runs share that differ in their rule only.
#[derive(Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Start {
    /// Start where the same network has fitted uniformly random labels of the same images for so many epochs: SGD
    /// without augmentation or weight decay, a cosine from --start-lr
    #[arg(long, help_heading = "Where it starts")]
    #[serde(skip_serializing_if = "is_default")]
    pub after_random_labels: Option<usize>,
    /// And has then fitted the true labels for so many epochs: SGD without augmentation, at a constant --lr. The first
    /// half of a protocol that asks which rule leaves a poor minimum
    #[arg(long, help_heading = "Where it starts")]
    #[serde(skip_serializing_if = "is_default")]
    pub after_true_labels: Option<usize>,
    /// The learning rate on random labels [default: 0.05]
    #[arg(long, help_heading = "Where it starts", allow_hyphen_values = true)]
    #[serde(skip_serializing_if = "is_default")]
    pub start_lr: Option<f64>,
}

impl Start {
    /// Whether every number makes sense and every flag has an effect; an error names the flag.
    pub fn validate(&self, label_noise: f64) -> Result<()> {
        let Start { after_random_labels, after_true_labels, start_lr } = *self;
        for (flag, epochs) in [("after-random-labels", after_random_labels), ("after-true-labels", after_true_labels)] {
            ensure!(epochs != Some(0), "--{flag} is 0; expected at least 1 epoch, or no such flag");
        }
        for (flag, is_given) in [("after-true-labels", after_true_labels.is_some()), ("start-lr", start_lr.is_some())] {
            ensure!(
                !is_given || after_random_labels.is_some(),
                "--{flag} is about what follows random labels; expected --after-random-labels with it"
            );
        }
        ensure!(
            start_lr.is_none_or(|lr| lr > 0. && lr.is_finite()),
            "--start-lr is {start_lr:?}; expected a finite number above 0"
        );
        ensure!(
            after_random_labels.is_none() || label_noise == 0.,
            "--label-noise would be a part of the random labels, which are drawn from the same seed; expected none \
             with --after-random-labels"
        );
        Ok(())
    }
}

/// The run at whose end `config` starts; none if that is at initial weights. It may have one before it in turn.
pub fn before(config: &RunConfig) -> Option<RunConfig> {
    let Start { after_random_labels, after_true_labels, start_lr } = config.start;
    let random = after_random_labels?;
    // What the data are and who computes is the run's; its rule and its estimators are not.
    let same = RunConfig {
        subset: config.subset,
        test_subset: Some(config.test_subset.unwrap_or(TESTED).min(TESTED)),
        batch_size: config.batch_size,
        seed: config.seed,
        device: config.device,
        precision: config.precision,
        augment: AugmentName::None,
        ..standard(config.model, config.norm, config.data)
    };
    Some(match after_true_labels {
        Some(epochs) => RunConfig {
            epochs,
            lr: config.lr,
            schedule: ScheduleText(Decay::Constant),
            optimizer: config.optimizer,
            momentum: config.momentum,
            nesterov: config.nesterov,
            weight_decay: config.weight_decay,
            decay_weights_only: config.decay_weights_only,
            label_smoothing: config.label_smoothing,
            start: Start { after_true_labels: None, ..config.start.clone() },
            ..same
        },
        None => RunConfig {
            epochs: random,
            lr: start_lr.unwrap_or(START_LR),
            optimizer: OptimizerName::Sgd,
            weight_decay: 0.,
            // A wrong label with this chance, uniform over the others, is a label that is uniform over all.
            label_noise: 1. - 1. / config.data.classes() as f64,
            ..same
        },
    })
}

/// All that must be run before `configs`, each once, in the order in which they are needed.
pub fn all_before(configs: &[RunConfig]) -> Vec<RunConfig> {
    let mut all: Vec<RunConfig> = Vec::new();
    for config in configs {
        let mut chain: Vec<RunConfig> = std::iter::successors(before(config), before).collect();
        chain.reverse();
        chain.retain(|phase| !all.contains(phase));
        all.extend(chain);
    }
    all
}

/// The file of the weights that a run in `folder` starts from: those at the end of `before`, which is run beside it
/// unless it is done. `None` if the user stopped it.
pub fn weights(name: &str, before: &RunConfig, folder: &Path, data: &mut Datasets) -> Result<Option<PathBuf>> {
    let beside = folder.parent().unwrap_or(Path::new("")).join(before.id());
    let file = beside.join("weights.safetensors");
    if file.exists() {
        ensure!(
            msharp_core::metadata(&file)?.get("config") == Some(&before.json()),
            "{} is not what {name} starts from (its configuration is another one); expected none, or that",
            file.display()
        );
        return Ok(Some(file));
    }
    if let Some(fault) = leftovers::fault(&beside) {
        bail!(
            "the run diverged that {name} starts from: {fault}, in {}; expected a lower --lr or --start-lr, or that \
             folder empty",
            beside.display()
        )
    }
    let labels = if before.label_noise > 0. { "random" } else { "true" };
    let run_itself = name.split(" · start").next().unwrap_or(name);
    let title = format!("{run_itself} · start, {labels} labels");
    let Some(row) = run::run(&title, before, &beside, data)? else { return Ok(None) };
    if let Some(fault) = row.outcome.fault() {
        bail!(
            "the run diverged that {name} starts from: {fault}, in {}; expected a lower --lr or --start-lr",
            beside.display()
        )
    }
    Ok(Some(file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::parse;

    const FLAGS: &str = "--norm group --subset 64 --lr 0.01 --momentum 0 --weight-decay 0";

    #[test]
    fn all_rules_of_a_seed_share_what_comes_before() {
        let start = format!("{FLAGS} --after-random-labels 5 --after-true-labels 2");
        let (sam, rw) = (parse(&start), parse(&format!("{start} --rule rw-sam --estimator ghost --noise-every 3")));
        let phases = all_before(&[sam.clone(), rw, parse(&format!("{start} --seed 3"))]);
        assert_eq!(phases.len(), 4);
        let [random, truth] = &phases[..2] else { unreachable!() };
        assert_eq!((random.epochs, random.label_noise, random.lr, random.seed), (5, 0.9, START_LR, 0));
        assert_eq!((truth.epochs, truth.label_noise, truth.lr, truth.momentum), (2, 0., 0.01, 0.));
        assert_eq!((before(truth).as_ref(), before(random)), (Some(random), None));
        assert_eq!(before(&sam).as_ref(), Some(truth));
        for phase in &phases {
            phase.validate().unwrap();
            assert_eq!((phase.rule.name(), phase.subset, phase.augment), ("sgd", Some(64), AugmentName::None));
        }
    }

    #[test]
    fn a_start_is_part_of_the_record_and_none_leaves_no_trace() {
        let (plain, started) = (parse(FLAGS), parse(&format!("{FLAGS} --after-random-labels 5")));
        assert!(!plain.json().contains("start") && !plain.json().contains("after"));
        assert_ne!(plain.id(), started.id());
        assert_eq!(serde_json::from_str::<RunConfig>(&started.json()).unwrap(), started);
        assert_eq!(plain.differences(&started).unwrap(), ["after-random-labels"]);
        assert!(all_before(&[plain]).is_empty());
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (flags, flag) in [
            ("--after-random-labels 0", "--after-random-labels"),
            ("--after-true-labels 3", "--after-true-labels"),
            ("--start-lr 0.1", "--start-lr"),
            ("--after-random-labels 3 --start-lr 0", "--start-lr"),
            ("--after-random-labels 3 --label-noise 0.2", "--label-noise"),
        ] {
            let message = parse(flags).validate().unwrap_err().to_string();
            assert!(message.contains(flag) && message.contains("expected"), "{flags}: {message}");
        }
    }
}

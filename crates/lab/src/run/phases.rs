//! What a run is preceded by: the phases in which its network reaches a poor minimum, each a run of its own.

use super::{Site, leftovers};
use crate::config::start::START_LR;
use crate::config::{AugmentName, OptimisationConfig, RunConfig, ScheduleText, Start};
use crate::data::Datasets;
use crate::experiments::standard;
use crate::ranks::Ranks;
use anyhow::{Result, bail, ensure};
use msharp_train::Decay;
use std::path::{Path, PathBuf};

/// Test images that show how a phase goes on; where it ends is measured as the run that follows measures.
const TESTED: usize = 200;

/// The run at whose end `config` starts; none if that is at initial weights. It may have one before it in turn.
pub fn before(config: &RunConfig) -> Option<RunConfig> {
    let Start { after_random_labels, after_true_labels, start_lr } = config.start;
    let random = after_random_labels?;
    // What the data are and who computes is the run's; its rule and its estimators are not.
    let same = |c: &mut RunConfig| {
        (c.data.subset, c.data.validation) = (config.data.subset, config.data.validation);
        // Of fewer images that are held out all.
        let few = config.data.test_subset.unwrap_or(TESTED).min(TESTED);
        c.data.test_subset = Some(few).filter(|few| config.data.validation.is_none_or(|held| *few < held));
        c.data.augment = AugmentName::None;
        c.optimisation.batch_size = config.optimisation.batch_size;
        c.optimisation.seed = config.optimisation.seed;
        c.machine = config.machine.clone();
    };
    let base = standard(config.model.architecture, config.model.norm, config.data.set.clone()).with(same);
    Some(match after_true_labels {
        Some(epochs) => base.with(|c| {
            c.start = Start { after_true_labels: None, ..config.start.clone() };
            let OptimisationConfig { warm_up, accumulate, .. } = c.optimisation;
            let schedule = ScheduleText(Decay::Constant);
            c.optimisation =
                OptimisationConfig { epochs, schedule, warm_up, accumulate, ..config.optimisation.clone() };
        }),
        None => base.with(|c| {
            c.optimisation.epochs = random;
            c.optimisation.lr = start_lr.unwrap_or(START_LR);
            c.optimisation.weight_decay = 0.;
            // A wrong label with this chance, uniform over the others, is a label that is uniform over all.
            c.data.label_noise = config.data.set.classes().map_or(1., |classes| 1. - 1. / classes as f64);
        }),
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

/// Whether the run `before` another one is over, in a folder of `starts`: it left weights, or diverged.
pub fn is_over(before: &RunConfig, starts: &Path) -> bool {
    let folder = starts.join(before.id());
    folder.join("weights.safetensors").exists() || leftovers::fault(&folder).is_some()
}

/// The file of the weights that a run at `site` starts from: those at the end of `before`, which is run in a folder of
/// its own unless it is done; where folders are shared, it must be. `None` if the user stopped it.
pub fn weights(name: &str, before: &RunConfig, site: &Site, data: &mut Datasets) -> Result<Option<PathBuf>> {
    let folder = site.starts.join(before.id());
    let file = folder.join("weights.safetensors");
    if file.exists() {
        ensure!(
            msharp_core::metadata(&file)?.get("config") == Some(&before.json()),
            "{} is not what {name} starts from (its configuration is another one); expected none, or that",
            file.display()
        );
        return Ok(Some(file));
    }
    if let Some(fault) = leftovers::fault(&folder) {
        bail!(
            "the run diverged that {name} starts from: {fault}, in {}; expected a lower --lr or --start-lr, or that \
             folder empty",
            folder.display()
        )
    }
    ensure!(
        site.lease.is_none(),
        "{} is gone, from which {name} starts; expected it until all jobs are done",
        file.display()
    );
    let labels = if before.data.label_noise > 0. { "random" } else { "true" };
    let run_itself = name.split(" · start").next().unwrap_or(name);
    let title = format!("{run_itself} · start, {labels} labels");
    let of_start = Site { folder: &folder, ..*site };
    let Some(row) = super::run(&title, before, &of_start, data, &Ranks::alone())? else { return Ok(None) };
    if let Some(fault) = row.content.outcome.fault() {
        bail!(
            "the run diverged that {name} starts from: {fault}, in {}; expected a lower --lr or --start-lr",
            folder.display()
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
        assert_eq!(
            (random.optimisation.epochs, random.data.label_noise, random.optimisation.lr, random.optimisation.seed),
            (5, 0.9, START_LR, 0)
        );
        assert_eq!(
            (truth.optimisation.epochs, truth.data.label_noise, truth.optimisation.lr, truth.optimisation.momentum),
            (2, 0., 0.01, 0.)
        );
        assert_eq!((before(truth).as_ref(), before(random)), (Some(random), None));
        assert_eq!(before(&sam).as_ref(), Some(truth));
        for phase in &phases {
            phase.validate().unwrap();
            assert_eq!(
                (phase.perturbation.rule.name(), phase.data.subset, phase.data.augment),
                ("sgd", Some(64), AugmentName::None)
            );
        }
    }

    #[test]
    fn a_start_is_part_of_the_record_and_none_leaves_no_trace() {
        let (plain, started) = (parse(FLAGS), parse(&format!("{FLAGS} --after-random-labels 5")));
        assert!(!plain.json().contains("start") && !plain.json().contains("after"));
        assert_ne!(plain.id(), started.id());
        assert_eq!(serde_json::from_str::<RunConfig>(&started.json()).unwrap(), started);
        assert_eq!(plain.differences(&started)[0].setting, "after-random-labels");
        assert!(all_before(&[plain]).is_empty());
    }
}

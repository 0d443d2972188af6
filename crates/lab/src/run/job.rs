//! A run as a job of an experiment.

use super::outcome::{Run, RunRow};
use super::{Site, duration, leftovers, phases, run};
use crate::config::{DataName, DeviceName, PrecisionName, RunConfig};
use crate::experiments::{Job, Place};
use crate::{build, fetch, screen, weights};
use anyhow::{Context, Result, ensure};

/// The images that a run trains on, and whether some are held out.
fn data(config: &RunConfig) -> String {
    let noise = match config.data.label_noise {
        0. => String::new(),
        share => format!(" ({:.0} % wrong labels)", 100. * share),
    };
    let held = config.data.validation.map_or(String::new(), |n| format!(", {n} held out"));
    format!("{}{noise}{held}", config.data.set)
}

impl Job for RunConfig {
    type Content = Run;

    const IS_FOR_RANKS: bool = true;

    fn title(&self) -> String {
        let (rule, seed) = (self.rule_label_with_radius(), self.optimisation.seed);
        format!("{} on {} · {rule} · seed {seed}", self.model.architecture, data(self))
    }

    fn key(&self) -> String {
        self.id()
    }

    fn before(&self) -> Vec<Self> {
        phases::all_before(std::slice::from_ref(self))
    }

    fn is_made(&self, place: &Place) -> bool {
        phases::is_over(self, &place.folder)
    }

    fn is_of(&self, found: &Run) -> bool {
        *self == found.config
    }

    fn resolved(self) -> Result<Self> {
        weights::resolved(self)
    }

    fn on(self, device: DeviceName, precision: PrecisionName) -> Result<Self> {
        Ok(self.with(|c| (c.machine.device, c.machine.precision) = (device, precision)))
    }

    fn check(&self) -> Result<()> {
        self.validate().with_context(|| self.title())?;
        ensure!(
            *self == self.clone().canonical(),
            "{} has another record: it says what is at its default",
            self.title()
        );
        Ok(())
    }

    fn data(&self) -> Option<DataName> {
        Some(self.data.set.clone())
    }

    /// A line for each network, set and rule, with the number of runs.
    fn plan(jobs: &[Self]) -> Vec<String> {
        let mut lines: Vec<(String, usize)> = Vec::new();
        for config in jobs {
            let (network, rule) = (config.network_label(), config.rule_label_with_radius());
            let line = format!("  {network} on {} · {rule} · {} epochs", data(config), config.optimisation.epochs);
            match lines.iter_mut().find(|(known, _)| *known == line) {
                Some((_, runs)) => *runs += 1,
                None => lines.push((line, 1)),
            }
        }
        let counted =
            |(line, runs)| format!("{line} · {}", if runs == 1 { "1 run".to_owned() } else { format!("{runs} runs") });
        lines.into_iter().map(counted).collect()
    }

    fn prepare(missing: &[&Self], place: &mut Place) -> Result<Option<Vec<f64>>> {
        fetch::if_absent(missing, &place.data_dir)?;
        // Those that differ in their seed alone are checked once.
        let mut checked: Vec<RunConfig> = Vec::new();
        for config in missing {
            let alike = (*config).clone().with(|c| c.optimisation.seed = 0);
            if !checked.contains(&alike) {
                build::check(config, &mut place.data).with_context(|| config.title())?;
                checked.push(alike);
            }
            if place.is_shared {
                continue; // the folder may be another process's; a run looks again when it has its lease
            }
            let own = place.folder.join(config.id());
            if !own.join("checkpoint.safetensors").exists() {
                leftovers::check(&own, config)?;
            }
            leftovers::check_writable(&own)?;
        }
        let missing: Vec<RunConfig> = missing.iter().map(|config| (*config).clone()).collect();
        let mut all = phases::all_before(&missing);
        all.retain(|phase| !place.folder.join(phase.id()).join("weights.safetensors").exists());
        all.extend(missing);
        duration::seconds(&all, &mut place.data).map(Some)
    }

    fn run(&self, title: &str, place: &mut Place) -> Result<Option<RunRow>> {
        let folder = place.folder.join(self.id());
        let site = Site { folder: &folder, starts: &place.folder, lease: place.lease.as_ref() };
        let row = run(title, self, &site, &mut place.data, place.ranks)?;
        if let Some(fault) = row.as_ref().and_then(|row| row.content.outcome.fault()) {
            screen::say(format!("{title} diverged: {fault}; recorded as such"));
        }
        Ok(row)
    }

    /// Where CIFAR-10 is not at hand, an experiment that takes either would replace its rows by those of the synthetic
    /// set.
    fn check_replaces(jobs: &[Self], known: &[RunRow]) -> Result<()> {
        for row in known {
            let data = &row.content.config.data.set;
            ensure!(
                jobs.iter().any(|config| config.data.set == *data),
                "--record would replace rows of {} by rows of other images; expected --data-dir with {}",
                data,
                data
            );
        }
        Ok(())
    }
}

//! The experiments: each is a folder with its jobs and its page behind one trait, and an entry of [`ALL`].

pub mod cifar10;
pub mod cifar100;
pub mod cost;
pub mod drift;
pub mod escape;
pub mod estimators;
pub mod exit_time;
mod family;
pub mod imagenet;
mod job;
pub mod label_noise;
pub mod lambda;
pub mod m_sharpness;
pub mod noise_trace;
pub mod radius;
pub mod reweighting;
mod set_up;
pub mod toy;
pub mod trace;
pub mod vit;
pub mod weak_error;

pub use family::Family;
pub use job::{Job, Place};
pub use set_up::{four_rules, paired_runs, perturbed, set_up, set_up_of_all, standard};

use crate::config::{DataName, WeightsName};
use crate::fetch;
use crate::page::Page;
use crate::reproduce::{self, Request};
use crate::row::{self, Row};
use anyhow::{Context, Result, anyhow, ensure};
use clap::ValueEnum;
use std::path::Path;

/// Every experiment, in the order in which results list them.
pub static ALL: [&dyn AnyExperiment; 18] = [
    &toy::Toy,
    &cifar10::CIFAR10,
    &cifar100::CIFAR100,
    &trace::TRACE,
    &cost::COST,
    &imagenet::ImageNet,
    &vit::Vit,
    &escape::Escape,
    &noise_trace::NoiseTrace,
    &m_sharpness::MSharpness,
    &radius::Radius,
    &reweighting::Reweighting,
    &label_noise::LabelNoise,
    &lambda::Lambda,
    &estimators::STANDARD,
    &weak_error::WeakError,
    &drift::Drift,
    &exit_time::ExitTime,
];

/// The experiment of that name.
///
/// # Errors
/// Lists what there is.
pub fn find(name: &str) -> Result<&'static dyn AnyExperiment> {
    let known = || ALL.map(|experiment| experiment.name()).join(", ");
    let found = ALL.into_iter().find(|experiment| experiment.name() == name);
    found.with_context(|| format!("there is no experiment {name:?}; expected one of {}", known()))
}

/// How much of an experiment to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// Under two minutes: does everything work?
    Smoke,
    /// On two cores, minutes to hours: do the rules differ?
    Laptop,
    /// The published size, days on a CPU, or the largest that the experiment has
    Paper,
}

impl Preset {
    /// Every preset, the smallest first.
    pub const ALL: [Preset; 3] = [Preset::Smoke, Preset::Laptop, Preset::Paper];

    /// The one that made a row.
    ///
    /// # Errors
    /// If there is none of its name.
    pub fn of<C>(row: &Row<C>) -> Result<Self> {
        Preset::from_str(&row.preset, true).map_err(|_| anyhow!("there is no preset {:?}", row.preset))
    }
}

/// What an experiment is: the jobs of a preset, and the page of their rows.
pub trait Experiment: Sync {
    /// What it is made of: runs of networks, or series of numbers.
    type Job: Job;

    /// As it is typed.
    fn name(&self) -> &'static str;

    /// The question, in a line.
    fn question(&self) -> &'static str;

    /// The presets that it has.
    fn presets(&self) -> &'static [Preset] {
        &Preset::ALL
    }

    /// The jobs of a preset, with what is given from outside where the experiment takes it.
    ///
    /// # Errors
    /// If a part of it cannot be built.
    fn jobs(&self, preset: Preset, given: &Given) -> Result<Vec<Self::Job>>;

    /// Which of the flags `data` and `init-weights` have an effect on it.
    fn takes(&self) -> &'static [&'static str] {
        &[]
    }

    /// What is said before the jobs are run, of these jobs.
    fn about(&self, preset: Preset, jobs: &[Self::Job]) -> String;

    /// The page of rows, with its pictures.
    ///
    /// # Errors
    /// If the rows are none that its jobs make.
    fn page(&self, rows: &[Row<<Self::Job as Job>::Content>]) -> Result<Page>;

    /// The experiment whose rows it shows: itself, unless it is another view of them.
    fn rows_of(&self) -> &'static str {
        self.name()
    }

    /// The experiment in whose folder its jobs are done: itself, unless it shares some of them.
    fn jobs_with(&self) -> &'static str {
        self.rows_of()
    }
}

/// What an experiment takes from outside.
#[derive(Clone, Debug)]
pub struct Given {
    /// The images of experiments that are indifferent to which they have: what is at hand.
    pub images: DataName,
    /// `--data`.
    pub data: Option<DataName>,
    /// `--init-weights`.
    pub weights: Option<WeightsName>,
}

impl Given {
    /// Images that are at hand, and nothing else.
    pub fn of(images: DataName) -> Self {
        Self { images, data: None, weights: None }
    }

    /// Images, and a folder of pictures where the experiment is on somebody's own: enough to list its jobs.
    fn for_all_of(experiment: &impl Experiment, images: DataName) -> Self {
        let folder = experiment.takes().contains(&"data").then(|| DataName::Folder("pictures".into()));
        Self { data: folder, ..Self::of(images) }
    }
}

/// An experiment of any kind of jobs.
pub trait AnyExperiment: Sync {
    /// As it is typed.
    fn name(&self) -> &'static str;
    /// The question, in a line.
    fn question(&self) -> &'static str;
    /// The presets that it has.
    fn presets(&self) -> &'static [Preset];
    /// The experiment whose rows it shows.
    fn rows_of(&self) -> &'static str;
    /// The experiment in whose folder its jobs are done.
    fn jobs_with(&self) -> &'static str;
    /// Whether a preset reads the files of a published data set, where they are.
    ///
    /// # Errors
    /// If a part of it cannot be built.
    fn reads_files(&self, preset: Preset) -> Result<bool>;
    /// Does what is missing of a preset, prints what came out, draws the pictures.
    ///
    /// # Errors
    /// Before the first job, if that can be.
    fn reproduce(&self, request: &Request) -> Result<()>;
    /// The page of a file of rows.
    ///
    /// # Errors
    /// If there are no rows, or none of this experiment.
    fn page_of(&self, rows: &Path) -> Result<Page>;
    /// Keys and titles of the jobs of a preset with some images, which both tell them apart.
    ///
    /// # Errors
    /// If one of them cannot be done.
    fn jobs_of(&self, preset: Preset, images: DataName) -> Result<Vec<(String, String)>>;
}

impl<E: Experiment> AnyExperiment for E {
    fn name(&self) -> &'static str {
        Experiment::name(self)
    }

    fn question(&self) -> &'static str {
        Experiment::question(self)
    }

    fn presets(&self) -> &'static [Preset] {
        Experiment::presets(self)
    }

    fn rows_of(&self) -> &'static str {
        Experiment::rows_of(self)
    }

    fn jobs_with(&self) -> &'static str {
        Experiment::jobs_with(self)
    }

    fn reads_files(&self, preset: Preset) -> Result<bool> {
        let published = |job: &E::Job| job.data().is_some_and(|set| fetch::release(&set).is_some());
        Ok(self.jobs(preset, &Given::for_all_of(self, DataName::Cifar10))?.iter().any(published))
    }

    fn reproduce(&self, request: &Request) -> Result<()> {
        reproduce::reproduce(self, request)
    }

    fn page_of(&self, path: &Path) -> Result<Page> {
        let rows = row::read(path)?;
        ensure!(!rows.is_empty(), "{} has no row", path.display());
        self.page(&rows).with_context(|| format!("the page of {} from {}", Experiment::name(self), path.display()))
    }

    fn jobs_of(&self, preset: Preset, images: DataName) -> Result<Vec<(String, String)>> {
        self.jobs(preset, &Given::for_all_of(self, images))?
            .iter()
            .map(|job| job.check().map(|()| (job.key(), job.title())))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RunConfig;
    use crate::page::table::tests::row_of;
    use crate::run::outcome::{Ending, RunRow};
    use std::collections::BTreeSet;

    /// A new experiment is a folder and an entry, and nothing else: each folder has its entry.
    #[test]
    fn every_folder_is_an_experiment_and_every_experiment_a_folder() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/experiments");
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
        let folders: BTreeSet<String> = entries
            .filter(|entry| entry.file_type().unwrap().is_dir())
            .map(|entry| entry.file_name().to_string_lossy().replace('_', "-"))
            .collect();
        let names: BTreeSet<String> = ALL.iter().map(|experiment| experiment.name().to_owned()).collect();
        assert_eq!(folders, names);
        assert_eq!(names.len(), ALL.len());
        assert!(ALL.iter().all(|experiment| find(experiment.rows_of()).is_ok() && !experiment.question().is_empty()));
        let error = find("cifar11").map(drop).unwrap_err().to_string();
        assert!(error.contains("cifar11") && error.contains("cifar10, cifar100"), "{error}");
    }

    #[test]
    fn every_job_of_every_preset_can_be_done_and_is_there_once() {
        for experiment in ALL {
            for preset in experiment.presets() {
                for images in [DataName::Cifar10, DataName::Synthetic] {
                    let named = format!("{} {preset:?} {}", experiment.name(), images);
                    let jobs = experiment.jobs_of(*preset, images).unwrap_or_else(|error| panic!("{named}: {error:#}"));
                    let [keys, titles]: [BTreeSet<&String>; 2] =
                        [jobs.iter().map(|job| &job.0).collect(), jobs.iter().map(|job| &job.1).collect()];
                    assert!(!jobs.is_empty() && keys.len() == jobs.len() && titles.len() == jobs.len(), "{named}");
                    let is_file = |key: &&String| {
                        key.len() < 200 && key.chars().all(|c| c.is_alphanumeric() || "-@_".contains(c))
                    };
                    assert!(keys.iter().all(is_file), "{named}: {keys:?}");
                }
            }
        }
    }

    /// Rows are committed as they come, in any order, and some runs diverge.
    #[test]
    fn a_page_can_be_made_of_any_of_its_rows() {
        fn check(experiment: &impl Experiment<Job = RunConfig>) {
            let jobs = experiment.jobs(Preset::Laptop, &Given::of(DataName::Cifar10)).unwrap();
            let measures = ["train_accuracy", "train_accuracy_wrong", "noise_trace"].map(|name| (name, 0.5));
            let row = |config: &RunConfig| row_of(config.clone(), 0.5, &measures);
            let rows: Vec<RunRow> = jobs.iter().map(row).collect();
            let diverged = |mut row: RunRow| {
                (row.content.outcome, row.content.metrics.test_accuracy) =
                    (Ending::Diverged { epoch: 0, step: 0, what: String::new() }, None);
                row
            };
            let (n, some) = (rows.len(), |keep: &dyn Fn(usize) -> bool| {
                rows.iter().enumerate().filter(|(i, _)| keep(*i)).map(|(_, row)| row.clone()).collect::<Vec<_>>()
            });
            let ends = rows.iter().cloned().enumerate().map(|(i, row)| if i % 3 == 1 { diverged(row) } else { row });
            let parts = [
                some(&|i| i == 0),
                some(&|i| i + 1 == n),
                some(&|i| i < n / 4),
                some(&|i| i > n / 2),
                some(&|i| i % 5 == 2),
                ends.collect(),
                rows.iter().cloned().map(diverged).collect(),
            ];
            for (part, rows) in parts.iter().enumerate() {
                let name = format!("{}, part {part}", Experiment::name(experiment));
                let page = experiment.page(rows).unwrap_or_else(|error| panic!("{name}: {error:#}"));
                assert!(!page.text.contains("NaN"), "{name}: {}", page.text);
                page.pictures.iter().for_each(|picture| assert!(picture.figure.svg().is_ok(), "{name}"));
            }
        }
        check(&toy::Toy);
        check(&cifar10::CIFAR10);
        check(&cifar100::CIFAR100);
        check(&trace::TRACE);
        check(&cost::COST);
        check(&escape::Escape);
        check(&noise_trace::NoiseTrace);
        check(&m_sharpness::MSharpness);
        check(&radius::Radius);
        check(&reweighting::Reweighting);
        check(&label_noise::LabelNoise);
        check(&lambda::Lambda);
    }

    /// What is run twice would be paid for twice.
    #[test]
    fn experiments_that_share_a_folder_share_runs() {
        let given = Given::of(DataName::Synthetic);
        for preset in Preset::ALL {
            let (escape, trace) = (escape::Escape, noise_trace::NoiseTrace);
            let escape = escape.jobs(preset, &given).unwrap();
            assert_eq!(escape, trace.jobs(preset, &given).unwrap());
            let sharpness = m_sharpness::MSharpness.jobs(preset, &given).unwrap();
            let own = escape.iter().filter(|config| !sharpness.contains(config));
            assert!(own.clone().all(|config| config.perturbation.rule.name() == "n-sam"), "{preset:?}");
            assert!(own.count() < escape.len() / 2);
        }
    }
}

//! `reproduce weak-error`, `drift` and `exit-time`: the equations against the algorithms, in numbers; no network is
//! trained.

mod chart;
mod drift;
mod exit_time;
mod fit;
mod page;
mod row;
mod weak_error;

pub use page::{Page, pages};

use crate::claim::claim;
use crate::device::DeviceName;
use crate::experiments::{Experiment, Preset, typed};
use crate::host::{Host, revision};
use crate::screen::duration;
use crate::{interrupt, paths, rows};
use anyhow::{Result, anyhow};
use indicatif::{ProgressBar, ProgressStyle};
use msharp_core::write_aside;
use row::{Point, Row};
use std::cell::OnceCell;
use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

/// What an ensemble tells of its progress to, and hears from whether to stop.
type Tell<'a> = &'a (dyn Fn(u64, u64) -> ControlFlow<()> + Sync);

type Compute = Box<dyn Fn(Tell) -> Result<Vec<Point>>>;

/// A series of numbers that is computed in one go and recorded as one row.
struct Job {
    /// The figure that it is part of.
    figure: &'static str,
    /// Its name there.
    series: String,
    /// Everything that decides its numbers, for people; a row with another setting is computed again.
    setting: String,
    /// Computes it.
    compute: Compute,
}

impl Job {
    fn new(
        figure: &'static str,
        series: impl Into<String>,
        setting: impl Into<String>,
        compute: impl Fn(Tell) -> Result<Vec<Point>> + 'static,
    ) -> Self {
        Self { figure, series: series.into(), setting: setting.into(), compute: Box::new(compute) }
    }

    fn is(&self, row: &Row, preset: &str) -> bool {
        (row.preset.as_str(), row.figure.as_str()) == (preset, self.figure)
            && (row.series == self.series && row.setting == self.setting)
    }
}

/// What several series are made from, computed by the first of them that is asked for.
#[derive(Clone, Default)]
struct Once<T>(Rc<OnceCell<T>>);

impl<T: Clone> Once<T> {
    fn get(&self, compute: impl FnOnce() -> Result<T>) -> Result<T> {
        if let Some(known) = self.0.get() {
            return Ok(known.clone());
        }
        let new = compute()?;
        Ok(self.0.get_or_init(|| new).clone())
    }
}

/// One of the experiments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theory {
    WeakError,
    Drift,
    ExitTime,
}

impl Theory {
    /// The experiment, if it is one of these.
    pub fn of(experiment: Experiment) -> Option<Self> {
        match experiment {
            Experiment::WeakError => Some(Self::WeakError),
            Experiment::Drift => Some(Self::Drift),
            Experiment::ExitTime => Some(Self::ExitTime),
            _ => None,
        }
    }

    fn jobs(self, preset: Preset) -> Vec<Job> {
        match self {
            Self::WeakError => weak_error::jobs(preset),
            Self::Drift => drift::jobs(preset),
            Self::ExitTime => exit_time::jobs(preset),
        }
    }

    /// The page of its rows, and its pictures.
    fn page(self, rows: &[Row]) -> Result<Page> {
        match self {
            Self::WeakError => weak_error::page(rows),
            Self::Drift => drift::page(rows),
            Self::ExitTime => exit_time::page(rows),
        }
    }
}

/// Computes what the rows in `out` do not have, writes page and pictures beside them, and with `record` puts all of it
/// among the committed results.
pub fn reproduce(
    experiment: Experiment,
    theory: Theory,
    preset: Preset,
    out: Option<PathBuf>,
    record: bool,
) -> Result<()> {
    let (name, preset_name) = (typed(experiment), typed(preset));
    let folder = out.unwrap_or_else(|| paths::runs().join(format!("{name}-{preset_name}")));
    let path = folder.join("rows.jsonl");
    let jobs = theory.jobs(preset);
    let _claim = claim(&folder)?;
    msharp_core::check_writable(&path)?;
    if record {
        msharp_core::check_writable(&paths::results().join(&name).join("rows.jsonl"))?;
    }
    let known: Vec<Row> = rows::read(&path, "results")?;
    let missing: Vec<&Job> = jobs.iter().filter(|job| !known.iter().any(|row| job.is(row, &preset_name))).collect();
    println!(
        "{name}-{preset_name}: {} series, {} done before. Rows: {}",
        jobs.len(),
        jobs.len() - missing.len(),
        path.display()
    );
    interrupt::listen()?;
    let started = Instant::now();
    for (k, job) in missing.iter().enumerate() {
        let gone = started.elapsed().as_secs_f64();
        let left = if k == 0 {
            String::new()
        } else {
            format!(", about {} to go", duration(gone / k as f64 * (missing.len() - k) as f64))
        };
        let title =
            format!("[{}/{}] {} · {} · {} gone{left}", k + 1, missing.len(), job.figure, job.series, duration(gone));
        let Some(row) = compute(&title, job, &preset_name)? else {
            println!("stopped; the same command goes on from here");
            return Ok(());
        };
        rows::record(&path, rows::read(&path, "results")?, row, |known, row| known.is_of(row))?;
    }
    let found: Vec<Row> = rows::read(&path, "results")?;
    let row_of = |job: &Job| found.iter().find(|row| job.is(row, &preset_name)).cloned();
    let rows: Vec<Row> = jobs.iter().filter_map(row_of).collect();
    let page = theory.page(&rows)?;
    println!("\n{}", page.text);
    for (path, contents) in page.files(&folder) {
        write(&path, &contents)?;
    }
    println!("page and pictures are in {}", folder.display());
    if record {
        let folder = paths::results().join(&name);
        std::fs::create_dir_all(&folder)?;
        rows::write(&folder.join("rows.jsonl"), &rows)?;
        for (path, contents) in page.files(&folder) {
            write(&path, &contents)?;
        }
        println!("recorded in {}; `cargo xtask report` rewrites the README", folder.display());
    }
    Ok(())
}

fn write(path: &Path, contents: &str) -> Result<()> {
    Ok(write_aside(path, |file| Ok(file.write_all(contents.as_bytes())?))?)
}

/// Runs a job under a bar; `None` if the user asked to stop.
fn compute(title: &str, job: &Job, preset: &str) -> Result<Option<Row>> {
    if interrupt::requested() {
        return Ok(None);
    }
    let bar = std::io::stderr().is_terminal().then(|| {
        let style = ProgressStyle::with_template("{prefix} {bar:24} {percent} %");
        ProgressBar::new(1)
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
            .with_prefix(title.to_owned())
    });
    if bar.is_none() {
        eprintln!("{title}");
    }
    let tell = |done: u64, of: u64| {
        if let Some(bar) = &bar {
            bar.set_length(of);
            bar.set_position(done);
        }
        if interrupt::requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let started = Instant::now();
    let points = (job.compute)(&tell);
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    if interrupt::requested() {
        return Ok(None);
    }
    Ok(Some(Row {
        preset: preset.to_owned(),
        figure: job.figure.to_owned(),
        series: job.series.clone(),
        setting: job.setting.clone(),
        points: points.map_err(|error| anyhow!("{} · {}: {error:#}", job.figure, job.series))?,
        seconds: started.elapsed().as_secs_f64(),
        host: Host::this(DeviceName::Cpu),
        revision: revision().to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every series in smoke size, computed twice, by one thread and by three.
    #[test]
    fn smoke_presets_have_the_same_bits_for_any_number_of_threads() {
        for theory in [Theory::WeakError, Theory::Drift, Theory::ExitTime] {
            let all = |threads: usize| -> Vec<Row> {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let of = |job: &Job| Row {
                    preset: "smoke".to_owned(),
                    figure: job.figure.to_owned(),
                    series: job.series.clone(),
                    setting: job.setting.clone(),
                    points: (job.compute)(&msharp_sde::silent).unwrap(),
                    seconds: 0.,
                    host: Host { threads: 0, ..Host::this(DeviceName::Cpu) },
                    revision: String::new(),
                };
                pool.install(|| theory.jobs(Preset::Smoke).iter().map(of).collect())
            };
            let rows = all(1);
            assert_eq!(rows, all(3));
            let page = theory.page(&rows).unwrap();
            assert!(!page.text.contains("NaN") && !page.short.is_empty());
            for (name, svg) in &page.pictures {
                assert!(page.text.contains(name) && svg.contains("<polyline"), "{name}");
            }
        }
    }

    /// A larger preset computes the same figures, and a setting tells the presets' numbers apart where they differ.
    #[test]
    fn presets_have_the_same_figures_and_each_series_once() {
        for theory in [Theory::WeakError, Theory::Drift, Theory::ExitTime] {
            let names = |preset| {
                let of = |job: &Job| (job.figure, job.series.clone());
                theory.jobs(preset).iter().map(of).collect::<Vec<_>>()
            };
            let (laptop, paper) = (names(Preset::Laptop), names(Preset::Paper));
            assert_eq!(laptop, paper, "{theory:?}");
            assert!(names(Preset::Smoke).iter().all(|name| laptop.contains(name)), "{theory:?}");
            let once = |name| laptop.iter().filter(|other| *other == name).count() == 1;
            assert!(laptop.iter().all(once), "{theory:?}");
            let settings = |preset| theory.jobs(preset).into_iter().map(|job| job.setting).collect::<Vec<_>>();
            assert_ne!(settings(Preset::Laptop), settings(Preset::Paper), "{theory:?}");
        }
    }

    #[test]
    fn a_row_of_another_setting_is_computed_again() {
        let job = |setting: &str| Job::new("figure", "series", setting, |_| Ok(vec![Point::exact(1., 2.)]));
        let row = Row {
            preset: "smoke".to_owned(),
            figure: "figure".to_owned(),
            series: "series".to_owned(),
            setting: "ρ = 0.1".to_owned(),
            points: Vec::new(),
            seconds: 0.,
            host: Host::this(DeviceName::Cpu),
            revision: String::new(),
        };
        assert!(job("ρ = 0.1").is(&row, "smoke"));
        assert!(!job("ρ = 0.2").is(&row, "smoke") && !job("ρ = 0.1").is(&row, "laptop"));
    }
}

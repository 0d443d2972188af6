//! An experiment from its jobs to its page: what is done is not done again, and what is recorded becomes a committed
//! result.

use crate::claim::{claim, share};
use crate::config::{DataName, DeviceName, PrecisionName, WeightsName, typed};
use crate::experiments::{ALL, AnyExperiment, Experiment, Given, Job, Place, Preset};
use crate::page::{Page, Picture};
use crate::ranks::{self, Meeting, Ranks};
use crate::row::{self, Content, Row};
use crate::screen::{self, duration, out};
use crate::shared::{self, Plan};
use crate::{interrupt, jsonl, paths};
use anyhow::{Result, ensure};
use msharp_core::write_aside;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How much of an experiment, where, on what, and by whom.
pub struct Request<'a> {
    /// How much of it.
    pub preset: Preset,
    /// The folder for rows, checkpoints, logs and plots; by default `runs/EXPERIMENT-PRESET`.
    pub out: Option<PathBuf>,
    /// Where image files are.
    pub data_dir: PathBuf,
    /// The pictures of an experiment that is on the user's own.
    pub data: Option<DataName>,
    /// The weights of an experiment that starts from published ones.
    pub weights: Option<WeightsName>,
    /// The device.
    pub device: DeviceName,
    /// What a GPU multiplies.
    pub precision: PrecisionName,
    /// Whether the rows are put among the committed results: if the user stops, those that are done by then.
    pub record: bool,
    /// Whether jobs of committed rows are left out, of this experiment or of one that shares them.
    pub only_missing: bool,
    /// The time of a lease, where the jobs are [shared] with other processes.
    pub shared: Option<Duration>,
    /// The ranks that do each job together, all of which call this.
    pub ranks: &'a Ranks<'a>,
}

/// Runs what is not done yet, prints table and findings, and draws the pictures, in the folder's files and in the
/// terminal.
///
/// # Errors
/// Before the first job whatever can be known then; a job's own error otherwise.
pub fn reproduce<E: Experiment>(experiment: &E, request: &Request) -> Result<()> {
    let Request { preset, out: folder, data_dir, data, weights, device, precision, record, only_missing, .. } = request;
    let (shared, ranks) = (&request.shared, request.ranks);
    if shared.is_none() && !E::Job::IS_FOR_RANKS {
        ranks::refuse(&format!("reproduce {} without --shared", Experiment::name(experiment)))?;
    }
    let (name, presets) = (Experiment::name(experiment), Experiment::presets(experiment));
    ensure!(
        presets.contains(preset),
        "--preset is {}, which {name} does not have; expected {}",
        typed(*preset),
        presets.iter().map(|preset| typed(*preset)).collect::<Vec<_>>().join(" or ")
    );
    for (flag, is_given) in [("data", data.is_some()), ("init-weights", weights.is_some())] {
        ensure!(
            !is_given || experiment.takes().contains(&flag),
            "--{flag} has no effect on {name}, which chooses its own; expected none"
        );
    }
    let place_name = if *device == DeviceName::Cpu { String::new() } else { format!("-{}", typed(*device)) };
    let named = |experiment: &str| format!("{experiment}-{}{place_name}", typed(*preset));
    let folder = folder.clone().unwrap_or_else(|| paths::runs().join(named(experiment.jobs_with())));
    let mut place = Place { is_shared: shared.is_some(), ..Place::new(&folder, data_dir, ranks) };
    let given = Given { data: data.clone(), weights: weights.clone(), ..Given::of(place.images()) };
    let jobs = experiment.jobs(*preset, &given)?;
    let jobs: Vec<E::Job> =
        jobs.into_iter().map(|job| job.on(*device, *precision)?.resolved()).collect::<Result<_>>()?;
    jobs.iter().try_for_each(Job::check)?;
    let path = folder.join("rows.jsonl");
    let shares = |other: &&'static dyn AnyExperiment| other.jobs_with() == Experiment::jobs_with(experiment);
    let mut sharing: Vec<&str> = ALL.into_iter().filter(shares).map(|other| other.rows_of()).collect();
    sharing.dedup();
    row::check_experiments(&path, &sharing)?;
    let mut done = shared::rows(&folder, &jobs)?;
    let results = |rows_of: &str| paths::results().join(named(rows_of)).join("rows.jsonl");
    let known = if *only_missing {
        // Also those of experiments with which this one has jobs in common.
        let of_all = sharing.iter().map(|other| row::read::<<E::Job as Job>::Content>(&results(other)));
        of_all.collect::<Result<Vec<_>>>()?.concat()
    } else {
        Vec::new()
    };
    done.extend(known.iter().cloned());
    let results = results(Experiment::rows_of(experiment));
    let committed = if *record { row::read(&results)? } else { Vec::new() };
    let is_done = |job: &&E::Job| done.iter().any(|row| job.is_of(&row.content));
    let missing: Vec<&E::Job> = jobs.iter().filter(|job| !is_done(job)).collect();

    let about = experiment.about(*preset, &jobs);
    out(format!("{}: {}", named(name), experiment.question()));
    if !about.is_empty() {
        out(about);
    }
    E::Job::plan(&jobs).into_iter().for_each(out);
    out(format!("{} jobs, {} done before. Rows: {}", jobs.len(), jobs.len() - missing.len(), path.display()));
    // A folder that cannot be written, or is in use, is found out before anything is downloaded or computed.
    let _claim = match shared {
        Some(_) => Some(share(&folder)?),
        None => ranks.leads().then(|| claim(&folder)).transpose()?,
    };
    let expected = if ranks.leads() { E::Job::prepare(&missing, &mut place)? } else { None };
    if shared.is_none() && ranks.leads() {
        msharp_core::check_writable(&path)?;
    }
    if *record && ranks.leads() {
        msharp_core::check_writable(&results)?;
        E::Job::check_replaces(&jobs, &committed)?;
    }
    if let (Some(expected), false) = (expected, missing.is_empty()) {
        let (longest, jobs) = (expected.iter().copied().fold(0., f64::max), missing.len());
        let total = duration(expected.iter().sum());
        out(format!("expected: {total} for {jobs} jobs, up to {} each", duration(longest)));
    }

    interrupt::listen()?;
    ranks.meet(Meeting::of_jobs(&named(name), missing.iter().map(|job| job.key())))?;
    let started = Instant::now();
    let as_result = |row| {
        let (experiment, preset) = (Experiment::rows_of(experiment).to_owned(), typed(*preset));
        Row { experiment, preset, ..row }
    };
    let is_finished = match shared {
        None => one_by_one(&missing, &mut place, |row| match ranks.leads() {
            true => row::record(&path, &as_result(row)),
            false => Ok(()),
        })?,
        Some(time) => {
            let starts = shared::starts(&missing);
            Plan::new(&named(name), &folder, *time, &jobs, &starts, &done)?.run(&mut place, as_result)?
        }
    };
    ranks.all().barrier()?; // what rank 0 has recorded is there, and no rank ends before the others
    if !ranks.leads() {
        return Ok(());
    }
    // In the order of the experiment, whichever made them.
    let mut made = if is_finished { shared::gather(&folder, &jobs)? } else { shared::rows(&folder, &jobs)? };
    made.extend(known);
    if !is_finished {
        made.extend(committed);
    }
    let own = |job: &E::Job| {
        let row = made.iter().find(|row| job.is_of(&row.content))?.clone();
        Some(Row { experiment: Experiment::rows_of(experiment).to_owned(), ..row })
    };
    let rows: Vec<Row<_>> = jobs.iter().filter_map(own).collect();
    if !is_finished {
        if *record {
            put(&results, &rows, jobs.len())?;
        }
        out("stopped; the same command goes on from here");
        return Ok(());
    }
    let page = experiment.page(&rows)?;
    show(&page);
    let beside = folder.join(format!("page-{name}"));
    for (path, contents) in page.files(&beside)? {
        write(&path, &contents)?;
    }
    out(format!("page and pictures: {}", beside.display()));
    if !missing.is_empty() {
        out(format!("{} jobs took {}", missing.len(), duration(started.elapsed().as_secs_f64())));
    }
    if *record {
        put(&results, &rows, jobs.len())?;
    }
    Ok(())
}

/// Makes `rows` the committed results, those of so many jobs.
fn put<C: Content>(path: &Path, rows: &[Row<C>], jobs: usize) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    rows.iter().try_for_each(|row| row.content.check())?;
    path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
    jsonl::write(path, rows)?;
    let of = if rows.len() < jobs { format!(" of {jobs}") } else { String::new() };
    out(format!("{}{of} rows recorded in {}; `cargo xtask report` rewrites RESULTS.md", rows.len(), path.display()));
    Ok(())
}

/// Does `missing` and records each row; false if the user stopped it.
fn one_by_one<J: Job>(
    missing: &[&J],
    place: &mut Place,
    record: impl Fn(Row<J::Content>) -> Result<()>,
) -> Result<bool> {
    let started = Instant::now();
    for (k, job) in missing.iter().enumerate() {
        let gone = started.elapsed().as_secs_f64();
        let left = match k {
            0 => String::new(),
            k => format!(" · about {} to go", duration(gone / k as f64 * (missing.len() - k) as f64)),
        };
        let title = format!("[{}/{}] {}{left}", k + 1, missing.len(), job.title());
        let stops = place.ranks.all().any(interrupt::requested())?;
        let found = if stops { None } else { job.run(&title, place)? };
        let Some(row) = found else { return Ok(false) };
        record(row)?;
    }
    Ok(true)
}

/// Table, curves and findings, in the terminal.
fn show(page: &Page) {
    out(format!("\n{}", page.table));
    if let Some(Picture { figure, .. }) = page.pictures.first() {
        out(figure.text(screen::columns()));
    }
    page.findings.iter().for_each(|finding| out(format!("- {finding}")));
    out("");
}

/// Writes a file of a page.
pub fn write(path: &Path, contents: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    Ok(write_aside(path, |file| Ok(file.write_all(contents.as_bytes())?))?)
}

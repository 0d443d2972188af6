//! A plan: the jobs of an experiment that several processes do, each where it finds one that nobody does.

use super::lease::{Lease, Leases};
use super::numbers::Holder;
use super::rows::row_file;
use crate::experiments::{Job, Place};
use crate::row::{Content, Row};
use crate::screen::{self, duration};
use crate::{interrupt, jsonl};
use anyhow::{Context, Result, bail};
use msharp_core::write_once;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// The jobs of an experiment that are to be done in a folder.
pub struct Plan<'a, J: Job> {
    folder: &'a Path,
    leases: Leases,
    work: Vec<Work<'a, J>>,
    results: usize,
    /// The keys of the jobs whose rows are there.
    done: BTreeSet<String>,
    /// Since when this process knows that others do a work.
    others: BTreeMap<String, Instant>,
    took: Vec<f64>,
    said: String,
}

/// What one process does under one lease.
struct Work<'a, J> {
    lease: String,
    jobs: Vec<&'a J>,
    /// It makes what others start from, and no result.
    is_start: bool,
}

impl<J: Job> Work<'_, J> {
    fn title(&self, job: &J) -> String {
        format!("{}{}", job.title(), if self.is_start { " · start of other runs" } else { "" })
    }
}

/// What must be done before `jobs`, each once, in the order in which it is needed.
pub fn starts<J: Job>(jobs: &[&J]) -> Vec<J> {
    let mut all: Vec<J> = Vec::new();
    for start in jobs.iter().flat_map(|job| job.before()) {
        if all.iter().all(|known| known.key() != start.key()) {
            all.push(start);
        }
    }
    all
}

impl<'a, J: Job> Plan<'a, J> {
    /// Of `jobs`, those that are not in `rows` are to be done, and their `starts` before them. `name` is that of the
    /// experiment and its preset, `time` that of a lease.
    ///
    /// # Errors
    /// If other processes do other jobs under that name in `folder`, with the first that differs; if the folder cannot
    /// be written.
    pub fn new(
        name: &str,
        folder: &'a Path,
        time: Duration,
        jobs: &'a [J],
        starts: &'a [J],
        rows: &[Row<J::Content>],
    ) -> Result<Self> {
        let own = folder.join("shared");
        agree(&own.join(format!("{name}.plan")), jobs)?;
        let all = starts.iter().map(|start| (start, true)).chain(jobs.iter().map(|job| (job, false)));
        let mut work: Vec<Work<J>> = Vec::new();
        for (job, is_start) in all {
            let lease = job.group();
            match work.iter_mut().find(|work| work.lease == lease) {
                Some(work) => work.jobs.push(job),
                None => work.push(Work { lease, jobs: vec![job], is_start }),
            }
        }
        let is_done = |job: &&J| rows.iter().any(|row| job.is_of(&row.content));
        Ok(Self {
            folder,
            leases: Leases::of(&own, Holder::this(time))?,
            work,
            results: jobs.len(),
            done: jobs.iter().filter(is_done).map(Job::key).collect(),
            others: BTreeMap::new(),
            took: Vec::new(),
            said: String::new(),
        })
    }

    /// Does what no other process does, until all is done; false if the user stopped this process. `finished` makes a
    /// result of the row of a job.
    ///
    /// # Errors
    /// Those of a job, whose lease is free then; if the folder cannot be read or written.
    pub fn run(&mut self, place: &mut Place, finished: impl Fn(Row<J::Content>) -> Row<J::Content>) -> Result<bool> {
        loop {
            if interrupt::requested() {
                return Ok(false);
            }
            self.look()?;
            if self.done.len() == self.results {
                return Ok(true);
            }
            let Some((k, lease)) = self.take(place)? else {
                self.wait(place);
                continue;
            };
            place.lease = Some(lease);
            let went_on = self.work(k, place, &finished);
            let lease = place.lease.take();
            match went_on {
                Err(error) if lease.as_ref().is_some_and(Lease::is_lost) => {
                    screen::say(format!("{error:#}; this process leaves that job to the other one"));
                }
                Ok(true) => {}
                other => return other,
            }
        }
    }

    /// What is done, and what others do.
    fn look(&mut self) -> Result<()> {
        self.leases.look()?;
        for job in self.work.iter().filter(|work| !work.is_start).flat_map(|work| &work.jobs) {
            if !self.done.contains(&job.key()) && row_file(self.folder, *job).exists() {
                self.done.insert(job.key());
            }
        }
        let leases = &self.leases;
        self.others.retain(|name, _| leases.holder(name).is_some());
        for work in self.work.iter().filter(|work| leases.holder(&work.lease).is_some()) {
            self.others.entry(work.lease.clone()).or_insert_with(Instant::now);
        }
        Ok(())
    }

    fn is_done(&self, work: &Work<J>, place: &Place) -> bool {
        work.jobs.iter().all(|job| match work.is_start {
            true => job.is_made(place),
            false => self.done.contains(&job.key()),
        })
    }

    /// The first work that is not done, that can begin, and whose lease this process gets.
    fn take(&mut self, place: &Place) -> Result<Option<(usize, Lease)>> {
        for (k, work) in self.work.iter().enumerate() {
            let can_begin = |job: &&J| job.before().iter().all(|start| start.is_made(place));
            if self.is_done(work, place) || !work.jobs.iter().all(can_begin) {
                continue;
            }
            if let Some(lease) = self.leases.take(&work.lease)? {
                return Ok(Some((k, lease)));
            }
        }
        Ok(None)
    }

    /// Does the jobs of a work that are not done, and records their rows; false if the user stopped it.
    fn work(
        &mut self,
        k: usize,
        place: &mut Place,
        finished: impl Fn(Row<J::Content>) -> Row<J::Content>,
    ) -> Result<bool> {
        let Work { jobs, is_start, .. } = &self.work[k];
        for job in jobs {
            let path = row_file(self.folder, *job);
            if if *is_start { job.is_made(place) } else { path.exists() } {
                continue; // another process did it before the lease was taken
            }
            let started = Instant::now();
            let title = format!("[{} of {} done] {}", self.done.len(), self.results, self.work[k].title(job));
            let Some(row) = job.run(&title, place)? else { return Ok(false) };
            if *is_start {
                continue;
            }
            let row = finished(row);
            row.content.check()?;
            let text = jsonl::line(&row)?;
            place.renew()?;
            if !write_once(&path, |file| Ok(writeln!(file, "{text}")?))? {
                screen::say(format!("{} was recorded by another process, whose row is kept", job.title()));
            }
            self.done.insert(job.key());
            self.took.push(started.elapsed().as_secs_f64());
        }
        Ok(true)
    }

    /// Says what is waited for, where that is new, and waits a little.
    fn wait(&mut self, place: &Place) {
        let of_others = |work: &&Work<J>| !self.is_done(work, place) && self.leases.holder(&work.lease).is_some();
        let all: Vec<&Work<J>> = self.work.iter().filter(of_others).collect();
        let one = |work: &&Work<J>| {
            let holder = self.leases.holder(&work.lease).map_or(String::new(), Holder::to_string);
            format!("{} ({holder})", work.title(work.jobs[0]))
        };
        let mut text = format!(
            "waiting for other processes, {} of {} jobs done: {}",
            self.done.len(),
            self.results,
            all.iter().take(SHOWN).map(one).collect::<Vec<_>>().join(", ")
        );
        if all.len() > SHOWN {
            text.push_str(&format!(" and {} more", all.len() - SHOWN));
        }
        if !all.is_empty() && text != self.said {
            screen::say(format!("{text}{}", self.to_go(&all)));
            self.said = text;
        }
        let until = Instant::now() + self.leases.time().min(LONGEST_WAIT) / 4;
        while Instant::now() < until && !interrupt::requested() {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// At most so long, if others are as fast as this process was.
    fn to_go(&self, all: &[&Work<J>]) -> String {
        if self.took.is_empty() {
            return String::new();
        }
        let mean = self.took.iter().sum::<f64>() / self.took.len() as f64;
        let left = |work: &&Work<J>| {
            let gone = self.others.get(&work.lease).map_or(0., |since| since.elapsed().as_secs_f64());
            mean * work.jobs.len() as f64 - gone
        };
        format!("; at most about {} to go", duration(all.iter().map(left).fold(0., f64::max)))
    }
}

/// So many of the jobs that others do are named.
const SHOWN: usize = 3;

/// Nobody looks more rarely than four times in it.
const LONGEST_WAIT: Duration = Duration::from_secs(8);

/// Whether the processes that share a folder have the same jobs: the first of them lists its own.
fn agree<J: Job>(path: &Path, jobs: &[J]) -> Result<()> {
    let own: String = jobs.iter().map(|job| format!("{} {}\n", job.key(), job.title())).collect();
    if write_once(path, |file| Ok(file.write_all(own.as_bytes())?))? {
        return Ok(());
    }
    let all = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    if own == all {
        return Ok(());
    }
    let difference = match own.lines().zip(all.lines()).find(|(here, there)| here != there) {
        Some((here, there)) => format!("{there:?}, and here {here:?}"),
        None => format!("{}, and here {}", all.lines().count(), own.lines().count()),
    };
    bail!(
        "{} lists other jobs: {difference}; expected the same program, flags and images in all processes that share the \
         folder, or another --out. If the program is newer, and none of the old processes runs, delete this file: jobs \
         that are done stay done",
        path.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranks::Ranks;
    use crate::series::{Point, SeriesJob};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Barrier, LazyLock};

    const TIME: Duration = Duration::from_secs(2);

    /// Six series, the first two and the last two of them made from one computation; `count` counts them.
    fn jobs(count: &Arc<AtomicUsize>) -> Vec<SeriesJob> {
        let one = |k: usize| {
            let count = count.clone();
            let job = SeriesJob::new("figure", format!("series {k}"), "a setting", move |_| {
                count.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(30));
                Ok(vec![Point::exact(k as f64, 1.)])
            });
            match k {
                0 | 1 => job.from_once("first"),
                4 | 5 => job.from_once("last"),
                _ => job,
            }
        };
        (0..6).map(one).collect()
    }

    fn place(folder: &Path) -> Place<'static> {
        static ALONE: LazyLock<Ranks> = LazyLock::new(Ranks::alone);
        Place { is_shared: true, ..Place::new(folder, Path::new("none"), &ALONE) }
    }

    #[test]
    fn processes_do_each_job_once_and_all_end_when_all_is_done() {
        let folder = tempfile::tempdir().unwrap();
        let (count, barrier) = (Arc::new(AtomicUsize::new(0)), Barrier::new(3));
        let went_on = || {
            let jobs = jobs(&count);
            let mut plan = Plan::new("a test", folder.path(), TIME, &jobs, &[], &[]).unwrap();
            assert_eq!(plan.work.iter().map(|work| work.jobs.len()).collect::<Vec<_>>(), [2, 1, 1, 2]);
            barrier.wait();
            let is_finished = plan.run(&mut place(folder.path()), |row| row).unwrap();
            (is_finished, super::super::rows(folder.path(), &jobs).unwrap().len())
        };
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..3).map(|_| scope.spawn(went_on)).collect();
            all.into_iter().for_each(|thread| assert_eq!(thread.join().unwrap(), (true, 6)));
        });
        assert_eq!(count.load(Ordering::Relaxed), 6);
    }

    #[test]
    fn rows_that_are_there_are_not_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let count = Arc::new(AtomicUsize::new(0));
        let jobs = jobs(&count);
        let run = |jobs: &[SeriesJob], known: &[Row<_>]| {
            let mut plan = Plan::new("a test", folder.path(), TIME, jobs, &[], known).unwrap();
            assert!(plan.run(&mut place(folder.path()), |row| Row { preset: "smoke".to_owned(), ..row }).unwrap());
        };
        let known = jobs[2].run("series 2", &mut place(folder.path())).unwrap().unwrap();
        run(&jobs, &[known]);
        run(&jobs, &[]);
        assert_eq!(count.load(Ordering::Relaxed), 7, "the third was computed by hand, and by the plan that has no row");
        let rows = super::super::rows(folder.path(), &jobs).unwrap();
        assert!(rows.len() == 6 && rows.iter().all(|row| row.preset == "smoke"));
    }

    #[test]
    fn a_job_that_fails_is_named_and_its_lease_is_free_for_another_process() {
        let folder = tempfile::tempdir().unwrap();
        let failing = [SeriesJob::new("figure", "series", "", |_| bail!("no memory"))];
        let mut plan = Plan::new("a test", folder.path(), TIME, &failing, &[], &[]).unwrap();
        let error = plan.run(&mut place(folder.path()), |row| row).unwrap_err().to_string();
        assert!(error.contains("figure · series: no memory"), "{error}");
        let better = [SeriesJob::new("figure", "series", "", |_| Ok(vec![Point::exact(0., 0.)]))];
        let (started, mut plan) =
            (Instant::now(), Plan::new("a test", folder.path(), TIME, &better, &[], &[]).unwrap());
        assert!(plan.run(&mut place(folder.path()), |row| row).unwrap() && started.elapsed() < TIME);
    }

    /// As when a process wakes up while it computes.
    #[test]
    fn a_row_that_another_process_recorded_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = {
            let job = SeriesJob::new("figure", "series", "", |_| Ok(Vec::new()));
            row_file(folder.path(), &job)
        };
        let (of_other, other) = (path.clone(), SeriesJob::new("figure", "series", "", |_| Ok(Vec::new())));
        let text = jsonl::line(&other.run("other", &mut place(folder.path())).unwrap().unwrap()).unwrap();
        let written = text.clone();
        let slow = [SeriesJob::new("figure", "series", "", move |_| {
            std::fs::write(&of_other, &written)?;
            Ok(vec![Point::exact(1., 1.)])
        })];
        let mut plan = Plan::new("a test", folder.path(), TIME, &slow, &[], &[]).unwrap();
        assert!(plan.run(&mut place(folder.path()), |row| row).unwrap());
        assert_eq!(std::fs::read_to_string(path).unwrap(), text);
    }

    #[test]
    fn processes_with_other_jobs_are_told_the_first_that_differs() {
        let folder = tempfile::tempdir().unwrap();
        let jobs = jobs(&Arc::default());
        let new = |jobs| Plan::new("a test", folder.path(), TIME, jobs, &[], &[]);
        new(&jobs).unwrap();
        new(&jobs).unwrap();
        for (other, parts) in
            [(&jobs[1..], ["series 0\", and here", "series 1\";"]), (&jobs[..5], ["6, and here 5", "another --out"])]
        {
            let error = new(other).err().unwrap().to_string();
            assert!(error.contains("delete this file"), "{error}");
            assert!(error.contains("a test.plan") && parts.iter().all(|part| error.contains(part)), "{error}");
        }
    }
}

//! Leases: of all processes that see a folder, on any number of machines, one does a piece of work, and another takes
//! over from one that ends.
//!
//! A lease is a number: who creates the file `NAME.N`, one above the highest, holds the lease of NAME. Its holder
//! renews it in the same way. A process that has seen the same number for the time of the lease takes the next one, and
//! a holder that comes back later finds a number above its own: it cannot renew. All rests on one operation, the
//! creation of a file that must not exist, which is atomic on local and on network file systems. There are no locks,
//! and clocks of two machines are not compared: each process measures by its own monotonic clock for how long it sees a
//! number.

use super::numbers::{Holder, advance, file, highest, numbers, read};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A lease is renewed so many times in its time.
const RENEWALS: u32 = 4;

/// The leases of a folder, as one process sees them.
pub struct Leases {
    folder: PathBuf,
    own: Holder,
    terms: BTreeMap<String, Term>,
}

/// The highest number of a lease.
struct Term {
    number: u64,
    /// Not known while its file is being written.
    holder: Option<Holder>,
    /// When this process saw the number first.
    since: Instant,
    /// For how long the number was seen.
    unchanged: Duration,
}

impl Leases {
    /// Those of `folder`, which is made; this process is the holder `own` of those that it takes.
    ///
    /// # Errors
    /// Names the folder, which cannot be made.
    pub fn of(folder: &Path, own: Holder) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        Ok(Self { folder: folder.to_owned(), own, terms: BTreeMap::new() })
    }

    /// The time of a lease that this process takes.
    pub fn time(&self) -> Duration {
        Duration::from_secs_f64(self.own.seconds)
    }

    /// Reads the numbers, which decide what can be taken.
    ///
    /// # Errors
    /// Names the folder or the file that cannot be read.
    pub fn look(&mut self) -> Result<()> {
        let before = Instant::now();
        let all = numbers(&self.folder)?;
        let after = Instant::now();
        for (name, numbers) in all {
            let Some(&number) = numbers.last() else { continue };
            let term = self.terms.entry(name.clone()).or_insert(Term {
                number: 0,
                holder: None,
                since: after,
                unchanged: Duration::ZERO,
            });
            if term.number != number {
                *term = Term { number, holder: None, since: after, unchanged: Duration::ZERO };
            }
            if term.holder.is_none() {
                term.holder = read(&file(&self.folder, &name, number))?;
            }
            // from after it was seen first to before it was read now: never too long
            term.unchanged = before.saturating_duration_since(term.since);
        }
        Ok(())
    }

    /// Who held the lease of `name` at the last look, if it was held.
    pub fn holder(&self, name: &str) -> Option<&Holder> {
        let term = self.terms.get(name).filter(|term| !term.is_over(&self.own))?;
        Some(term.holder.as_ref().unwrap_or(&self.own))
    }

    /// Takes the lease of `name`, if it was free or over at the last look, and no other process is faster.
    ///
    /// # Errors
    /// Names the file that cannot be written.
    pub fn take(&self, name: &str) -> Result<Option<Lease>> {
        let number = match self.terms.get(name) {
            Some(term) if !term.is_over(&self.own) => return Ok(None),
            Some(term) => term.number,
            None => 0,
        };
        match advance(&self.folder, name, number, &self.own)? {
            true => Lease::hold(&self.folder, name, number + 1, &self.own).map(Some),
            false => Ok(None),
        }
    }
}

impl Term {
    fn is_over(&self, own: &Holder) -> bool {
        let holder = self.holder.as_ref();
        holder.is_some_and(|holder| holder.is_free)
            || self.unchanged.as_secs_f64() >= holder.map_or(own.seconds, |holder| holder.seconds)
    }
}

/// The lease of a piece of work, held until it is dropped, which gives it back, or lost. A thread renews it.
pub struct Lease {
    held: Arc<Held>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Held {
    folder: PathBuf,
    name: String,
    own: Holder,
    /// None once it is lost.
    number: Mutex<Option<u64>>,
}

impl Lease {
    fn hold(folder: &Path, name: &str, number: u64, own: &Holder) -> Result<Self> {
        let number = Mutex::new(Some(number));
        let held = Arc::new(Held { folder: folder.to_owned(), name: name.to_owned(), own: own.clone(), number });
        let (stop, stopped) = channel();
        let (of_thread, period) = (held.clone(), Duration::from_secs_f64(own.seconds) / RENEWALS);
        let renew = move || {
            while stopped.recv_timeout(period) == Err(RecvTimeoutError::Timeout) {
                let _ = of_thread.renew(); // what cannot be renewed is an error where the work is about to be written
            }
        };
        let thread = std::thread::Builder::new().name("lease".to_owned()).spawn(renew);
        let thread = Some(thread.context("cannot start the thread that renews a lease")?);
        Ok(Self { held, stop: Some(stop), thread })
    }

    /// Renews it now: no other process held it until here. Called before what the work leaves is written.
    ///
    /// # Errors
    /// If another process has taken over, with its name; if the file cannot be written.
    pub fn renew(&self) -> Result<()> {
        self.held.renew()
    }

    /// Whether another process is known to have taken over.
    pub fn is_lost(&self) -> bool {
        self.held.number().is_none()
    }
}

/// Gives it back: another process can take it at once. Where that fails, it can once the time of the lease is over.
impl Drop for Lease {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let Held { folder, name, own, .. } = &*self.held;
        if let Some(number) = *self.held.number() {
            let _ = advance(folder, name, number, &Holder { is_free: true, ..own.clone() });
        }
    }
}

impl Held {
    fn number(&self) -> std::sync::MutexGuard<'_, Option<u64>> {
        self.number.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn renew(&self) -> Result<()> {
        let mut number = self.number();
        if let Some(current) = *number
            && advance(&self.folder, &self.name, current, &self.own)?
        {
            *number = Some(current + 1);
            return Ok(());
        }
        *number = None;
        let highest = highest(&self.folder, &self.name)?.unwrap_or(0);
        let path = file(&self.folder, &self.name, highest);
        let by = read(&path)?.map_or("another process".to_owned(), |holder| holder.to_string());
        bail!("the lease {} was taken over by {by}; expected a renewal within {} s", path.display(), self.own.seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::super::numbers::holder_of;
    use super::*;
    use std::fs::File;
    use std::thread::sleep;

    /// Long enough that a busy machine renews in time.
    const TIME: Duration = Duration::from_millis(1200);

    /// As process number `process` sees the leases.
    fn seen_by(process: u32, folder: &Path) -> Leases {
        let leases = Leases::of(folder, Holder { host: "node".to_owned(), process, ..Holder::this(TIME) });
        leases.unwrap()
    }

    fn take(leases: &mut Leases) -> Option<Lease> {
        leases.look().unwrap();
        leases.take("run").unwrap()
    }

    /// The first holder of a lease, whose thread does not run: a process that was stopped, or is gone.
    fn sleeper(folder: &Path) -> Lease {
        let leases = seen_by(1, folder);
        assert!(advance(folder, "run", 0, &leases.own).unwrap());
        let lease = Lease::hold(folder, "run", 1, &Holder { seconds: 1e6, ..leases.own });
        lease.unwrap()
    }

    fn files(folder: &Path) -> Vec<u64> {
        numbers(folder).unwrap().remove("run").unwrap()
    }

    #[test]
    fn a_lease_has_one_holder_and_is_free_at_once_when_it_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let (mut first, mut second) = (seen_by(1, folder.path()), seen_by(2, folder.path()));
        let lease = take(&mut first).unwrap();
        assert!(take(&mut second).is_none() && take(&mut first).is_none());
        assert_eq!(second.holder("run").map(ToString::to_string).as_deref(), Some("process 1 on node"));
        assert_eq!(second.holder("run"), holder_of(folder.path(), "run").unwrap().as_ref());
        drop(lease);
        assert_eq!(holder_of(folder.path(), "run").unwrap(), None);
        assert!(take(&mut second).is_some());
    }

    #[test]
    fn a_holder_that_renews_keeps_its_lease_and_a_few_files() {
        let folder = tempfile::tempdir().unwrap();
        let (mut first, mut second) = (seen_by(1, folder.path()), seen_by(2, folder.path()));
        let (lease, started) = (take(&mut first).unwrap(), Instant::now());
        while started.elapsed() < 2 * TIME {
            assert!(take(&mut second).is_none());
            sleep(TIME / 10);
        }
        lease.renew().unwrap();
        let files = files(folder.path());
        assert!(files.len() <= 2 && files.iter().all(|number| *number > 4), "{files:?}");
    }

    #[test]
    fn a_lease_that_ran_out_is_taken_over_and_its_holder_notices_when_it_wakes_up() {
        let folder = tempfile::tempdir().unwrap();
        let (sleeper, mut other) = (sleeper(folder.path()), seen_by(2, folder.path()));
        assert!(take(&mut other).is_none());
        sleep(TIME / 2);
        assert!(take(&mut other).is_none() && !sleeper.is_lost());
        sleep(TIME / 2);
        let taken = take(&mut other).unwrap();
        taken.renew().unwrap();
        let error = sleeper.renew().unwrap_err().to_string();
        assert!(error.contains("run.3 was taken over by process 2 on node") && error.contains("1000000 s"), "{error}");
        assert!(sleeper.is_lost() && sleeper.renew().is_err());
        drop(sleeper);
        taken.renew().unwrap();
    }

    /// The number after the sleeper's is gone by then, and can be created again.
    #[test]
    fn a_holder_that_wakes_up_much_later_notices_too() {
        let folder = tempfile::tempdir().unwrap();
        let (sleeper, mut other) = (sleeper(folder.path()), seen_by(2, folder.path()));
        take(&mut other);
        sleep(TIME);
        let taken = take(&mut other).unwrap();
        (0..5).for_each(|_| taken.renew().unwrap());
        let before = files(folder.path());
        assert!(!before.contains(&2));
        assert!(sleeper.renew().is_err() && sleeper.is_lost());
        assert!(!files(folder.path()).contains(&2), "what it created is removed");
        taken.renew().unwrap();
    }

    #[test]
    fn of_many_that_take_over_at_once_one_does() {
        for _ in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            let gone = Holder { seconds: 0., ..Holder::this(TIME) };
            assert!(advance(folder.path(), "run", 0, &gone).unwrap());
            let barrier = std::sync::Barrier::new(8);
            let one = |process| {
                let mut leases = seen_by(process, folder.path());
                leases.look().unwrap();
                barrier.wait();
                leases.take("run").unwrap()
            };
            let taken: Vec<Option<Lease>> = std::thread::scope(|scope| {
                let one = &one;
                let all: Vec<_> = (0..8).map(|process| scope.spawn(move || one(process))).collect();
                all.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(taken.iter().flatten().count(), 1);
            taken.iter().flatten().for_each(|lease| lease.renew().unwrap());
        }
    }

    /// As of a network file system that shows the folder late.
    #[test]
    fn an_old_view_of_the_folder_takes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (mut first, mut late) = (seen_by(1, folder.path()), seen_by(2, folder.path()));
        let lease = take(&mut first).unwrap();
        for renewals in 1..5 {
            late.look().unwrap();
            late.terms.get_mut("run").unwrap().unchanged = 2 * TIME;
            (0..renewals).for_each(|_| lease.renew().unwrap());
            assert!(late.take("run").unwrap().is_none(), "{renewals} renewals");
            lease.renew().unwrap();
        }
    }

    #[test]
    fn a_lease_whose_file_is_being_written_is_held_for_the_time_of_the_reader() {
        let folder = tempfile::tempdir().unwrap();
        File::create_new(file(folder.path(), "run", 7)).unwrap();
        let mut leases = seen_by(2, folder.path());
        assert!(take(&mut leases).is_none() && leases.holder("run").is_some());
        sleep(TIME);
        let taken = take(&mut leases);
        assert!(taken.is_some() && files(folder.path()).contains(&8));
    }

    #[test]
    fn a_folder_that_is_gone_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut leases = seen_by(1, &folder.path().join("leases"));
        let lease = take(&mut leases).unwrap();
        std::fs::remove_dir_all(folder.path().join("leases")).unwrap();
        for error in [leases.look().unwrap_err(), lease.renew().unwrap_err()] {
            assert!(error.to_string().contains("leases"), "{error}");
        }
        assert!(!lease.is_lost(), "no other process has it");
    }
}

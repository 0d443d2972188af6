//! Ranks that TCP connects: started by torchrun, by any launcher that sets MASTER_ADDR and MASTER_PORT, or by hand.

mod agent;
mod deadline;
mod frame;
mod links;
mod meeting;
mod mesh;
mod peer;

use crate::{Engine, Launch};
use candle_core::{Result, bail};
use links::{Ends, Event, Links};
use std::collections::VecDeque;
use std::fmt::{self, Display};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One of several processes, connected by a TCP stream between each two.
///
/// An exchange sends on these streams directly; a thread for each other rank receives. A process that ends
/// is noticed at once, wherever the others are: their exchanges fail, and name it. One that does not answer for two
/// minutes counts as ended. A dropped `Tcp` waits until all ranks have dropped theirs, or one has ended.
///
/// Nothing is encrypted, and any process that reaches the ports before the ranks have met can take part: for networks
/// that are trusted, as with other frameworks.
#[derive(Debug)]
pub struct Tcp {
    links: Arc<Links>,
    inbox: Mutex<Inbox>,
}

/// A rank that has ended before the others have finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Which.
    pub rank: usize,
    /// Why, as far as it is known.
    pub reason: String,
    /// Whether that rank itself gave the reason, with [`Tcp::abort`].
    pub is_own: bool,
}

impl Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} has ended: {}", self.rank, self.reason)
    }
}

/// Limits of time.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// For all ranks to meet.
    meeting: Duration,
    /// After which ranks that are missing are named.
    notice: Duration,
    /// For one connection to say who it is.
    hello: Duration,
    /// Silence after which a rank is asked whether it is there, and how often without an answer.
    ping: Duration,
    pings: u32,
}

const LIMITS: Limits = Limits {
    meeting: Duration::from_secs(300),
    notice: Duration::from_secs(5),
    hello: Duration::from_secs(2),
    ping: Duration::from_secs(10),
    pings: 12,
};

/// Messages that have come.
struct Inbox {
    ends: Ends,
    /// Of each rank, those that were not yet asked for.
    early: Vec<VecDeque<Vec<u8>>>,
    has_left: Vec<bool>,
    /// Why an exchange has failed: so do all after it.
    failed: Option<String>,
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").finish_non_exhaustive()
    }
}

impl Tcp {
    /// Meets the other ranks of `launch`, within five minutes. `say` gets a line if some do not come for a while, on
    /// the lowest rank that is there.
    ///
    /// # Errors
    /// Names ranks that did not come or have another version or size, and the variable of a place that cannot be
    /// reached.
    pub fn start(launch: &Launch, say: &dyn Fn(&str)) -> Result<Self> {
        Self::within(LIMITS, launch, say)
    }

    fn within(limits: Limits, launch: &Launch, say: &dyn Fn(&str)) -> Result<Self> {
        let streams = meeting::meet(limits, launch, say)?;
        Self::over(limits, launch.rank, streams)
    }

    /// With streams to each other rank.
    fn over(limits: Limits, rank: usize, streams: Vec<Option<TcpStream>>) -> Result<Self> {
        let size = streams.len();
        let (links, ends) = Links::new(rank, streams, limits)?;
        let early = (0..size).map(|_| VecDeque::new()).collect();
        let inbox = Inbox { ends, early, has_left: vec![false; size], failed: None };
        Ok(Self { links, inbox: Mutex::new(inbox) })
    }

    /// Tells the others why this rank ends, unless one has ended before; whether it is the first.
    pub fn abort(&self, reason: &str) -> bool {
        let own = Ended { rank: self.links.rank, reason: reason.to_owned(), is_own: true };
        let is_first = self.links.end(own);
        self.links.settle();
        is_first
    }

    /// Calls `f`, on a thread of its own, as soon as another rank has ended: with who it is, and whether this is the
    /// one rank to report it. A rank that gave its reason reports it itself.
    ///
    /// # Errors
    /// If the system has no more threads.
    pub fn on_end(&self, f: impl FnOnce(&Ended, bool) + Send + 'static) -> Result<()> {
        let links = Arc::clone(&self.links);
        let watch = move || match links.wait() {
            // Others may take this rank for ended too, if it was suspended.
            Some(ended) if ended.rank != links.rank || !ended.is_own => {
                let reports = links.settle() && !ended.is_own;
                f(&ended, reports);
            }
            _ => {}
        };
        std::thread::Builder::new().name("ranks that end".to_owned()).spawn(watch)?;
        Ok(())
    }

    /// Sends `to` to the other ranks, and receives `from` them.
    fn send_and_receive(&self, inbox: &mut Inbox, to: &[&[u8]], from: &mut [&mut [u8]]) -> Result<()> {
        let (own, size) = (self.links.rank, self.links.size());
        for rank in (own + 1..size).chain(0..own) {
            if let Err(error) = self.links.send(rank, to[rank]) {
                match self.links.wait_for_end() {
                    Some(ended) => bail!("{ended}"),
                    None => bail!("rank {rank} cannot be reached: {error}"),
                }
            }
        }
        for rank in (0..size).filter(|rank| *rank != own) {
            inbox.receive(&self.links, rank, from[rank])?;
        }
        Ok(())
    }
}

impl Inbox {
    /// Receives the next message of a rank, which must have the length of `into`.
    fn receive(&mut self, links: &Links, from: usize, into: &mut [u8]) -> Result<()> {
        let message = loop {
            if let Some(message) = self.early[from].pop_front() {
                break message;
            }
            if self.has_left[from] {
                bail!("rank {from} has finished, and rank {} goes on; expected the same operations", links.rank)
            }
            match self.ends.events.recv() {
                Ok((rank, Event::Message(message))) => self.early[rank].push_back(message),
                Ok((rank, Event::Left)) => self.has_left[rank] = true,
                Ok((_, Event::Ended)) | Err(_) => match links.ended() {
                    Some(ended) => bail!("{ended}"),
                    None => bail!("rank {from} has ended"),
                },
            }
        };
        if message.len() != into.len() {
            bail!(
                "rank {from} sent {} bytes, and rank {} expected {}; expected the same operations",
                message.len(),
                links.rank,
                into.len()
            )
        }
        into.copy_from_slice(&message);
        if let Some(used) = &self.ends.used[from] {
            let _ = used.send(message);
        }
        Ok(())
    }
}

impl Engine for Tcp {
    fn rank(&self) -> usize {
        self.links.rank
    }

    fn size(&self) -> usize {
        self.links.size()
    }

    fn exchange(&self, to: &[&[u8]], from: &mut [&mut [u8]]) -> Result<()> {
        let mut inbox = lock(&self.inbox);
        if let Some(error) = &inbox.failed {
            bail!("{error}")
        }
        self.send_and_receive(&mut inbox, to, from).inspect_err(|error| {
            // What others have sent for this exchange may still come, and is not of the next.
            inbox.failed = error.to_string().lines().next().map(str::to_owned); // without a backtrace
        })
    }

    fn ended(&self) -> Option<String> {
        self.links.wait_for_end().map(|ended| ended.to_string())
    }
}

impl Drop for Tcp {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.abort("it panicked");
        } else {
            self.links.leave();
        }
        self.links.close();
    }
}

/// What a lock guards; of a thread that has panicked, too.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

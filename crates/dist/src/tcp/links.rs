//! The streams to the other ranks, a thread that receives from each, and what becomes of the ranks.

use super::frame::{self, Came, Frame, is_late};
use super::{Ended, Limits, lock};
use std::io::{self, BufReader, ErrorKind, Read};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a rank that ends waits for others: to be told, and to answer.
const ENDING: Duration = Duration::from_secs(2);

/// All streams of this rank.
#[derive(Debug)]
pub(super) struct Links {
    pub rank: usize,
    /// To each other rank; `None` for this one.
    to: Vec<Option<Mutex<TcpStream>>>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    statuses: Vec<Status>,
    /// The first that has ended.
    ended: Option<Ended>,
    /// The others were told.
    is_told: bool,
    /// This rank has no more use for the others.
    is_over: bool,
}

/// What became of a rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    There,
    /// It has finished.
    Left,
    /// It has said who has ended.
    Told,
    /// Its stream closed, and it had said nothing.
    Gone,
}

/// What a rank has sent.
pub(super) enum Event {
    Message(Vec<u8>),
    Left,
    Ended,
}

/// What others have sent to this rank, and where the memory of messages goes back to.
pub(super) struct Ends {
    pub events: Receiver<(usize, Event)>,
    pub used: Vec<Option<Sender<Vec<u8>>>>,
}

impl Links {
    /// Takes over the `streams` to each other rank.
    pub fn new(rank: usize, streams: Vec<Option<TcpStream>>, limits: Limits) -> io::Result<(Arc<Self>, Ends)> {
        let mut from = Vec::new();
        for stream in &streams {
            from.push(stream.as_ref().map(|stream| receiving(stream, limits)).transpose()?);
        }
        let state = State { statuses: vec![Status::There; streams.len()], ended: None, is_told: false, is_over: false };
        let to = streams.into_iter().map(|stream| stream.map(Mutex::new)).collect();
        let links = Arc::new(Self { rank, to, state: Mutex::new(state), changed: Condvar::new() });
        let (sender, events) = channel();
        let mut used = Vec::new();
        for (other, stream) in from.into_iter().enumerate() {
            let Some(stream) = stream else {
                used.push(None);
                continue;
            };
            let (give_back, memory) = channel();
            used.push(Some(give_back));
            let (links, sender) = (Arc::clone(&links), sender.clone());
            let name = format!("rank {other}");
            thread::Builder::new().name(name).spawn(move || links.receive(other, stream, &memory, &sender, limits))?;
        }
        Ok((links, Ends { events, used }))
    }

    pub fn size(&self) -> usize {
        self.to.len()
    }

    /// The frames of a rank, until its stream closes or it says who has ended. Who has finished still answers.
    fn receive(
        &self,
        from: usize,
        stream: TcpStream,
        memory: &Receiver<Vec<u8>>,
        events: &Sender<(usize, Event)>,
        limits: Limits,
    ) {
        let mut stream = BufReader::new(Heard { stream, links: self, from, limits, silent: 0 });
        let mut message = Vec::new();
        let mut has_left = false;
        let (status, ended) = loop {
            match frame::read(&mut stream, &mut message) {
                Ok(Came::Message) => {
                    let next = memory.try_recv().unwrap_or_default();
                    let _ = events.send((from, Event::Message(std::mem::replace(&mut message, next))));
                }
                Ok(Came::Ping) => self.signal(from, Frame::Pong),
                Ok(Came::Pong) => {}
                Ok(Came::Left) => {
                    has_left = true;
                    self.becomes(from, Status::Left);
                    let _ = events.send((from, Event::Left));
                }
                Ok(Came::Ended(ended)) => break (Status::Told, ended),
                Err(_) if has_left => return,
                Err(error) => {
                    let reason = match error.kind() {
                        ErrorKind::UnexpectedEof if error.get_ref().is_none() => CLOSED.to_owned(),
                        ErrorKind::ConnectionReset => CLOSED.to_owned(),
                        _ => error.to_string(),
                    };
                    break (Status::Gone, Ended { rank: from, reason, is_own: false });
                }
            }
        };
        self.becomes(from, status);
        self.end(ended);
        let _ = events.send((from, Event::Ended));
    }

    fn becomes(&self, rank: usize, status: Status) {
        lock(&self.state).statuses[rank] = status;
        self.changed.notify_all();
    }

    /// Sends a message.
    pub fn send(&self, to: usize, message: &[u8]) -> io::Result<()> {
        let Some(stream) = &self.to[to] else { return Ok(()) };
        frame::write(&mut *lock(stream), Frame::Message(message), || self.ended().is_none())
    }

    /// Sends a frame that may get lost, for what it is about is seen otherwise: if the stream is busy, or broken.
    fn signal(&self, to: usize, frame: Frame) {
        let Some(stream) = &self.to[to] else { return };
        let mut stream = match stream.try_lock() {
            Ok(stream) => stream,
            Err(TryLockError::Poisoned(stream)) => stream.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let _ = frame::write(&mut *stream, frame, || false);
    }

    /// The last frame to each rank that is there, also to one that has sent its own: it waits for this one.
    fn last(&self, frame: Frame) {
        let until = Instant::now() + ENDING;
        for (other, stream) in self.to.iter().enumerate() {
            let Some(stream) = stream else { continue };
            if lock(&self.state).statuses[other] == Status::Gone {
                continue;
            }
            let mut stream = loop {
                match stream.try_lock() {
                    Ok(stream) => break Some(stream),
                    Err(TryLockError::Poisoned(stream)) => break Some(stream.into_inner()),
                    Err(TryLockError::WouldBlock) if Instant::now() < until => thread::sleep(Duration::from_millis(2)),
                    Err(TryLockError::WouldBlock) => break None,
                }
            };
            if let Some(stream) = &mut stream {
                let _ = stream.set_write_timeout(Some(ENDING));
                let _ = frame::write(&mut **stream, frame, || false);
            }
        }
    }

    /// Keeps who has ended and tells the others, unless one was known before; whether it is the first.
    pub fn end(&self, ended: Ended) -> bool {
        let mut state = lock(&self.state);
        if state.ended.is_some() || state.is_over {
            return false;
        }
        state.ended = Some(ended.clone());
        drop(state);
        self.last(Frame::Ended(&ended));
        lock(&self.state).is_told = true;
        self.changed.notify_all();
        true
    }

    /// The first rank that has ended.
    pub fn ended(&self) -> Option<Ended> {
        lock(&self.state).ended.clone()
    }

    /// Says that this rank has finished, and waits until all have, or one has ended.
    pub fn leave(&self) {
        self.last(Frame::Left);
        drop(self.until(Duration::MAX, |state| state.is_told || !state.has_others(self.rank)));
    }

    /// Waits a little until every other rank has finished, ended, or said who has ended; whether this rank is then the
    /// lowest that can speak.
    pub fn settle(&self) -> bool {
        let state = self.until(ENDING, |state| !state.has_others(self.rank));
        state.statuses[..self.rank].iter().all(|status| *status == Status::Gone)
    }

    /// Waits a little for who has ended, after something that is no other's fault has failed.
    pub fn wait_for_end(&self) -> Option<Ended> {
        self.until(ENDING, |state| state.is_told).ended.clone()
    }

    /// Waits until a rank has ended and the others were told; `None` if this one has no more use for them before.
    pub fn wait(&self) -> Option<Ended> {
        self.until(Duration::MAX, |state| state.is_told || state.is_over).ended.clone()
    }

    /// Closes all streams.
    pub fn close(&self) {
        lock(&self.state).is_over = true;
        self.changed.notify_all();
        for stream in self.to.iter().flatten() {
            if let Ok(stream) = stream.try_lock() {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }

    fn until(&self, limit: Duration, is_so: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let state = lock(&self.state);
        if limit == Duration::MAX {
            return self
                .changed
                .wait_while(state, |state| !is_so(state))
                .unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        let waited = self.changed.wait_timeout_while(state, limit, |state| !is_so(state));
        waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0
    }
}

/// What is said of a rank whose stream closed.
const CLOSED: &str = "its connection closed (it was killed, or its machine is down)";

impl State {
    /// Whether another rank than `own` is still there.
    fn has_others(&self, own: usize) -> bool {
        self.statuses.iter().enumerate().any(|(rank, status)| rank != own && *status == Status::There)
    }
}

/// The other end of a stream, to receive from.
fn receiving(stream: &TcpStream, limits: Limits) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(limits.ping))?;
    stream.set_write_timeout(Some(limits.ping))?;
    stream.try_clone()
}

/// A stream that is asked, whenever it was silent for a while, whether its other end is there.
struct Heard<'a> {
    stream: TcpStream,
    links: &'a Links,
    from: usize,
    limits: Limits,
    /// Questions since the last byte.
    silent: u32,
}

impl Read for Heard<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.stream.read(into) {
                Err(error) if is_late(&error) && self.silent < self.limits.pings => {
                    self.silent += 1;
                    self.links.signal(self.from, Frame::Ping);
                }
                Err(error) if is_late(&error) => {
                    let seconds = (self.limits.ping * self.limits.pings).as_secs_f64();
                    let text = format!("it did not answer for {seconds} s");
                    return Err(io::Error::new(ErrorKind::TimedOut, text));
                }
                other => {
                    self.silent = 0;
                    return other;
                }
            }
        }
    }
}

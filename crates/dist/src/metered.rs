//! What communication costs: an engine that counts calls, bytes and time of another.

use crate::Engine;
use candle_core::Result;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// An engine whose traffic is counted.
#[derive(Debug)]
pub struct Metered<E> {
    engine: E,
    traffic: Cell<Traffic>,
}

/// What a rank has sent, and how long it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Collective operations.
    pub calls: usize,
    /// Bytes that this rank sent to others.
    pub bytes: usize,
    /// The time inside them, that of waiting for slower ranks included.
    pub time: Duration,
}

impl<E: Engine> Metered<E> {
    /// Nothing is counted yet.
    pub fn new(engine: E) -> Self {
        Self { engine, traffic: Cell::default() }
    }

    /// All since the beginning.
    pub fn traffic(&self) -> Traffic {
        self.traffic.get()
    }

    fn counted(&self, bytes: usize, call: impl FnOnce(&E) -> Result<()>) -> Result<()> {
        let started = Instant::now();
        let result = call(&self.engine);
        let Traffic { calls, bytes: before, time } = self.traffic.get();
        self.traffic.set(Traffic { calls: calls + 1, bytes: before + bytes, time: time + started.elapsed() });
        result
    }
}

impl<E: Engine> Engine for Metered<E> {
    fn rank(&self) -> usize {
        self.engine.rank()
    }

    fn size(&self) -> usize {
        self.engine.size()
    }

    fn piece(&self) -> usize {
        self.engine.piece()
    }

    fn all_to_all(&self, parts: &[u8], received: &mut [u8]) -> Result<()> {
        let others = self.size() - 1;
        self.counted(parts.len() / self.size() * others, |engine| engine.all_to_all(parts, received))
    }

    fn all_gather(&self, mine: &[u8], all: &mut [u8]) -> Result<()> {
        let others = self.size() - 1;
        self.counted(mine.len() * others, |engine| engine.all_gather(mine, all))
    }
}

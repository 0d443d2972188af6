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
    /// Exchanges of all ranks.
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
}

impl<E: Engine> Engine for Metered<E> {
    fn rank(&self) -> usize {
        self.engine.rank()
    }

    fn size(&self) -> usize {
        self.engine.size()
    }

    fn message(&self) -> usize {
        self.engine.message()
    }

    fn exchange(&self, to: &[&[u8]], from: &mut [&mut [u8]]) -> Result<()> {
        let sent: usize = to.iter().enumerate().filter(|(rank, _)| *rank != self.rank()).map(|(_, to)| to.len()).sum();
        let started = Instant::now();
        let result = self.engine.exchange(to, from);
        let Traffic { calls, bytes, time } = self.traffic.get();
        self.traffic.set(Traffic { calls: calls + 1, bytes: bytes + sent, time: time + started.elapsed() });
        result
    }

    fn ended(&self) -> Option<String> {
        self.engine.ended()
    }
}

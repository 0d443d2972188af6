//! Ranks that are threads of one process: for tests, and to try something without MPI.

use crate::Engine;
use candle_core::{Result, bail};
use std::sync::mpsc::{Receiver, Sender, channel};

/// One of several threads, connected by channels. Those of a thread that ends, with an error or a panic, are closed:
/// the others then fail, and name its rank.
#[derive(Debug)]
pub struct Threads {
    rank: usize,
    to: Vec<Sender<Vec<u8>>>,
    from: Vec<Receiver<Vec<u8>>>,
}

impl Threads {
    /// The ends of `size` threads, each to be moved into its own.
    pub fn new(size: usize) -> Vec<Self> {
        let mut all: Vec<Self> = (0..size).map(|rank| Self { rank, to: Vec::new(), from: Vec::new() }).collect();
        for receiver in 0..size {
            for sender in &mut all {
                let (to, from) = channel();
                sender.to.push(to);
                sender.from.push(from);
            }
            // What sender k has just put into its own list is where `receiver` receives from it.
            let ends: Vec<Receiver<Vec<u8>>> = all.iter_mut().filter_map(|sender| sender.from.pop()).collect();
            all[receiver].from.splice(0..0, ends);
        }
        all
    }

    /// Sends `part(k)` to each rank k, and receives from each into `received`, in the order of the ranks.
    fn exchange<'a>(&self, part: impl Fn(usize) -> &'a [u8], received: &mut [u8]) -> Result<()> {
        for (rank, to) in self.to.iter().enumerate() {
            if to.send(part(rank).to_vec()).is_err() {
                bail!("rank {rank} has ended")
            }
        }
        let length = part(self.rank).len();
        for (rank, from) in self.from.iter().enumerate() {
            match from.recv() {
                Ok(part) if part.len() == length => received[rank * length..][..length].copy_from_slice(&part),
                Ok(part) => {
                    bail!("rank {rank} sent {} bytes and rank {} {length}; expected as many", part.len(), self.rank)
                }
                Err(_) => bail!("rank {rank} has ended"),
            }
        }
        Ok(())
    }
}

impl Engine for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.to.len()
    }

    fn all_to_all(&self, parts: &[u8], received: &mut [u8]) -> Result<()> {
        let length = parts.len() / self.size();
        self.exchange(|rank| &parts[rank * length..(rank + 1) * length], received)
    }

    fn all_gather(&self, mine: &[u8], all: &mut [u8]) -> Result<()> {
        self.exchange(|_| mine, all)
    }
}

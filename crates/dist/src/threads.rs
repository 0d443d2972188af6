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
}

impl Engine for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.to.len()
    }

    fn exchange(&self, to: &[&[u8]], from: &mut [&mut [u8]]) -> Result<()> {
        let others = (0..self.size()).filter(|rank| *rank != self.rank);
        for rank in others.clone() {
            if self.to[rank].send(to[rank].to_vec()).is_err() {
                bail!("rank {rank} has ended")
            }
        }
        for rank in others {
            match self.from[rank].recv() {
                Ok(sent) if sent.len() == from[rank].len() => from[rank].copy_from_slice(&sent),
                Ok(sent) => bail!("rank {rank} sent {} bytes; expected {}", sent.len(), from[rank].len()),
                Err(_) => bail!("rank {rank} has ended"),
            }
        }
        Ok(())
    }
}

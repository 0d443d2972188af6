//! Ranks that are threads of one process: for tests, and to try something without MPI.

use crate::Engine;
use candle_core::{Result, bail};
use std::cell::OnceCell;
use std::sync::mpsc::{Receiver, Sender, channel};

/// One of several threads, connected by channels. Those of a thread that ends, with an error or a panic, are closed:
/// the others then fail, and name its rank.
#[derive(Debug)]
pub struct Threads {
    rank: usize,
    to: Vec<Sender<Vec<u8>>>,
    from: Vec<Receiver<Vec<u8>>>,
    /// Why an exchange has failed: so do all after it.
    failed: OnceCell<String>,
}

impl Threads {
    /// The ends of `size` threads, each to be moved into its own.
    pub fn new(size: usize) -> Vec<Self> {
        let mut all: Vec<Self> = (0..size).map(Self::alone).collect();
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

    fn alone(rank: usize) -> Self {
        Self { rank, to: Vec::new(), from: Vec::new(), failed: OnceCell::new() }
    }

    fn send_and_receive(&self, to: &[&[u8]], from: &mut [&mut [u8]]) -> std::result::Result<(), String> {
        let others = (0..self.size()).filter(|rank| *rank != self.rank);
        for rank in others.clone() {
            self.to[rank].send(to[rank].to_vec()).map_err(|_| format!("rank {rank} has ended"))?;
        }
        for rank in others {
            let sent = self.from[rank].recv().map_err(|_| format!("rank {rank} has ended"))?;
            if sent.len() != from[rank].len() {
                return Err(format!("rank {rank} sent {} bytes; expected {}", sent.len(), from[rank].len()));
            }
            from[rank].copy_from_slice(&sent);
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

    fn exchange(&self, to: &[&[u8]], from: &mut [&mut [u8]]) -> Result<()> {
        let error = match self.failed.get() {
            Some(error) => error,
            None => match self.send_and_receive(to, from) {
                Ok(()) => return Ok(()),
                Err(error) => self.failed.get_or_init(|| error),
            },
        };
        bail!("{error}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_an_exchange_that_failed_none_takes_what_was_sent_for_the_next() {
        let [zero, one] = Threads::new(2).try_into().unwrap();
        for length in [16, 8] {
            one.to[0].send(vec![0; length]).unwrap();
        }
        for _ in 0..2 {
            let error = zero.exchange(&[&[], &[0; 8]], &mut [&mut [], &mut [0; 8]]).unwrap_err().to_string();
            assert!(error.starts_with("rank 1 sent 16 bytes; expected 8"), "{error}");
        }
    }
}

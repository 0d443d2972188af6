//! Meeting under torchrun, whose agent listens at MASTER_ADDR and MASTER_PORT with PyTorch's `TCPStore`: each rank puts
//! its [`Peer`] there under a key of this start, and reads those of the others.
//!
//! A request of that protocol is a byte for its kind, then keys and values, each with its length in front as eight
//! bytes; numbers are little-endian. A connection begins with VALIDATE and a magic number.

use super::deadline::Deadline;
use super::mesh;
use super::peer::{Peer, check_addresses};
use crate::{Launch, Place};
use candle_core::{Result, bail};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const VALIDATE: u8 = 0;
const SET: u8 = 1;
const GET: u8 = 3;
const CHECK: u8 = 5;
const PING: u8 = 13;

/// What a client sends after VALIDATE.
const VALIDATION: u32 = 0x3C85_F7CE;
/// CHECK: all keys are there.
const READY: u8 = 0;
/// How long the agent may take to answer.
const ANSWER: Duration = Duration::from_secs(30);
/// Bytes of the text of a peer, at most.
const LONGEST: u64 = 4096;

/// A client of the store.
struct Store {
    stream: TcpStream,
    /// Of all keys.
    prefix: String,
}

/// A stream to each other rank.
pub(super) fn meet(launch: &Launch, place: &Place, deadline: &mut Deadline) -> Result<Vec<Option<TcpStream>>> {
    let everyone: Vec<usize> = (0..launch.size).collect();
    let stream = loop {
        match mesh::connect(&place.host, place.port) {
            Ok(stream) => break stream,
            Err(error) => deadline.wait(&everyone, &format!("torchrun's agent: {error}"))?,
        }
    };
    let listener = mesh::listen(SocketAddr::new(stream.local_addr()?.ip(), 0))?;
    let own = Peer::new(launch, &place.run, listener.local_addr()?);
    let mut store = Store { stream, prefix: format!("msharp/{}/{}", place.run, launch.size) };
    let failed = |error: io::Error| {
        candle_core::Error::msg(format!(
            "torchrun's agent does not answer as PyTorch's TCPStore at {place} (MASTER_ADDR, MASTER_PORT): {error}"
        ))
    };
    store.begin().and_then(|()| store.set(own.rank, &own.line())).map_err(failed)?;

    let mut peers: Vec<Option<Peer>> = vec![None; launch.size];
    loop {
        for (rank, known) in peers.iter_mut().enumerate() {
            if known.is_none() && store.has(rank).map_err(failed)? {
                let peer = store.get(rank).map_err(failed)?;
                if let Some(fault) = own.differs(&peer) {
                    bail!("{fault}")
                }
                *known = Some(peer);
            }
        }
        let missing: Vec<usize> = (0..launch.size).filter(|rank| peers[*rank].is_none()).collect();
        if missing.is_empty() {
            break;
        }
        deadline.wait(&missing, "")?;
    }
    check_addresses(&peers.into_iter().flatten().collect::<Vec<_>>())?;
    // It may be of an earlier process, which an agent has replaced: where nothing answers, it is read again.
    let streams = (0..launch.size).map(|_| None).collect();
    mesh::complete(streams, &own, &listener, |rank| store.get(rank).map_err(failed), deadline)
}

impl Store {
    /// Says what protocol this is, and hears that it is understood.
    fn begin(&mut self) -> io::Result<()> {
        self.stream.set_read_timeout(Some(ANSWER))?;
        let nonce = std::process::id().to_le_bytes();
        let validation = [&[VALIDATE], VALIDATION.to_le_bytes().as_slice(), &[PING], &nonce].concat();
        self.stream.write_all(&validation)?;
        let mut answer = [0; 4];
        self.stream.read_exact(&mut answer)?;
        if answer != nonce {
            return Err(io::Error::new(ErrorKind::InvalidData, "PING was answered otherwise"));
        }
        Ok(())
    }

    /// Puts a text under the key of a rank.
    fn set(&mut self, rank: usize, text: &str) -> io::Result<()> {
        let request = [&[SET][..], &self.key(rank), &with_length(text.as_bytes())].concat();
        self.stream.write_all(&request)
    }

    /// Whether a rank has put something under its key.
    fn has(&mut self, rank: usize) -> io::Result<bool> {
        let request = [&[CHECK][..], &1u64.to_le_bytes(), &self.key(rank)].concat();
        self.stream.write_all(&request)?;
        let mut answer = [0];
        self.stream.read_exact(&mut answer)?;
        Ok(answer[0] == READY)
    }

    /// What is under the key of a rank, which [has](Store::has) one.
    fn get(&mut self, rank: usize) -> io::Result<Peer> {
        let request = [&[GET][..], &self.key(rank)].concat();
        self.stream.write_all(&request)?;
        let mut length = [0; 8];
        self.stream.read_exact(&mut length)?;
        let length = u64::from_le_bytes(length);
        if length > LONGEST {
            return Err(io::Error::new(ErrorKind::InvalidData, format!("a value of {length} bytes")));
        }
        let mut text = vec![0; length as usize];
        self.stream.read_exact(&mut text)?;
        let text = String::from_utf8_lossy(&text);
        let unknown = || io::Error::new(ErrorKind::InvalidData, format!("rank {rank} is said to be {text:?}"));
        Peer::parse(&text).ok_or_else(unknown)
    }

    fn key(&self, rank: usize) -> Vec<u8> {
        with_length(format!("{}/{rank}", self.prefix).as_bytes())
    }
}

fn with_length(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u64).to_le_bytes(), bytes].concat()
}

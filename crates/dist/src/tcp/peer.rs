//! What the ranks know of each other before all have met.

use crate::Launch;
use candle_core::{Result, bail};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

/// The first bytes of every connection between ranks.
pub(super) const MAGIC: [u8; 8] = *b"msharp/1";
/// Bytes of a text, at most: the descriptions of tens of thousands of ranks.
const LONGEST: u32 = 4 << 20;

/// Who a rank is, and where it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub version: String,
    pub size: usize,
    pub rank: usize,
    pub address: SocketAddr,
    /// A number that only the processes of this start know.
    pub token: u64,
    /// What the launcher calls the run.
    pub run: String,
}

impl Peer {
    /// That of this process, which listens at `address`.
    pub fn new(launch: &Launch, run: &str, address: SocketAddr) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            size: launch.size,
            rank: launch.rank,
            address,
            token: RandomState::new().build_hasher().finish(),
            run: run.to_owned(),
        }
    }

    /// One line.
    pub fn line(&self) -> String {
        let Self { version, size, rank, address, token, run } = self;
        format!("{version} {size} {rank} {address} {token} {}", run.replace('\n', " "))
    }

    /// What a line says.
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.splitn(6, ' ');
        let mut next = || words.next();
        Some(Self {
            version: next()?.to_owned(),
            size: next()?.parse().ok()?,
            rank: next()?.parse().ok()?,
            address: next()?.parse().ok()?,
            token: next()?.parse().ok()?,
            run: next()?.to_owned(),
        })
    }

    /// Why this rank and `other` are not of one run.
    pub fn differs(&self, other: &Self) -> Option<String> {
        let of = |what: &str, here: &dyn std::fmt::Display, there: &dyn std::fmt::Display| {
            format!(
                "rank {} has {what} {there}, and rank {} {here}; expected the same on all ranks",
                other.rank, self.rank
            )
        };
        if self.version != other.version {
            return Some(of("msharp", &self.version, &other.version));
        }
        if self.size != other.size {
            return Some(of("WORLD_SIZE (or its launcher's number of processes)", &self.size, &other.size));
        }
        if self.run != other.run {
            return Some(of("the run", &format!("{:?}", self.run), &format!("{:?}", other.run)));
        }
        (other.rank >= self.size).then(|| format!("rank {} is not below WORLD_SIZE, {}", other.rank, self.size))
    }
}

/// Whether ranks that are not on one machine can reach each other at the addresses that they have.
///
/// # Errors
/// Names two, of which one can be reached on its own machine only.
pub(super) fn check_addresses(peers: &[Peer]) -> Result<()> {
    let find = |is_local: bool| peers.iter().find(|peer| peer.address.ip().is_loopback() == is_local);
    match (find(true), find(false)) {
        (Some(local), Some(other)) => bail!(
            "rank {} is at {}, which only its own machine can reach, and rank {} at {}; expected a MASTER_ADDR (of torchrun, \
             --master-addr or --rdzv-endpoint) that is one address on all machines",
            local.rank,
            local.address.ip(),
            other.rank,
            other.address.ip()
        ),
        _ => Ok(()),
    }
}

/// Sends the magic number and a text.
pub(super) fn send(stream: &mut impl Write, text: &str) -> io::Result<()> {
    stream.write_all(&[&MAGIC[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat())
}

/// Receives what [`send`] sends.
pub(super) fn receive(stream: &mut impl Read) -> io::Result<String> {
    let (mut magic, mut length) = ([0; 8], [0; 4]);
    stream.read_exact(&mut magic)?;
    if magic != MAGIC {
        return Err(ErrorKind::InvalidData.into());
    }
    stream.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > LONGEST {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut text = String::new();
    match stream.take(length.into()).read_to_string(&mut text)? {
        count if count == length as usize => Ok(text),
        _ => Err(ErrorKind::UnexpectedEof.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(rank: usize, address: &str) -> Peer {
        let (version, run) = ("0.1.0".to_owned(), "a run/2".to_owned());
        Peer { version, size: 4, rank, address: address.parse().unwrap(), token: u64::MAX, run }
    }

    #[test]
    fn a_card_is_read_as_it_was_written() {
        for peer in
            [peer(3, "10.0.0.1:4000"), peer(0, "[fe80::1%2]:1"), Peer { run: String::new(), ..peer(1, "[::1]:9") }]
        {
            assert_eq!(Peer::parse(&peer.line()), Some(peer));
        }
        for line in ["", "0.1.0 4 3", "0.1.0 4 x 10.0.0.1:4000 1 ", "0.1.0 4 3 10.0.0.1 1 "] {
            assert_eq!(Peer::parse(line), None, "{line}");
        }
        let mut bytes = Vec::new();
        send(&mut bytes, "two\nlines").unwrap();
        assert_eq!(receive(&mut bytes.as_slice()).unwrap(), "two\nlines");
        assert_eq!(receive(&mut &bytes[..bytes.len() - 1]).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        bytes[11] = 1; // 16 MB
        assert_eq!(receive(&mut bytes.as_slice()).unwrap_err().kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn what_differs_is_named() {
        let own = peer(0, "127.0.0.1:1");
        let other = peer(2, "127.0.0.1:2");
        assert_eq!(own.differs(&other), None);
        for (other, part) in [
            (Peer { version: "0.2.0".to_owned(), ..other.clone() }, "rank 2 has msharp 0.2.0, and rank 0 0.1.0"),
            (Peer { size: 3, ..other.clone() }, "rank 2 has WORLD_SIZE (or its launcher's number of processes) 3"),
            (Peer { run: "b".to_owned(), ..other.clone() }, "rank 2 has the run \"b\", and rank 0 \"a run/2\""),
            (Peer { rank: 4, ..other.clone() }, "rank 4 is not below"),
        ] {
            let text = own.differs(&other).unwrap();
            assert!(text.contains(part), "{text}");
        }
        check_addresses(&[own.clone(), other]).unwrap();
        let error = check_addresses(&[own, peer(1, "10.0.0.7:2")]).unwrap_err().to_string();
        assert!(error.contains("rank 0 is at 127.0.0.1") && error.contains("rank 1 at 10.0.0.7"), "{error}");
    }
}

//! How ranks find each other: by rank 0, which listens at MASTER_ADDR and MASTER_PORT, or by torchrun's agent.
//!
//! Each rank connects to rank 0 and sends its [`Peer`]; when all have come, rank 0 sends all peers to each. That stream
//! stays the one between the two.

use super::deadline::Deadline;
use super::peer::{self, Peer, check_addresses};
use super::{Limits, agent, mesh};
use crate::{Launch, Place};
use candle_core::{Result, bail};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// How long a port may stay in use by a program that is about to end.
const PORT: Duration = Duration::from_secs(3);

/// A stream to each other rank.
pub(super) fn meet(limits: Limits, launch: &Launch, say: &dyn Fn(&str)) -> Result<Vec<Option<TcpStream>>> {
    let Some(place) = &launch.place else {
        bail!(
            "{} is {}, and MASTER_ADDR and MASTER_PORT are not set; expected both, to meet over TCP",
            launch.variable,
            launch.size
        )
    };
    let mut deadline = Deadline::new(limits, launch.rank, place, say);
    match (launch.size, place.has_agent, launch.rank) {
        (1, ..) => Ok(vec![None]),
        (_, true, _) => agent::meet(launch, place, &mut deadline),
        (_, false, 0) => host(launch, place, &mut deadline),
        (_, false, _) => join(launch, place, &mut deadline),
    }
}

/// As rank 0.
fn host(launch: &Launch, place: &Place, deadline: &mut Deadline) -> Result<Vec<Option<TcpStream>>> {
    let listener = listen_at(place)?;
    let own = Peer::new(launch, &place.run, listener.local_addr()?);
    let mut come: Vec<Option<(TcpStream, Peer)>> = (0..launch.size).map(|_| None).collect();
    loop {
        let missing: Vec<usize> = (1..launch.size).filter(|rank| come[*rank].is_none()).collect();
        if missing.is_empty() {
            break;
        }
        let Some(mut stream) = mesh::accept(&listener, deadline.limits)? else {
            if let Err(error) = deadline.wait(&missing, "") {
                let fault = error.to_string();
                for (stream, _) in come.iter_mut().flatten() {
                    let _ = peer::send(stream, &format!("no\n{}", fault.lines().next().unwrap_or_default()));
                }
                return Err(error);
            }
            continue;
        };
        // What says anything else is no rank, and is left alone.
        let Some(peer) = peer::receive(&mut stream).ok().and_then(|text| Peer::parse(&text)) else { continue };
        let twice = come.get(peer.rank).is_some_and(|one| one.as_ref().is_some_and(|(stream, _)| is_open(stream)));
        let fault = own.differs(&peer).or_else(|| (peer.rank == 0 || twice).then(|| came_twice(peer.rank, place)));
        match fault {
            Some(fault) => drop(peer::send(&mut stream, &format!("no\n{fault}"))),
            None => {
                let rank = peer.rank;
                come[rank] = Some((stream, peer));
            }
        }
    }
    let come: Vec<(TcpStream, Peer)> = come.into_iter().flatten().collect();
    let peers: Vec<Peer> = come.iter().map(|(_, peer)| peer.clone()).collect();
    let checked = check_addresses(&peers);
    let lines: Vec<String> = peers.iter().map(Peer::line).collect();
    let text = match &checked {
        Ok(()) => format!("yes\n{}", lines.join("\n")),
        Err(error) => format!("no\n{}", error.to_string().lines().next().unwrap_or_default()),
    };
    let mut streams = vec![None];
    for (mut stream, peer) in come {
        if let Err(error) = peer::send(&mut stream, &text) {
            bail!("rank {} ended before all had met: {error}", peer.rank)
        }
        streams.push(Some(stream));
    }
    checked.map(|()| streams)
}

/// As any other rank.
fn join(launch: &Launch, place: &Place, deadline: &mut Deadline) -> Result<Vec<Option<TcpStream>>> {
    let mut stream = loop {
        match mesh::connect(&place.host, place.port) {
            Ok(stream) => break stream,
            Err(error) => deadline.wait(&[0], &error.to_string())?,
        }
    };
    let listener = mesh::listen(SocketAddr::new(stream.local_addr()?.ip(), 0))?;
    let own = Peer::new(launch, &place.run, listener.local_addr()?);
    // Rank 0 names those that are missing a little before this one gives up.
    stream.set_read_timeout(Some(deadline.left() + deadline.limits.hello))?;
    let answer = peer::send(&mut stream, &own.line()).and_then(|()| peer::receive(&mut stream));
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) if error.kind() == ErrorKind::InvalidData => bail!(
            "another program than rank 0 answers at {place}; expected a free port as MASTER_PORT, the same for all ranks"
        ),
        Err(error) => bail!("rank 0 ended before all ranks had met at {place}: {error}"),
    };
    let lines = match answer.split_once('\n') {
        Some(("yes", lines)) => lines,
        Some((_, fault)) => bail!("{fault}"),
        None => bail!("{answer}"),
    };
    let peers: Option<Vec<Peer>> = lines.lines().map(Peer::parse).collect();
    let peers = peers.filter(|peers| peers.iter().map(|peer| peer.rank).eq(1..launch.size));
    let Some(peers) = peers else { bail!("rank 0 sent no list of the ranks to rank {}", launch.rank) };
    let mut streams: Vec<Option<TcpStream>> = (0..launch.size).map(|_| None).collect();
    streams[0] = Some(stream);
    mesh::complete(streams, &own, &listener, |rank| Ok(peers[rank - 1].clone()), deadline)
}

fn came_twice(rank: usize, place: &Place) -> String {
    format!(
        "rank {rank} has come to {place} twice; expected another RANK, or for another run another MASTER_PORT that is free"
    )
}

/// Whether the other end has neither closed a stream nor sent anything out of turn.
fn is_open(stream: &TcpStream) -> bool {
    let peeked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0]));
    stream.set_nonblocking(false).is_ok() && peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// Listens at a place, which must be on this machine. Other machines may know a name by another address than this one,
/// so under a name every address is listened at.
fn listen_at(place: &Place) -> Result<TcpListener> {
    let any = [IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
    let (is_name, addresses) = match (place.host.parse::<IpAddr>(), place.host.as_str()) {
        (Ok(address), _) => (false, vec![address]),
        (Err(_), "localhost") => (false, vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]),
        (Err(_), _) => (true, any.to_vec()),
    };
    let started = Instant::now();
    loop {
        let bound = addresses.iter().map(|address| TcpListener::bind((*address, place.port)));
        let error = match first(bound) {
            Ok(listener) => {
                listener.set_nonblocking(true)?;
                return Ok(listener);
            }
            Err(error) => error,
        };
        match error.kind() {
            ErrorKind::AddrInUse if started.elapsed() < PORT => thread::sleep(Duration::from_millis(100)),
            ErrorKind::AddrInUse => bail!(
                "another program listens at MASTER_PORT, {}, on this machine; expected a port that is free",
                place.port
            ),
            _ if is_name => bail!("rank 0 cannot listen at port {} (MASTER_PORT): {error}", place.port),
            _ => bail!(
                "rank 0 cannot listen at {place} (MASTER_ADDR, MASTER_PORT): {error}; expected an address of its machine"
            ),
        }
    }
}

/// The first that is bound, or the last error.
fn first(bound: impl Iterator<Item = io::Result<TcpListener>>) -> io::Result<TcpListener> {
    let mut error = io::Error::from(ErrorKind::NotFound);
    for one in bound {
        match one {
            Ok(listener) => return Ok(listener),
            Err(other) => error = other,
        }
    }
    Err(error)
}

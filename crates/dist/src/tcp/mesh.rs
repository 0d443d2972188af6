//! A stream between each two ranks, by what they know of each other.

use super::Limits;
use super::deadline::Deadline;
use super::frame::is_late;
use super::peer::{MAGIC, Peer};
use candle_core::{Result, bail};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long a machine may take to accept a connection.
const CONNECTING: Duration = Duration::from_secs(5);

/// Adds the streams that are missing: connects to each rank below `own`, of which `lookup` knows where it is now, and
/// waits for those above.
pub(super) fn complete(
    mut streams: Vec<Option<TcpStream>>,
    own: &Peer,
    listener: &TcpListener,
    mut lookup: impl FnMut(usize) -> Result<Peer>,
    deadline: &mut Deadline,
) -> Result<Vec<Option<TcpStream>>> {
    for (rank, stream) in streams.iter_mut().enumerate().take(own.rank) {
        while stream.is_none() {
            let other = lookup(rank)?;
            match greet(own, &other, deadline.limits) {
                Ok(connected) => *stream = Some(connected),
                Err(error) => deadline.wait(&[rank], &format!("{}: {error}", other.address))?,
            }
        }
    }
    loop {
        let missing: Vec<usize> = (own.rank + 1..own.size).filter(|rank| streams[*rank].is_none()).collect();
        if missing.is_empty() {
            return Ok(streams);
        }
        match accept(listener, deadline.limits)? {
            // Who is not one of these ranks is not answered. A rank that comes again has given up its first connection.
            Some(mut stream) => {
                if let Ok(rank) = greeted(&mut stream, own) {
                    streams[rank] = Some(stream);
                }
            }
            None => deadline.wait(&missing, "")?,
        }
    }
}

/// Connects to `other`: says that it is meant, and who this is, and hears the same token in return.
fn greet(own: &Peer, other: &Peer, limits: Limits) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&other.address, CONNECTING)?;
    stream.set_read_timeout(Some(2 * limits.hello))?;
    stream.write_all(&hello(other.token, own.rank, own.token))?;
    let mut answer = [0; 16];
    stream.read_exact(&mut answer)?;
    match answer == [MAGIC, own.token.to_le_bytes()].as_flattened() {
        true => Ok(stream),
        false => Err(io::Error::new(ErrorKind::InvalidData, "another program answers there")),
    }
}

fn hello(to: u64, rank: usize, from: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice([MAGIC, to.to_le_bytes(), (rank as u64).to_le_bytes(), from.to_le_bytes()].as_flattened());
    bytes
}

/// The rank of a connection that another has made to this one.
fn greeted(stream: &mut TcpStream, own: &Peer) -> io::Result<usize> {
    let mut bytes = [0; 32];
    stream.read_exact(&mut bytes)?;
    let [_, _, rank, token] = [0, 8, 16, 24].map(|at| {
        let mut number = [0; 8];
        number.copy_from_slice(&bytes[at..at + 8]);
        u64::from_le_bytes(number)
    });
    let rank = rank as usize;
    if bytes != hello(own.token, rank, token) || rank <= own.rank || rank >= own.size {
        return Err(ErrorKind::InvalidData.into());
    }
    stream.write_all([MAGIC, token.to_le_bytes()].as_flattened())?;
    Ok(rank)
}

/// The next connection, if there is one; it has a little time to say who it is.
pub(super) fn accept(listener: &TcpListener, limits: Limits) -> Result<Option<TcpStream>> {
    let stream = match listener.accept() {
        Ok((stream, _)) => stream,
        Err(error) if is_late(&error) => return Ok(None),
        Err(error) if error.kind() == ErrorKind::ConnectionAborted => return Ok(None),
        Err(error) => bail!("no connection can be accepted: {error}"),
    };
    let ready = stream.set_nonblocking(false).and_then(|()| stream.set_read_timeout(Some(limits.hello)));
    Ok(ready.is_ok().then_some(stream))
}

/// Listens at a free port of an address.
pub(super) fn listen(address: SocketAddr) -> Result<TcpListener> {
    let bound = TcpListener::bind(address).and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
    match bound {
        Ok(listener) => Ok(listener),
        Err(error) => bail!("cannot listen at {address}: {error}"),
    }
}

/// Connects to a place, at the first of its addresses that answers.
pub(super) fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut error = io::Error::new(ErrorKind::NotFound, "it has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECTING) {
            Ok(stream) => return stream.set_nodelay(true).map(|()| stream),
            Err(other) => error = other,
        }
    }
    Err(error)
}

//! Frames on a stream between two ranks: eight bytes of length, then the message. The four largest lengths are signals.

use super::Ended;
use std::io::{self, ErrorKind, IoSlice, Read, Write};

const ENDED: u64 = u64::MAX;
const LEFT: u64 = u64::MAX - 1;
const PING: u64 = u64::MAX - 2;
const PONG: u64 = u64::MAX - 3;

/// Bytes of a reason, at most.
const REASON: usize = 4096;
/// By how much the memory for a message may be ahead of what has come of it.
const AHEAD: usize = 1 << 20;

/// What a rank sends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Frame<'a> {
    /// A part of a collective operation.
    Message(&'a [u8]),
    /// A question whether the other is there, and its answer.
    Ping,
    Pong,
    /// The last frame of a rank that has finished.
    Left,
    /// Who has ended, and why; the last frame of the rank that says so.
    Ended(&'a Ended),
}

/// What has come; a message is in the buffer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Came {
    Message,
    Ping,
    Pong,
    Left,
    Ended(Ended),
}

/// Sends a frame. Where the stream has a limit of time that is over before a byte could be sent, `goes_on` tells
/// whether to try again.
pub(super) fn write(stream: &mut impl Write, frame: Frame, goes_on: impl Fn() -> bool) -> io::Result<()> {
    let text;
    let (head, body): (u64, &[u8]) = match frame {
        Frame::Message(bytes) => (bytes.len() as u64, bytes),
        Frame::Ping => (PING, &[]),
        Frame::Pong => (PONG, &[]),
        Frame::Left => (LEFT, &[]),
        Frame::Ended(ended) => {
            text = encoded(ended);
            (ENDED, &text)
        }
    };
    let head = head.to_le_bytes();
    let mut sent = 0;
    while sent < head.len() + body.len() {
        let rest =
            [IoSlice::new(&head[sent.min(head.len())..]), IoSlice::new(&body[sent.saturating_sub(head.len())..])];
        match stream.write_vectored(&rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::Interrupted || is_late(&error) && goes_on() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Receives a frame; of a message, exactly the bytes that its length declares.
pub(super) fn read(stream: &mut impl Read, message: &mut Vec<u8>) -> io::Result<Came> {
    let mut number = || -> io::Result<u64> {
        let mut bytes = [0; 8];
        stream.read_exact(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    };
    match number()? {
        PING => Ok(Came::Ping),
        PONG => Ok(Came::Pong),
        LEFT => Ok(Came::Left),
        ENDED => {
            let (rank, is_own, length) = (number()? as usize, number()? == 1, number()? as usize);
            if length > REASON {
                return Err(io::Error::new(ErrorKind::InvalidData, format!("a reason of {length} bytes")));
            }
            let mut reason = vec![0; length];
            stream.read_exact(&mut reason)?;
            Ok(Came::Ended(Ended { rank, reason: String::from_utf8_lossy(&reason).into_owned(), is_own }))
        }
        length => {
            let within = |error: io::Error| match error.kind() {
                ErrorKind::UnexpectedEof => {
                    io::Error::new(error.kind(), format!("the connection closed within a message of {length} bytes"))
                }
                _ => error,
            };
            let length = usize::try_from(length).map_err(|_| ErrorKind::InvalidData)?;
            message.truncate(length);
            let mut done = 0;
            while done < length {
                let until = length.min(message.len().max(done + AHEAD));
                message.resize(until, 0);
                stream.read_exact(&mut message[done..]).map_err(within)?;
                done = until;
            }
            Ok(Came::Message)
        }
    }
}

/// Rank, whether it says so itself, and the reason.
fn encoded(ended: &Ended) -> Vec<u8> {
    let mut length = ended.reason.len().min(REASON);
    while !ended.reason.is_char_boundary(length) {
        length -= 1;
    }
    let numbers = [ended.rank as u64, u64::from(ended.is_own), length as u64].map(u64::to_le_bytes);
    [numbers.as_flattened(), &ended.reason.as_bytes()[..length]].concat()
}

/// Whether a limit of time was over, as the systems name it.
pub(super) fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream that takes and gives a few bytes at once.
    struct Narrow(Vec<u8>);

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(3);
            self.0.extend(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn frames_come_as_they_were_sent_and_nothing_is_read_past_one() {
        let mut stream = Narrow(Vec::new());
        let ended = Ended { rank: 2, reason: "ü".repeat(3000), is_own: true };
        let frames = [
            Frame::Message(b"first"),
            Frame::Message(&[]),
            Frame::Ping,
            Frame::Pong,
            Frame::Ended(&ended),
            Frame::Left,
        ];
        for frame in frames {
            write(&mut stream, frame, || false).unwrap();
        }
        let (mut bytes, mut message) = (stream.0.as_slice(), vec![7; 100]);
        assert_eq!((read(&mut bytes, &mut message).unwrap(), message.as_slice()), (Came::Message, &b"first"[..]));
        assert_eq!((read(&mut bytes, &mut message).unwrap(), message.as_slice()), (Came::Message, &[][..]));
        assert_eq!(read(&mut bytes, &mut message).unwrap(), Came::Ping);
        assert_eq!(read(&mut bytes, &mut message).unwrap(), Came::Pong);
        let shortened = Ended { reason: "ü".repeat(REASON / 2), ..ended };
        assert_eq!(read(&mut bytes, &mut message).unwrap(), Came::Ended(shortened));
        assert_eq!(bytes.len(), 8);
        assert_eq!(read(&mut bytes, &mut message).unwrap(), Came::Left);
        assert_eq!(read(&mut bytes, &mut message).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_length_that_nothing_follows_takes_no_memory() {
        let (bytes, mut message) = ([(1u64 << 50).to_le_bytes().as_slice(), b"few"].concat(), Vec::new());
        let error = read(&mut bytes.as_slice(), &mut message).unwrap_err();
        assert!(error.to_string().contains("within a message of 1125899906842624 bytes"), "{error}");
        assert!(message.capacity() <= 2 * AHEAD);
        let long = [u64::MAX, 0, 0, 1 << 40].map(u64::to_le_bytes);
        assert_eq!(read(&mut long.as_flattened(), &mut message).unwrap_err().kind(), ErrorKind::InvalidData);
    }
}

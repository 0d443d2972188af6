//! A server that speaks the protocol of PyTorch's `TCPStore`, as the agent of torchrun does: as a proxy before the one
//! of torch 2.15.0 (libuv backend) recorded it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

type Values = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// Keys and their values.
pub struct Store {
    pub port: u16,
    values: Values,
}

impl Store {
    /// Listens on the loopback, until the test ends.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, values) = (listener.local_addr().unwrap().port(), Values::default());
        let served = Arc::clone(&values);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, values) = (stream.unwrap(), Arc::clone(&served));
                std::thread::spawn(move || serve(stream, &values));
            }
        });
        Self { port, values }
    }

    /// Sets the value of a key.
    pub fn put(&self, key: &str, value: &[u8]) {
        self.values.lock().unwrap().insert(key.to_owned(), value.to_vec());
    }

    /// The keys that have a value, in order.
    pub fn keys(&self) -> Vec<String> {
        self.values.lock().unwrap().keys().cloned().collect()
    }
}

/// Requests of one client, until it closes its connection or says something that has no meaning.
fn serve(mut stream: TcpStream, values: &Values) -> io::Result<()> {
    let mut validation = [0; 5];
    stream.read_exact(&mut validation)?;
    if validation != [0, 0xCE, 0xF7, 0x85, 0x3C] {
        return Ok(());
    }
    loop {
        let mut kind = [0];
        stream.read_exact(&mut kind)?;
        match kind[0] {
            // SET: a key and a value, without an answer
            1 => {
                let (key, value) = (text(&mut stream)?, bytes(&mut stream)?);
                values.lock().unwrap().insert(key, value);
            }
            // GET: a key that has a value
            3 => {
                let key = text(&mut stream)?;
                let value = values.lock().unwrap()[&key].clone();
                stream.write_all(&[&(value.len() as u64).to_le_bytes(), value.as_slice()].concat())?;
            }
            // CHECK: whether keys have values, 0 if all of them do
            5 => {
                let mut count = [0; 8];
                stream.read_exact(&mut count)?;
                let keys: io::Result<Vec<String>> = (0..u64::from_le_bytes(count)).map(|_| text(&mut stream)).collect();
                let values = values.lock().unwrap();
                let is_missing = keys?.iter().any(|key| !values.contains_key(key));
                stream.write_all(&[u8::from(is_missing)])?;
            }
            // PING: four bytes, which come back
            13 => {
                let mut nonce = [0; 4];
                stream.read_exact(&mut nonce)?;
                stream.write_all(&nonce)?;
            }
            _ => return Ok(()),
        }
    }
}

fn bytes(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 8];
    stream.read_exact(&mut length)?;
    let mut bytes = vec![0; u64::from_le_bytes(length) as usize];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn text(stream: &mut TcpStream) -> io::Result<String> {
    bytes(stream).map(|bytes| String::from_utf8(bytes).unwrap())
}

//! A way to each of several nodes, on which answers of some kinds are held back until every node has been asked for them: so
//! which of the nodes is quicker decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use crate::bitcoind::PATIENCE;

/// Bytes before a payload: the magic, the name of the message, the payload's length and checksum.
const HEADER: usize = 24;

/// Requests, and the answers to them that are held back.
pub(crate) type Held = &'static [(&'static str, &'static str)];

/// Opens a way to each node, for connections that are not encrypted. Their threads end with the connections and the program.
pub(crate) fn ways<const N: usize>(nodes: [SocketAddr; N], held: Held) -> [SocketAddr; N] {
    let asked = Arc::new(Asked { all: N, held, nodes: Mutex::default(), changed: Condvar::new() });
    let mut places = 0..N;
    nodes.map(|node| {
        let place = places.next().unwrap();
        let asked = Arc::clone(&asked);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                let node = TcpStream::connect(node).unwrap();
                let back = (node.try_clone().unwrap(), client.try_clone().unwrap());
                let (there, here) = (Arc::clone(&asked), Arc::clone(&asked));
                thread::spawn(move || carry(client, node, |name| there.note(name, place)));
                thread::spawn(move || carry(back.0, back.1, |name| here.wait(name)));
            }
        });
        address
    })
}

/// What was asked for on all ways.
#[derive(Debug)]
struct Asked {
    all: usize,
    held: Held,
    /// By the names of the requests: which nodes were asked.
    nodes: Mutex<BTreeMap<String, BTreeSet<usize>>>,
    changed: Condvar,
}

impl Asked {
    fn note(&self, request: &str, node: usize) -> Result<()> {
        self.nodes.lock().unwrap().entry(request.to_owned()).or_default().insert(node);
        self.changed.notify_all();
        Ok(())
    }

    /// Until an answer of this name may pass. An error: for too long.
    fn wait(&self, answer: &str) -> Result<()> {
        let Some((request, _)) = self.held.iter().find(|(_, held)| *held == answer) else { return Ok(()) };
        let (nodes, waited) = self
            .changed
            .wait_timeout_while(self.nodes.lock().unwrap(), PATIENCE, |nodes| {
                nodes.get(*request).is_none_or(|nodes| nodes.len() < self.all)
            })
            .unwrap();
        drop(nodes);
        if waited.timed_out() { Err(Error::from(ErrorKind::TimedOut)) } else { Ok(()) }
    }
}

/// Carries messages from one end to the other, each once its name may pass, until one of the ends is gone.
fn carry(mut from: TcpStream, mut to: TcpStream, pass: impl Fn(&str) -> Result<()>) {
    let mut carry_one = || {
        let mut message = vec![0; HEADER];
        from.read_exact(&mut message)?;
        let length = u32::from_le_bytes([message[16], message[17], message[18], message[19]]);
        Read::by_ref(&mut from).take(length.into()).read_to_end(&mut message)?;
        pass(String::from_utf8_lossy(&message[4..16]).trim_end_matches('\0'))?;
        to.write_all(&message)
    };
    while carry_one().is_ok() {}
    // Both may be gone.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

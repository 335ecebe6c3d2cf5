//! A peer that sends what it is told to and takes down what it is answered, byte for byte.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use andon_bitcoin::wire::{CommandName, FrameReader, Message, Version};
use bitcoin::p2p::ServiceFlags;

use crate::bitcoind::PATIENCE;

/// What frames of regtest begin with.
pub(crate) const MAGIC: [u8; 4] = [0xfa, 0xbf, 0xb5, 0xda];

/// A connection.
#[derive(Debug)]
pub(crate) struct RawPeer {
    stream: TcpStream,
    reader: FrameReader,
    pings: u64,
}

/// A message that came.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) command: CommandName,
    pub(crate) payload: Vec<u8>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = &self.payload[..self.payload.len().min(100)];
        write!(f, "{} of {} bytes ", self.command, self.payload.len())?;
        shown.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What came after something was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answers {
    pub(crate) messages: Vec<Answer>,
    /// Whether the other side closed the connection.
    pub(crate) closed: bool,
}

/// A version that wants everything.
pub(crate) fn version(protocol: u32, relay: bool) -> Message<'static> {
    Message::Version(Version {
        protocol,
        services: ServiceFlags::NONE,
        time: 1_700_000_000,
        nonce: 77,
        user_agent: b"/test/",
        start_height: 0,
        relay,
    })
}

/// A message as it goes over the wire.
pub(crate) fn bytes(message: &Message<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.write(&mut bytes, MAGIC);
    bytes
}

impl RawPeer {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, reader: FrameReader::new(MAGIC), pings: 0 }
    }

    /// A connection whose handshake is done.
    pub(crate) fn introduced(address: SocketAddr, relay: bool) -> Self {
        let mut peer = Self::connect(address);
        peer.send(&bytes(&version(70016, relay)));
        peer.send(&bytes(&Message::Verack));
        assert!(!peer.answers().closed);
        peer
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        // If it fails, the other side has closed the connection, and reading says so.
        let _ = self.stream.write_all(bytes);
    }

    /// What has come since the last time. A ping tells that nothing more comes.
    pub(crate) fn answers(&mut self) -> Answers {
        self.pings += 1;
        let nonce = 0x5e5e_0000_0000_0000 + self.pings;
        self.send(&bytes(&Message::Ping(nonce)));
        let mut messages = self.read_until(|answer| *answer == pong(nonce));
        let closed = messages.last() != Some(&pong(nonce));
        if !closed {
            messages.pop();
        }
        Answers { messages, closed }
    }

    /// What comes until a message, which is the last one, or until the connection ends.
    pub(crate) fn read_until(&mut self, is_last: impl Fn(&Answer) -> bool) -> Vec<Answer> {
        let mut messages = Vec::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = match self.stream.read(&mut buffer) {
                Ok(0) => return messages,
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    panic!("no answer, after {messages:?}")
                }
                // Reset: the other side closed it without reading everything.
                Err(_) => return messages,
            };
            let mut rest = &buffer[..count];
            while let Some(frame) = self.reader.next(&mut rest).expect("nodes send sound frames") {
                let answer = Answer { command: frame.command, payload: frame.payload.to_vec() };
                let last = is_last(&answer);
                messages.push(answer);
                if last {
                    return messages;
                }
            }
        }
    }
}

fn pong(nonce: u64) -> Answer {
    Answer { command: Message::Pong(nonce).command(), payload: nonce.to_le_bytes().to_vec() }
}

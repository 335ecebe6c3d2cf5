//! A run, written down turn by turn.

use std::collections::BTreeMap;
use std::fmt::Write;

use andon_bitcoin::wire::FrameReader;
use andon_kernel::{ConnId, Link};
use bitcoin::Network;

use crate::world::{NodeId, NodeInput, Time, Trace, Traced};

/// Writes what happens: a line for each turn, and indented ones for what a node does in it. What it is given can be printed at once, so a
/// run that does not end can be looked at.
pub struct Show {
    names: BTreeMap<NodeId, String>,
    /// Whether nodes but the client are shown.
    all: bool,
    client: Option<NodeId>,
    print: Box<dyn FnMut(&str)>,
    turn: u64,
    /// What the client reads and writes in the clear, by connection and direction. None: it is no message.
    clear: BTreeMap<(ConnId, bool), Option<FrameReader>>,
}

impl Show {
    /// One that knows what nodes are called and prints lines; of `all`, or of the client alone.
    pub fn new(names: BTreeMap<NodeId, String>, all: bool, print: Box<dyn FnMut(&str)>) -> Self {
        let client = names.iter().find(|(_, name)| *name == "client").map(|(node, _)| *node);
        Self { names, all, client, print, turn: 0, clear: BTreeMap::new() }
    }

    fn name(&self, node: NodeId) -> &str {
        self.names.get(&node).map_or("?", String::as_str)
    }

    fn messages(&mut self, conn: ConnId, sent: bool, bytes: &[u8]) -> String {
        let magic = Network::Regtest.magic().to_bytes();
        let reading = self.clear.entry((conn, sent)).or_insert_with(|| Some(FrameReader::new(magic)));
        let mut text = format!("{} bytes", bytes.len());
        let Some(frames) = reading else { return text };
        let mut rest = bytes;
        loop {
            match frames.next(&mut rest) {
                Ok(Some(frame)) => {
                    let _ = write!(text, ", {}", frame.command);
                }
                Ok(None) => return text,
                // It is encrypted, or nonsense.
                Err(_) => {
                    *reading = None;
                    return text;
                }
            }
        }
    }
}

impl std::fmt::Debug for Show {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Show").field("names", &self.names).field("all", &self.all).finish_non_exhaustive()
    }
}

impl Trace for Show {
    fn happened(&mut self, at: Time, node: NodeId, what: Traced<'_>) {
        let is_input = matches!(what, Traced::Input(_));
        self.turn += u64::from(is_input);
        let is_client = Some(node) == self.client;
        if !self.all && !is_client {
            return;
        }
        let text = match what {
            Traced::Input(input) => match input {
                NodeInput::Start => "starts".to_owned(),
                NodeInput::Wake => "wakes".to_owned(),
                NodeInput::Due => "its disk goes on".to_owned(),
                NodeInput::Connected { conn, remote, link: Link::Outbound } => {
                    format!("{conn:?} is connected to {remote}")
                }
                NodeInput::Connected { conn, remote, link: Link::Inbound } => {
                    format!("{conn:?} is accepted from {remote}")
                }
                NodeInput::Received { conn, bytes } => {
                    let messages = self.messages(*conn, false, bytes);
                    format!("{conn:?} brings {messages}")
                }
                NodeInput::Drained { conn } => format!("{conn:?} is drained"),
                NodeInput::Disconnected { conn, reason } => {
                    self.clear.remove(&(*conn, false));
                    self.clear.remove(&(*conn, true));
                    format!("{conn:?} is over: {reason}")
                }
                NodeInput::HalfClosed { conn } => format!("{conn:?} is half closed"),
                NodeInput::Datagram { from, bytes } => {
                    format!("a datagram of {} bytes from {from}", bytes.len())
                }
                NodeInput::Resolved { addrs, .. } => format!("a name leads to {addrs:?}"),
            },
            Traced::Connect { conn, addr } => format!("dials {addr} as {conn:?}"),
            Traced::Send { conn, bytes } => {
                let messages = if is_client {
                    self.messages(conn, true, bytes)
                } else {
                    format!("{} bytes", bytes.len())
                };
                format!("sends {conn:?} {messages}")
            }
            Traced::Shut { conn } => format!("ends its half of {conn:?}"),
            Traced::Reset { conn } => format!("breaks {conn:?} off"),
            Traced::Pause { conn, paused } => {
                format!("{} {conn:?}", if paused { "pauses" } else { "goes on with" })
            }
            Traced::Flush { conn } => format!("flushes {conn:?}"),
            Traced::Close { conn, .. } => format!("closes {conn:?}"),
            Traced::Datagram { to, bytes } => format!("sends a datagram of {} bytes to {to}", bytes.len()),
            Traced::Resolve { host, port } => format!("looks {host}:{port} up"),
            Traced::Note { text } => format!("tells {text}"),
        };
        let line = if is_input {
            format!("{at} {:>7} {}: {text}", self.turn, self.name(node))
        } else {
            format!("{:25}{text}", "")
        };
        (self.print)(&line);
    }
}

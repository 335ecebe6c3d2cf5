//! A router of I2P in front of the peers (SAM), that a test can have do otherwise.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use andon_kernel::ConnId;

use super::Lab;
use super::wire::Wire;

/// Where it listens.
pub(crate) fn address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7656))
}

#[derive(Default)]
pub(crate) struct Router {
    /// Peers by the names of their destinations.
    pub(crate) names: BTreeMap<String, usize>,
    /// What it says to a line that begins so, in place of what it would. Nothing: it says nothing.
    pub(crate) instead: Option<(&'static str, &'static str)>,
    /// A line that begins so it answers by hanging up.
    pub(crate) hangs_up_at: Option<&'static str>,
    /// Which connection holds which session, whether it is still open or not.
    pub(crate) sessions: BTreeMap<String, ConnId>,
    /// What it was told.
    pub(crate) lines: Vec<String>,
}

impl Lab {
    /// What the client says to the router, a line at a time, as it says nothing before it is answered.
    pub(super) fn tell_router(&mut self, conn: ConnId, bytes: &[u8]) {
        let router = self.router.as_mut().expect("it is the router's connection");
        let line = std::str::from_utf8(bytes).expect("lines are text");
        let line = line.strip_suffix('\n').filter(|line| !line.contains('\n')).expect("it is one line");
        router.lines.push(line.to_owned());
        if router.hangs_up_at.is_some_and(|begin| line.starts_with(begin)) {
            return self.hang_up(conn);
        }
        if let Some((_, answer)) = router.instead.filter(|(begin, _)| line.starts_with(begin)) {
            if !answer.is_empty() {
                self.send_bytes(conn, answer.into());
            }
            return;
        }
        let words: Vec<&str> = line.split(' ').collect();
        let answer = match words[..] {
            ["HELLO", "VERSION", "MIN=3.1", "MAX=3.1"] => "HELLO REPLY RESULT=OK VERSION=3.1".to_owned(),
            ["SESSION", "CREATE", "STYLE=STREAM", id, "DESTINATION=TRANSIENT", "SIGNATURE_TYPE=7", ..] => {
                let id = id.strip_prefix("ID=").expect("a session has a name");
                assert!(router.sessions.insert(id.to_owned(), conn).is_none(), "a name is used twice");
                format!("SESSION STATUS RESULT=OK DESTINATION={}", "s".repeat(884))
            }
            ["NAMING", "LOOKUP", name] => {
                let name = name.strip_prefix("NAME=").expect("a name is looked up");
                match router.names.get(name) {
                    Some(peer) => format!("NAMING REPLY RESULT=OK NAME={name} VALUE={peer:0516}"),
                    None => format!("NAMING REPLY RESULT=KEY_NOT_FOUND NAME={name}"),
                }
            }
            ["STREAM", "CONNECT", id, destination, "SILENT=false"] => {
                let session = router.sessions.get(id.strip_prefix("ID=").expect("a session has a name"));
                let is_open =
                    session.is_some_and(|session| self.lines.get(session).is_some_and(|line| line.open));
                assert!(is_open, "the session stands");
                let peer: usize =
                    destination.strip_prefix("DESTINATION=").and_then(|text| text.parse().ok()).unwrap();
                if self.peers.get(peer).is_some_and(|peer| peer.up) {
                    let line = self.lines.get_mut(&conn).expect("it has just spoken");
                    line.router = false;
                    line.peer = peer;
                    line.wire = Wire::new(conn, self.peers[peer].knows_encryption);
                    "STREAM STATUS RESULT=OK".to_owned()
                } else {
                    "STREAM STATUS RESULT=CANT_REACH_PEER MESSAGE=\"no way there\"".to_owned()
                }
            }
            _ => panic!("this is said to no router: {line}"),
        };
        self.send_bytes(conn, (answer + "\n").into_bytes());
    }

    /// How many connections are open, whoever they lead to.
    pub(crate) fn open_connections(&self) -> usize {
        self.lines.values().filter(|line| line.open).count()
    }

    /// The router ends all sessions, and the connections by them.
    pub(crate) fn end_sessions(&mut self) {
        let router = self.router.as_mut().expect("there is one");
        for session in std::mem::take(&mut router.sessions).into_values() {
            if self.lines.get(&session).is_some_and(|line| line.open) {
                self.hang_up(session);
            }
        }
    }
}

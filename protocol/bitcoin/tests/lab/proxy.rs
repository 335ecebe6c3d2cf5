//! A SOCKS5 proxy in front of the peers, that a test can have do otherwise.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use andon_bitcoin::client::{Proxy as Configured, ProxyLogin};
use andon_kernel::ConnId;

use super::Lab;
use super::wire::Wire;

/// Where it listens.
pub(crate) fn address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9050))
}

pub(crate) fn configured(login: ProxyLogin) -> Option<Configured> {
    Some(Configured { address: address(), login })
}

#[derive(Default)]
pub(crate) struct Proxy {
    /// Peers by the names that the proxy looks up; by address they are known anyway.
    pub(crate) names: BTreeMap<String, usize>,
    /// Whether it wants to know who it talks to.
    pub(crate) wants_login: bool,
    pub(crate) conduct: Conduct,
    /// What it was given.
    pub(crate) logins: Vec<(String, String)>,
    pub(crate) targets: Vec<String>,
}

/// What it does about a request.
#[derive(Clone, Debug, Default)]
pub(crate) enum Conduct {
    /// It connects.
    #[default]
    Connect,
    /// It says this in place of its first answer.
    Begin(Vec<u8>),
    /// It says this in place of its last answer.
    End(Vec<u8>),
    /// It connects, and says this before anything that the peer says.
    Behind(Vec<u8>),
    HangUp,
    Silence,
}

/// How far it is with one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Method,
    Login,
    Request,
}

impl Lab {
    /// What the client says to the proxy, in one piece, as it says nothing before it is answered.
    pub(super) fn tell_proxy(&mut self, conn: ConnId, stage: Stage, bytes: &[u8]) {
        let proxy = self.proxy.as_mut().expect("it is the proxy's connection");
        let (answer, next) = match stage {
            Stage::Method => {
                let method = if proxy.wants_login { 2 } else { 0 };
                assert_eq!(bytes, [5, 1, method], "the client offers what it is configured with");
                let next = if proxy.wants_login { Stage::Login } else { Stage::Request };
                match &proxy.conduct {
                    Conduct::Begin(answer) => (answer.clone(), Some(next)),
                    Conduct::HangUp => return self.hang_up(conn),
                    Conduct::Silence => return,
                    _ => (vec![5, method], Some(next)),
                }
            }
            Stage::Login => {
                let text = |bytes: &[u8]| {
                    let (length, rest) = bytes.split_first().expect("a text has a length");
                    let (text, rest) = rest.split_at(usize::from(*length));
                    (String::from_utf8(text.to_vec()).expect("it is text"), rest.to_vec())
                };
                assert_eq!(bytes[0], 1);
                let (username, rest) = text(&bytes[1..]);
                let (password, rest) = text(&rest);
                assert!(rest.is_empty());
                proxy.logins.push((username, password));
                (vec![1, 0], Some(Stage::Request))
            }
            Stage::Request => {
                let (target, found) = read_request(bytes, &proxy.names);
                proxy.targets.push(target);
                let found = found.filter(|peer| self.peers.get(*peer).is_some_and(|peer| peer.up));
                let connected = [5, 0, 0, 1, 127, 0, 0, 1, 0, 1].to_vec();
                let answer = match (&proxy.conduct, found) {
                    (Conduct::End(answer), _) => answer.clone(),
                    (_, None) => vec![5, 4, 0, 1, 0, 0, 0, 0, 0, 0],
                    (Conduct::Behind(more), Some(_)) => [connected, more.clone()].concat(),
                    (_, Some(_)) => connected,
                };
                if let Some((peer, line)) = found.zip(self.lines.get_mut(&conn)) {
                    line.peer = peer;
                    line.wire = Wire::new(conn, self.peers[peer].knows_encryption);
                }
                (answer, None)
            }
        };
        if let Some(line) = self.lines.get_mut(&conn) {
            line.proxy = next;
        }
        if !answer.is_empty() {
            self.send_bytes(conn, answer);
        }
    }
}

fn read_request(bytes: &[u8], names: &BTreeMap<String, usize>) -> (String, Option<usize>) {
    assert_eq!(bytes[..3], [5, 1, 0]);
    let (name, port) = bytes[3..].split_last_chunk::<2>().expect("a request has a port");
    let port = u16::from_be_bytes(*port);
    match name {
        [1, a, b, c, d] => (format!("{a}.{b}.{c}.{d}:{port}"), Some(usize::from(port - 30_000))),
        [4, address @ ..] => {
            let address: [u8; 16] = address.try_into().expect("an address has 16 bytes");
            let address = SocketAddr::from((address, port));
            (address.to_string(), Some(usize::from(port - 30_000)))
        }
        [3, length, name @ ..] => {
            assert_eq!(usize::from(*length), name.len());
            let name = String::from_utf8(name.to_vec()).expect("it is text");
            let peer = names.get(&name).copied();
            (format!("{name}:{port}"), peer)
        }
        other => panic!("no test needs this: {other:?}"),
    }
}

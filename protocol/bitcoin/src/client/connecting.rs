//! How a connection begins: the dial, the proxy (SOCKS5) or the router of I2P (SAM), the version of the transport (BIP324), our `version`.
//!
//! With a proxy nothing goes around it: nobody else is dialled, and no name is looked up.

use alloc::vec::Vec;
use core::fmt::Write;
use core::net::SocketAddr;
use core::time::Duration;

use andon_kernel::{ConnId, Disconnect, Ticket};
use bitcoin::p2p::ServiceFlags;

use super::dial::TargetId;
use super::i2p::SESSION;
use super::peer::{Handshake, Origin, Peer};
use super::session::of_transport;
use super::ways::Way;
use super::{Client, Encryption, Endpoint, ProxyLogin, Reason, Timer, Turn};
use crate::transport::{
    Incoming, ProxyFailure, ProxyTarget, Sam, SamFailure, Shape, Socks5, TransportVersion, initiate,
};
use crate::wire::{Message, PROTOCOL_VERSION, Version};

/// How long after its key a peer may take until the end of its garbage, 4 KB at most: it has all that it needs for that. Only
/// one of another network does not come to it, and whoever named that should not wait for long.
const END_OF_GARBAGE: Duration = Duration::from_secs(15);

impl Client {
    /// Tries to reach a peer.
    pub(super) fn dial(&mut self, turn: &mut Turn<'_>, target: TargetId) {
        if self.pause.is_paused() {
            return;
        }
        let endpoint = self.targets.endpoint(target);
        if let (Endpoint::Host { name, port }, Ok(Way::LookUp)) = (endpoint, Way::to(endpoint, &self.config))
        {
            let ticket = self.names.ticket();
            turn.out.resolve(ticket, name, *port);
            self.targets.resolving(target, ticket);
        } else {
            let endpoint = endpoint.clone();
            self.connect_given(turn, target, endpoint);
        }
    }

    pub(super) fn resolved(&mut self, turn: &mut Turn<'_>, ticket: Ticket, addrs: &[SocketAddr]) {
        match self.targets.resolved(ticket, addrs) {
            // It is looked up again when the client goes on.
            Some(target) if self.pause.is_paused() => self.targets.forget_addresses(target),
            Some(target) => self.after_failure(turn, target, false, Reason::Unresolved),
            None => self.seed_answered(turn, ticket, addrs),
        }
    }

    /// Dials a peer that was given, at this one of its addresses.
    pub(super) fn connect_given(&mut self, turn: &mut Turn<'_>, target: TargetId, remote: Endpoint) {
        let endpoint = self.targets.endpoint(target).clone();
        self.note_given(target, &remote);
        if let Err(reason) = self.connect(turn, Origin::Given(target), endpoint, remote, true) {
            self.after_failure(turn, target, false, reason);
        }
    }

    /// Dials, and begins as the peer is known to take it.
    ///
    /// # Errors
    /// If no way leads there.
    pub(super) fn connect(
        &mut self,
        turn: &mut Turn<'_>,
        origin: Origin,
        endpoint: Endpoint,
        remote: Endpoint,
        may_encrypt: bool,
    ) -> Result<ConnId, Reason> {
        let encrypts = match self.config.encryption {
            Encryption::Preferred => may_encrypt && !self.unencrypted.has(&remote, turn.now.instant),
            Encryption::Required => true,
            Encryption::Off => false,
        };
        let (conn, peer) = self.dial_remote(turn, origin, endpoint, remote)?;
        peer.encrypts = encrypts;
        Ok(conn)
    }

    fn dial_remote(
        &mut self,
        turn: &mut Turn<'_>,
        origin: Origin,
        endpoint: Endpoint,
        remote: Endpoint,
    ) -> Result<(ConnId, &mut Peer), Reason> {
        let addr = match Way::to(&remote, &self.config)? {
            Way::Straight(addr) | Way::Proxy(addr) | Way::I2p(addr) => addr,
            Way::LookUp => return Err(Reason::Unresolved),
        };
        let is_in_i2p = remote.is_i2p();
        let conn = self.names.conn();
        turn.out.connect(conn, addr);
        let nonce = self.rng.fork_indexed("nonce", conn.as_u64()).u64();
        let mut peer = Peer::new(origin, endpoint, remote, self.magic, nonce, turn.now);
        // What a session in I2P has taken until it stands does not count.
        let patience = if is_in_i2p { SESSION } else { self.config.handshake_timeout };
        peer.handshake_until = turn.now.instant + patience;
        self.timers.set(Timer::Handshake(conn), peer.handshake_until);
        Ok((conn, self.peers.entry(conn).or_insert(peer)))
    }

    pub(super) fn connected(&mut self, turn: &mut Turn<'_>, conn: ConnId) {
        let Some(peer) = self.peers.get_mut(&conn) else {
            // It takes no connections from others.
            if conn.is_accepted() {
                turn.out.close(conn, false);
            }
            return;
        };
        peer.connected = true;
        let opened = match Way::to(&peer.remote, &self.config) {
            Ok(Way::Proxy(_)) => self.open_proxy(turn, conn).map_err(Reason::Proxy),
            Ok(Way::I2p(_)) => self.open_sam(turn, conn).map_err(Reason::I2p),
            _ => {
                self.begin(turn, conn);
                Ok(())
            }
        };
        if let Err(reason) = opened {
            self.drop_peer(turn, conn, reason);
        }
    }

    /// Asks the proxy for the peer.
    fn open_proxy(&mut self, turn: &mut Turn<'_>, conn: ConnId) -> Result<(), ProxyFailure> {
        let (Some(proxy), Some(peer)) = (&self.config.proxy, self.peers.get_mut(&conn)) else {
            return Ok(());
        };
        let target = match &peer.remote {
            Endpoint::Address(addr) => ProxyTarget::Address(*addr),
            Endpoint::Host { name, port } => ProxyTarget::Host(name, *port),
        };
        let fresh;
        let login = match &proxy.login {
            ProxyLogin::None => None,
            ProxyLogin::Password { username, password } => Some((username.as_str(), password.as_str())),
            ProxyLogin::Isolate => {
                // Connections of different logins share no circuit (Tor's IsolateSOCKSAuth).
                let drawn: [u8; 32] = self.rng.fork_indexed("proxy", conn.as_u64()).bytes();
                fresh = drawn.iter().fold(alloc::string::String::new(), |mut text, byte| {
                    // Writing to a string does not fail.
                    let _ = write!(text, "{byte:02x}");
                    text
                });
                Some(fresh.split_at(32))
            }
        };
        let mut opened = Ok(());
        let sent = send(turn, conn, |out| match Socks5::open(target, login, out) {
            Ok(socks) => peer.opening = Some(Opening::Proxy(socks)),
            Err(failure) => opened = Err(failure),
        });
        self.note_sent(conn, sent);
        opened
    }

    /// Says the first word to a peer that can be reached.
    fn begin(&mut self, turn: &mut Turn<'_>, conn: ConnId) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        if !peer.encrypts {
            return self.introduce(turn, conn);
        }
        let rng = self.rng.fork_indexed("transport", conn.as_u64());
        let shape = Shape { decoys: self.config.decoys, ..Shape::default() };
        let sent = send(turn, conn, |out| (peer.reader, peer.writer) = initiate(self.magic, rng, shape, out));
        self.note_sent(conn, sent);
    }

    /// Takes from the front of `input` what comes before messages, and says what it asks for.
    ///
    /// # Errors
    /// If the connection does not come about.
    pub(super) fn open_up(
        &mut self,
        turn: &mut Turn<'_>,
        conn: ConnId,
        input: &mut Incoming<'_>,
    ) -> Result<(), Reason> {
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        if let Some(opening) = &mut peer.opening {
            let mut opened = Ok(false);
            let sent = send(turn, conn, |out| opened = opening.received(input, out));
            self.note_sent(conn, sent);
            let Some(peer) = self.peers.get_mut(&conn).filter(|_| opened != Ok(false)) else { return Ok(()) };
            opened?;
            if matches!(peer.opening.take(), Some(Opening::Sam(_))) && peer.session.is_none() {
                self.enter_session(turn, conn);
                return Ok(());
            }
            self.begin(turn, conn);
        }
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        if input.rest().is_empty() {
            return Ok(());
        }
        peer.spoke = true;
        if !peer.encrypts {
            return Ok(());
        }
        let waited = peer.reader.garbage_without_end().is_some();
        let mut shaken = Ok(());
        let sent = send(turn, conn, |out| {
            shaken = peer.reader.shake_hands(input, &mut peer.writer, out);
        });
        self.note_sent(conn, sent);
        shaken.map_err(of_transport)?;
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        let waits = peer.reader.garbage_without_end().is_some();
        if waits != waited {
            let soon = turn.now.instant + END_OF_GARBAGE;
            let until = if waits { soon.min(peer.handshake_until) } else { peer.handshake_until };
            self.timers.set(Timer::Handshake(conn), until);
        }
        if !peer.introduced && peer.writer.version() == Some(TransportVersion::V2) {
            self.introduce(turn, conn);
        }
        Ok(())
    }

    /// Sends our `version`.
    fn introduce(&mut self, turn: &mut Turn<'_>, conn: ConnId) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        peer.introduced = true;
        let nonce = peer.nonce;
        let origin = peer.origin;
        let user_agent = self.user_agent().clone();
        let mut version = Version {
            protocol: PROTOCOL_VERSION,
            services: ServiceFlags::NONE,
            time: turn.now.unix.as_secs() as i64,
            nonce,
            user_agent: user_agent.as_bytes(),
            start_height: 0,
            relay: false,
        };
        match origin {
            // It is to announce what it has.
            Origin::Broadcast { only: None, .. } => version.relay = true,
            // Nothing tells it from others' that is for the same: Bitcoin Core says just this.
            Origin::Broadcast { only: Some(_), .. } => {
                (version.time, version.user_agent) = (0, b"/pynode:0.0.1/");
            }
            _ => {}
        }
        self.send(turn, conn, &Message::Version(version));
    }

    pub(super) fn disconnected(&mut self, turn: &mut Turn<'_>, conn: ConnId, reason: Disconnect) {
        let Some(peer) = self.peers.get(&conn) else { return self.session_ended(turn, conn) };
        let without_a_word = !peer.spoke && matches!(reason, Disconnect::ClosedByPeer | Disconnect::Reset);
        let way = Way::to(&peer.remote, &self.config);
        let reason = if matches!(way, Ok(Way::Proxy(_))) && !peer.connected {
            Reason::ProxyUnreachable(reason)
        } else if matches!(way, Ok(Way::I2p(_))) && !peer.connected {
            Reason::I2pUnreachable(reason)
        } else if let Some(opening) = &peer.opening {
            opening.closed()
        } else if without_a_word && peer.connected && peer.encrypts {
            if self.config.encryption == Encryption::Preferred {
                return self.fall_back(turn, conn);
            }
            Reason::EncryptionRefused
        } else if without_a_word {
            Reason::ClosedBeforeVersion
        } else if is_foreign(peer) {
            Reason::ForeignHandshake
        } else {
            Reason::Connection(reason)
        };
        self.forget_peer(turn, conn, reason);
    }

    /// Lets a peer go that has not finished the handshake in time.
    pub(super) fn handshake_timed_out(&mut self, turn: &mut Turn<'_>, conn: ConnId) {
        if self.peers.get(&conn).is_some_and(|peer| peer.handshake == Handshake::Aside) {
            return self.drop_peer(turn, conn, Reason::Asked);
        }
        let reason = if self.peers.get(&conn).is_some_and(is_foreign) {
            Reason::ForeignHandshake
        } else {
            Reason::HandshakeTimeout
        };
        self.drop_peer(turn, conn, reason);
    }

    /// Dials a peer again that has closed an encrypted connection without a word, now without encryption: so do nodes that
    /// do not know it.
    fn fall_back(&mut self, turn: &mut Turn<'_>, conn: ConnId) {
        let Some(Peer { origin, endpoint, remote, session, .. }) = self.peers.remove(&conn) else { return };
        self.timers.cancel(Timer::Handshake(conn));
        if let Some(session) = session {
            let mut peer = Peer::new(origin, endpoint, remote, self.magic, 0, turn.now);
            peer.fell_back = true;
            return self.dial_in_session(turn, session, peer);
        }
        // There is a way: it has just been taken.
        if let Ok((anew, peer)) = self.dial_remote(turn, origin, endpoint, remote) {
            peer.fell_back = true;
            self.broadcast_peer_moved(origin, anew);
        }
    }
}

/// What is said to whoever is to connect us, until that has been done.
#[derive(Debug)]
pub(super) enum Opening {
    Proxy(Socks5),
    Sam(Sam),
}

impl Opening {
    fn received(&mut self, input: &mut Incoming<'_>, out: &mut Vec<u8>) -> Result<bool, Reason> {
        match self {
            Self::Proxy(socks) => socks.received(input, out).map_err(Reason::Proxy),
            Self::Sam(sam) => sam.received(input, out).map_err(Reason::I2p),
        }
    }

    /// What it is that the connection was closed meanwhile.
    const fn closed(&self) -> Reason {
        match self {
            Self::Proxy(_) => Reason::Proxy(ProxyFailure::Closed),
            Self::Sam(_) => Reason::I2p(SamFailure::Closed),
        }
    }
}

/// Sends what `write` appends; returns how many bytes.
pub(super) fn send(turn: &mut Turn<'_>, conn: ConnId, write: impl FnOnce(&mut Vec<u8>)) -> u64 {
    let mut sent = 0;
    turn.out.send(conn, |out| {
        let before = out.len();
        write(out);
        sent = out.len() - before;
    });
    sent as u64
}

/// Whether a peer's handshake goes on in a way that does not fit ours: there was enough for the end of its garbage, and it was
/// not that. It may close the connection for the same, before our time for it is over.
fn is_foreign(peer: &Peer) -> bool {
    peer.reader.garbage_without_end().is_some_and(|bytes| bytes >= 16)
}

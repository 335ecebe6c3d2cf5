//! Peers in I2P: each has a session of its own with the router (SAM), so that nobody can tell that connections are of one
//! client, and a connection of its own within that.
//!
//! A peer goes by the name of the connection that holds its session until that stands, and then by that of the one that
//! leads to it.

use core::fmt::Write as _;
use core::time::Duration;

use alloc::string::String;

use andon_kernel::ConnId;

use super::connecting::{Opening, send};
use super::peer::Peer;
use super::ways::Way;
use super::{Client, Endpoint, Reason, Timer, Turn};
use crate::transport::{Sam, SamFailure};

/// How long a session may take to stand: the router builds tunnels for it. As long as Bitcoin Core waits.
pub(super) const SESSION: Duration = Duration::from_secs(180);

impl Client {
    /// Tells the router what this connection to it is for.
    pub(super) fn open_sam(&mut self, turn: &mut Turn<'_>, conn: ConnId) -> Result<(), SamFailure> {
        let Some(peer) = self.peers.get(&conn) else { return Ok(()) };
        let id = self.session_name(peer.session.unwrap_or(conn));
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        let mut opened = Ok(());
        let sent = send(turn, conn, |out| {
            let sam = match (peer.session, &peer.remote) {
                (None, _) => Ok(Sam::session(&id, out)),
                (Some(_), Endpoint::Host { name, .. }) => Sam::stream(&id, name, out),
                (Some(_), Endpoint::Address(_)) => Err(SamFailure::UnusableName),
            };
            match sam {
                Ok(sam) => peer.opening = Some(Opening::Sam(sam)),
                Err(failure) => opened = Err(failure),
            }
        });
        self.note_sent(conn, sent);
        opened
    }

    /// A peer's session stands: now to the peer.
    pub(super) fn enter_session(&mut self, turn: &mut Turn<'_>, control: ConnId) {
        let Some(peer) = self.peers.remove(&control) else { return };
        self.timers.cancel(Timer::Handshake(control));
        self.dial_in_session(turn, control, peer);
    }

    /// Connects to a peer by a session that stands.
    pub(super) fn dial_in_session(&mut self, turn: &mut Turn<'_>, control: ConnId, mut peer: Peer) {
        let Ok(Way::I2p(bridge)) = Way::to(&peer.remote, &self.config) else {
            unreachable!("it is the way that its session was made for");
        };
        let conn = self.names.conn();
        turn.out.connect(conn, bridge);
        peer.session = Some(control);
        peer.connected = false;
        peer.nonce = self.rng.fork_indexed("nonce", conn.as_u64()).u64();
        peer.handshake_until = turn.now.instant + self.config.handshake_timeout;
        self.timers.set(Timer::Handshake(conn), peer.handshake_until);
        self.broadcast_peer_moved(peer.origin, conn);
        self.peers.insert(conn, peer);
    }

    /// A connection has ended that is no peer's own: it may have held a peer's session.
    pub(super) fn session_ended(&mut self, turn: &mut Turn<'_>, control: ConnId) {
        let theirs = self.peers.iter_mut().find(|(_, peer)| peer.session == Some(control));
        if let Some((&conn, peer)) = theirs {
            peer.session = None;
            self.drop_peer(turn, conn, Reason::I2p(SamFailure::SessionEnded));
        }
    }

    /// What the session is called that this connection holds: nobody else's at this router.
    fn session_name(&self, control: ConnId) -> String {
        let drawn: [u8; 16] = self.rng.fork_indexed("i2p", control.as_u64()).bytes();
        drawn.iter().fold(String::from("andon"), |mut text, byte| {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

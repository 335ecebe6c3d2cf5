//! One peer's turn: what came is read message by message, and answered in slices; and the peer's timers.

use andon_kernel::{ConnId, Instant, Now, Outbox, Rng, Timers};

use super::addresses::Addresses;
use super::limits::SLICE;
use super::peer::{Alarm, Peer};
use super::relay::Relay;
use super::{Chain, Config, Event, Reason};
use crate::transport::{Incoming, Reader, TransportError, unencrypted};
use crate::wire::{FrameError, Message};

/// What all peers have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) magic: [u8; 4],
    pub(super) chain: Chain,
    pub(super) addresses: Addresses,
    pub(super) relay: Relay,
    pub(super) rng: Rng,
}

/// A peer with all that a turn of it needs.
pub(super) struct Session<'a> {
    pub(super) now: Now,
    pub(super) conn: ConnId,
    pub(super) peer: &'a mut Peer,
    pub(super) shared: &'a mut Shared,
    pub(super) timers: &'a mut Timers<(ConnId, Alarm)>,
    pub(super) out: &'a mut Outbox<Event>,
}

impl Session<'_> {
    pub(super) fn received(&mut self, bytes: &mut [u8]) -> Result<(), Reason> {
        self.peer.last_received = self.now.instant;
        if self.peer.backlog.is_empty() {
            return self.proceed(bytes);
        }
        // Only bytes that were read before the driver heard of the pause can come here.
        let mut backlog = core::mem::take(&mut self.peer.backlog);
        backlog.extend_from_slice(bytes);
        self.proceed(&mut backlog)
    }

    pub(super) fn drained(&mut self) -> Result<(), Reason> {
        self.peer.last_drained = self.now.instant;
        self.peer.unflushed = 0;
        self.peer.waiting_since = None;
        let mut backlog = core::mem::take(&mut self.peer.backlog);
        self.proceed(&mut backlog)?;
        if self.peer.is_paused && self.peer.waiting_since.is_none() {
            self.peer.is_paused = false;
            self.out.pause(self.conn, false);
        }
        Ok(())
    }

    /// Does all that can be done now: finishes the answer, does what has become due, tells the news, reads on.
    pub(super) fn proceed(&mut self, bytes: &mut [u8]) -> Result<(), Reason> {
        // The reader lends what it holds while the rest of the peer changes.
        let (empty, _) = unencrypted(self.shared.magic);
        let mut reader = core::mem::replace(&mut self.peer.reader, empty);
        let mut input = Incoming::new(bytes);
        let mut result = self.shake_hands(&mut reader, &mut input);
        if result.is_ok() {
            result = self.proceed_with(&mut reader, &mut input);
        }
        self.peer.reader = reader;
        result
    }

    /// Does what a connection begins with.
    fn shake_hands(&mut self, reader: &mut Reader, input: &mut Incoming<'_>) -> Result<(), Reason> {
        let Self { peer, out, conn, .. } = self;
        let mut result = Ok(());
        out.send(*conn, |out| {
            let start = out.len();
            result = reader.shake_hands(input, &mut peer.writer, out);
            peer.unflushed += out.len() - start;
        });
        result.map_err(Reason::Transport)
    }

    fn proceed_with(&mut self, reader: &mut Reader, input: &mut Incoming<'_>) -> Result<(), Reason> {
        loop {
            if self.peer.waiting_since.is_some() {
                self.peer.backlog.extend_from_slice(input.rest());
                return Ok(());
            }
            if self.peer.unflushed >= SLICE {
                self.wait();
            } else if let Some(answer) = self.peer.answer.take() {
                self.peer.answer = self.go_on(answer)?;
            } else if self.peer.ping.is_due {
                self.send_ping();
            } else if !self.peer.news.is_empty() && self.peer.is_connected() {
                self.announce();
            } else if self.peer.relay.is_request_due {
                self.request();
            } else if self.peer.relay.is_tell_due {
                self.tell_transactions();
            } else {
                match reader.next(input) {
                    Ok(Some(frame)) => self.message(frame)?,
                    Ok(None) => return Ok(()),
                    // As Bitcoin Core: the message is dropped, the peer stays.
                    Err(TransportError::Frame(FrameError::WrongChecksum(_))) => {}
                    Err(error) => return Err(Reason::Transport(error)),
                }
            }
        }
    }

    /// Stops until what was sent has left.
    fn wait(&mut self) {
        if !self.peer.is_paused {
            self.peer.is_paused = true;
            self.out.pause(self.conn, true);
        }
        self.out.flush(self.conn);
        self.peer.waiting_since = Some(self.now.instant);
    }

    pub(super) fn send(&mut self, message: &Message<'_>) {
        write(self.out, self.conn, self.peer, message);
    }

    pub(super) fn alarm(&mut self, alarm: Alarm) -> Result<(), Reason> {
        let now = self.now.instant;
        match alarm {
            Alarm::Handshake => return Err(Reason::HandshakeTimeout),
            Alarm::Inactivity => {
                // While nothing is read, taking what was sent is all that a peer can do.
                let last = match self.peer.waiting_since {
                    Some(since) => since,
                    None => self.peer.last_received.max(self.peer.last_drained),
                };
                let until = last + self.shared.config.inactivity_timeout;
                if until <= now {
                    return Err(Reason::Inactive);
                }
                self.timers.set((self.conn, Alarm::Inactivity), until);
            }
            Alarm::Ping => self.ping_alarm(now)?,
            Alarm::Request => {
                self.peer.relay.is_request_due = true;
                self.proceed(&mut [])?;
            }
            Alarm::Tell => {
                self.peer.relay.is_tell_due = true;
                self.proceed(&mut [])?;
            }
        }
        Ok(())
    }

    fn ping_alarm(&mut self, now: Instant) -> Result<(), Reason> {
        let (None, false) = (self.peer.ping.nonce, self.peer.ping.is_due) else {
            // An answer may lie unread behind a slice that takes its time.
            let sent = self.peer.ping.sent.unwrap_or(now).max(self.peer.last_drained);
            let sent = self.peer.waiting_since.map_or(sent, |_| now);
            let until = sent + self.shared.config.inactivity_timeout;
            if until <= now {
                return Err(Reason::PingTimeout);
            }
            self.timers.set((self.conn, Alarm::Ping), until);
            return Ok(());
        };
        self.peer.ping.is_due = true;
        self.proceed(&mut [])
    }

    pub(super) fn send_ping(&mut self) {
        let nonce = loop {
            let nonce = self.shared.rng.u64();
            if nonce != 0 {
                break nonce;
            }
        };
        let now = self.now.instant;
        self.peer.ping.is_due = false;
        self.peer.ping.nonce = Some(nonce);
        self.peer.ping.sent = Some(now);
        self.timers.set((self.conn, Alarm::Ping), now + self.shared.config.inactivity_timeout);
        self.send(&Message::Ping(nonce));
    }

    /// Takes an answer to a ping: zero answers any, as in Bitcoin Core.
    pub(super) fn pong(&mut self, nonce: u64) {
        if self.peer.ping.nonce.is_none_or(|sent| nonce != sent && nonce != 0) {
            return;
        }
        self.peer.ping.nonce = None;
        let sent = self.peer.ping.sent.unwrap_or(self.now.instant);
        let next = sent + self.shared.config.ping_interval;
        if next <= self.now.instant {
            self.peer.ping.is_due = true;
        } else {
            self.timers.set((self.conn, Alarm::Ping), next);
        }
    }
}

/// Sends a message, and counts its bytes until they have left.
pub(super) fn write(out: &mut Outbox<Event>, conn: ConnId, peer: &mut Peer, message: &Message<'_>) {
    out.send(conn, |buffer| {
        let start = buffer.len();
        peer.writer.write(message, buffer);
        peer.unflushed += buffer.len() - start;
    });
}

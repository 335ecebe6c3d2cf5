//! Connections from the first message to the end: the handshake (BIP155, BIP339 between `version` and `verack`), messages to
//! the parts they concern, pings (BIP31), and answers that do not come.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use andon_kernel::ConnId;
use bitcoin::p2p::ServiceFlags;

use super::dial::{Added, Next, TargetId, is_of_the_address};
use super::filters::Unanswered;
use super::peer::{Handshake, Headers, MESSAGE_WEIGHT, Origin, Peer, Pong, Whom};
use super::search::{BLOCK, CFILTER};
use super::{Client, Endpoint, Event, Misbehaviour, PeerPurpose, Reason, Refusal, RequestId, Timer, Turn};
use crate::addresses::Welcome;
use crate::transport::{Incoming, TransportError, unencrypted};
use crate::wire::{CommandName, Frame, FrameError, Message, PROTOCOL_VERSION};

/// The oldest version of the protocol that a peer may speak: with `sendheaders` (BIP130) and witnesses.
const LEAST_PROTOCOL: u32 = 70013;

/// When a peer that answered a request with silence is asked again; it doubles with each further time, up to the
/// longest. A node's filter index lags a moment behind its blocks; or it is being built, which takes hours.
const AFTER_SILENCE: Duration = Duration::from_secs(1);
const LONGEST_AFTER_SILENCE: Duration = Duration::from_secs(32);

impl Client {
    pub(super) fn connections(&self) -> Vec<ConnId> {
        self.peers.keys().copied().collect()
    }

    /// Takes a peer that the application gives.
    pub(super) fn order_peer(&mut self, turn: &mut Turn<'_>, request: Option<RequestId>, endpoint: Endpoint) {
        match self.add_peer(turn, endpoint) {
            Ok(()) => self.done(turn, request),
            Err(event) => self.refuse(turn, request, Refusal::TooManyPeers, *event),
        }
    }

    /// Takes one more peer, and dials it.
    ///
    /// # Errors
    /// That there are as many as there can be.
    pub(super) fn add_peer(&mut self, turn: &mut Turn<'_>, endpoint: Endpoint) -> Result<(), Box<Event>> {
        self.broadcasting.is_due();
        match self.targets.add(&endpoint) {
            Added::New(target) if self.is_running() => self.dial(turn, target),
            // Those that are given before what is stored has been read are dialled then.
            Added::New(_) | Added::Known => {}
            Added::Full => {
                return Err(Box::new(Event::PeerDisconnected {
                    endpoint,
                    purpose: PeerPurpose::Configured,
                    connected: false,
                    reason: Reason::TooManyPeers,
                }));
            }
        }
        Ok(())
    }

    /// Lets a peer go that was given, and forgets it.
    pub(super) fn remove_peer(&mut self, turn: &mut Turn<'_>, endpoint: &Endpoint) {
        // One that was to be dialled first.
        self.config.peers.retain(|peer| peer != endpoint);
        let Some(target) = self.targets.remove(endpoint) else { return };
        self.timers.cancel(Timer::Dial(target));
        self.forget_given(target);
        self.broadcasting.is_due();
        let is_its = |peer: &Peer| match peer.origin {
            Origin::Given(given) | Origin::Broadcast { whom: Whom::Given(given), .. } => given == target,
            _ => false,
        };
        let its: Vec<ConnId> =
            self.peers.iter().filter(|(_, peer)| is_its(peer)).map(|(conn, _)| *conn).collect();
        if !its
            .iter()
            .any(|conn| self.peers.get(conn).is_some_and(|peer| peer.origin == Origin::Given(target)))
        {
            let (endpoint, purpose) = (endpoint.clone(), PeerPurpose::Configured);
            let reason = Reason::Removed;
            turn.out.event(Event::PeerDisconnected { endpoint, purpose, connected: false, reason });
        }
        for conn in its {
            self.drop_peer(turn, conn, Reason::Removed);
        }
    }

    /// Ends a connection.
    pub(super) fn drop_peer(&mut self, turn: &mut Turn<'_>, conn: ConnId, reason: Reason) {
        if self.peers.contains_key(&conn) {
            turn.out.close(conn, false);
            self.forget_peer(turn, conn, reason);
        }
    }

    pub(super) fn forget_peer(&mut self, turn: &mut Turn<'_>, conn: ConnId, reason: Reason) {
        self.quiet = false;
        let Some(peer) = self.peers.remove(&conn) else { return };
        peer.session.into_iter().for_each(|session| turn.out.close(session, false));
        let timers = [Timer::News, Timer::Handshake, Timer::Headers, Timer::Ping, Timer::Retry, Timer::Stall];
        timers.into_iter().for_each(|timer| self.timers.cancel(timer(conn)));
        self.search.release(conn);
        self.search.blocks.forget_refusals(conn);
        self.ranges.release(conn);
        self.ascent_lost(turn, conn);
        self.release_filter_ranges(conn);
        self.release_filter_fetch(conn);
        self.release_agreement(conn);
        self.node_ended(turn, &peer, &reason);
        self.fees.peer_gone(conn);
        self.broadcast_peer_gone(turn, conn, &peer, &reason);
        match peer.origin {
            Origin::Given(target) if self.targets.contains(target) => {
                if matches!(reason, Reason::Misbehaved(_) | Reason::OtherChain) {
                    self.targets.misbehaved(target);
                } else if !is_of_the_address(&reason) {
                    self.targets.forget_addresses(target);
                }
                self.after_failure(turn, target, peer.is_ready(), reason);
            }
            Origin::Given(_) | Origin::Book { .. } | Origin::Seed(_) | Origin::Broadcast { .. } => {
                let connected = peer.has_shaken_hands();
                let purpose = peer.purpose();
                let endpoint = peer.endpoint;
                turn.out.event(Event::PeerDisconnected { endpoint, purpose, connected, reason });
            }
        }
    }

    /// Tries a peer's next address, or tells that it has failed and tries it again later.
    pub(super) fn after_failure(
        &mut self,
        turn: &mut Turn<'_>,
        target: TargetId,
        connected: bool,
        reason: Reason,
    ) {
        match self.targets.next(target, self.config.retry_delay) {
            Next::Dial(addr) => self.connect_given(turn, target, Endpoint::Address(addr)),
            Next::Wait(delay) => {
                let endpoint = self.targets.endpoint(target).clone();
                self.targets.failed(target, reason.clone());
                let purpose = PeerPurpose::Configured;
                turn.out.event(Event::PeerDisconnected { endpoint, purpose, connected, reason });
                self.timers.set(Timer::Dial(target), turn.now.instant + delay);
            }
        }
    }

    pub(super) fn received(&mut self, turn: &mut Turn<'_>, conn: ConnId, bytes: &mut [u8]) {
        let came = bytes.len();
        self.bytes_received += came as u64;
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        peer.heard = turn.now.instant;
        peer.bytes_received += came as u64;
        peer.pace.received(turn.now.instant, came);
        let mut input = Incoming::new(bytes);
        if let Err(reason) = self.open_up(turn, conn, &mut input) {
            return self.drop_peer(turn, conn, reason);
        }
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        // The reader is out of its peer while the messages that it lends are looked at.
        self.quiet = peer.is_ready();
        let mut reader = core::mem::replace(&mut peer.reader, unencrypted(self.magic).0);
        let fault = loop {
            match reader.next_unless(&mut input, is_proven) {
                Ok(Some(frame)) => {
                    if let Err(reason) = self.frame(turn, conn, frame) {
                        // One that is wrong may have been changed on its way.
                        break Some(
                            frame.check().map_or_else(|error| of_transport(error.into()), |()| reason),
                        );
                    }
                }
                Ok(None) => break None,
                Err(error) => break Some(of_transport(error)),
            }
        };
        if let Some(reason) = fault {
            return self.drop_peer(turn, conn, reason);
        }
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        let for_nothing = reader.take_passed_over();
        if reader.pending() > 0 {
            peer.note_bytes(came);
        }
        self.quiet &= reader.pending() == 0 && for_nothing == 0;
        peer.reader = reader;
        if for_nothing > 0 && !peer.charge(for_nothing, turn.now.instant) {
            self.drop_peer(turn, conn, Reason::Misbehaved(Misbehaviour::Flooding));
        }
    }

    fn frame(&mut self, turn: &mut Turn<'_>, conn: ConnId, frame: Frame<'_>) -> Result<(), Reason> {
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        let command = frame.command;
        let message = Message::decode(command, frame.payload)
            .map_err(|_| Reason::Misbehaved(Misbehaviour::Malformed(command)))?;
        let waits =
            peer.headers == Headers::Asked || peer.owes_late_headers() || self.ranges.is_waiting_for(conn);
        // Where nothing is asked for, nothing is an answer.
        let is_answer = peer.is_ready() && is_answer(&message, waits);
        if !is_answer && !peer.charge(frame.payload.len() + MESSAGE_WEIGHT, turn.now.instant) {
            return Err(Reason::Misbehaved(Misbehaviour::Flooding));
        }
        self.quiet &= peer.is_ready() && peer.is_idle_talk(&message);
        match peer.handshake {
            Handshake::Version => self.on_version(turn, conn, message),
            Handshake::Verack => self.on_verack(turn, conn, message),
            Handshake::Aside => self.on_aside(turn, conn, message),
            Handshake::Broadcast => self.on_broadcast_message(turn, conn, message),
            Handshake::Done => self.on_message(turn, conn, message).map_err(Reason::Misbehaved),
        }
    }

    fn on_version(&mut self, turn: &mut Turn<'_>, conn: ConnId, message: Message<'_>) -> Result<(), Reason> {
        let Message::Version(version) = message else {
            return Err(Reason::Misbehaved(Misbehaviour::OutOfTurn(message.command())));
        };
        // Of this connection alone: whoever could find out by another's that both are of one client would know who broadcasts
        // what. Nothing here takes connections, so what comes back comes back by the same way.
        if self.peers.get(&conn).is_some_and(|peer| peer.nonce == version.nonce) {
            return Err(Reason::SelfConnection);
        }
        if version.protocol < LEAST_PROTOCOL {
            return Err(Reason::ObsoleteVersion(version.protocol));
        }
        let missing = missing_services(version.services);
        let is_given = self.peers.get(&conn).is_some_and(|peer| matches!(peer.origin, Origin::Given(_)));
        if is_given && missing != ServiceFlags::NONE {
            return Err(Reason::MissingServices(missing));
        }
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        if peer.fell_back {
            self.unencrypted.remember(peer.remote.clone(), turn.now.instant);
        }
        peer.handshake = Handshake::Verack;
        peer.services = version.services;
        peer.relay.relays = version.relay;
        peer.claimed = version.start_height.max(0) as u32;
        peer.user_agent = version.user_agent_text();
        // Who is there for one transaction says no more than Bitcoin Core does there.
        let is_private = peer.is_private();
        if is_private && !version.relay {
            return Err(Reason::TakesNone);
        }
        if version.protocol >= PROTOCOL_VERSION && !is_private {
            self.send(turn, conn, &Message::WtxidRelay);
            self.send(turn, conn, &Message::SendAddrV2);
        }
        self.send(turn, conn, &Message::Verack);
        Ok(())
    }

    fn on_verack(&mut self, turn: &mut Turn<'_>, conn: ConnId, message: Message<'_>) -> Result<(), Reason> {
        match message {
            Message::Verack => {}
            Message::SendAddrV2 => {
                if let Some(peer) = self.peers.get_mut(&conn) {
                    peer.news.takes_v2 = true;
                }
                return Ok(());
            }
            Message::Version(_) | Message::Block(_) | Message::CFilter { .. } | Message::CFHeaders { .. } => {
                return Err(Reason::Misbehaved(Misbehaviour::OutOfTurn(message.command())));
            }
            Message::WtxidRelay => {
                if let Some(peer) = self.peers.get_mut(&conn) {
                    // Where both say so.
                    peer.relay.wtxid_relay = !peer.is_private();
                }
                return Ok(());
            }
            // Features that are offered here, and whatever is new.
            _ => return Ok(()),
        }
        let welcome = self.welcome(turn, conn);
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        match welcome {
            Welcome::Keep => {}
            Welcome::AskAndClose => {
                self.ask_aside(turn, conn);
                return Ok(());
            }
            Welcome::Close if peer.purpose() == PeerPurpose::Feeler => return Err(Reason::Tested),
            Welcome::Close => return Err(Reason::MissingServices(missing_services(peer.services))),
        }
        let is_for_broadcast = matches!(peer.origin, Origin::Broadcast { .. });
        peer.handshake = if is_for_broadcast { Handshake::Broadcast } else { Handshake::Done };
        let event = Event::PeerConnected {
            peer: conn,
            endpoint: peer.endpoint.clone(),
            purpose: peer.purpose(),
            user_agent: peer.user_agent.clone(),
            services: peer.services,
            height: peer.claimed,
            transport: peer.writer.version().expect("messages have come, in one version"),
        };
        turn.out.event(event);
        match peer.origin {
            Origin::Given(target) => self.targets.succeeded(target),
            Origin::Book { .. } | Origin::Seed(_) | Origin::Broadcast { .. } => {}
        }
        self.timers.set(Timer::Ping(conn), turn.now.instant + self.config.ping_interval);
        if is_for_broadcast {
            // Until it has answered what is sent behind the handshake.
            self.timers.set(Timer::Handshake(conn), turn.now.instant + self.config.handshake_timeout);
            self.broadcast_peer_ready(turn, conn);
            return Ok(());
        }
        self.timers.cancel(Timer::Handshake(conn));
        self.broadcasting.reached(turn.now.instant);
        self.send(turn, conn, &Message::SendHeaders);
        self.ask_for_addresses(turn, conn);
        Ok(())
    }

    /// A message of a peer that is here to tell of others.
    fn on_aside(&mut self, turn: &mut Turn<'_>, conn: ConnId, message: Message<'_>) -> Result<(), Reason> {
        let told = match message {
            Message::Addr(told) | Message::AddrV2(told) => told,
            Message::Ping(nonce) => {
                self.send(turn, conn, &Message::Pong(nonce));
                return Ok(());
            }
            _ => return Ok(()),
        };
        if self.hear_of(turn, conn, told) { Err(Reason::Asked) } else { Ok(()) }
    }

    fn on_message(
        &mut self,
        turn: &mut Turn<'_>,
        conn: ConnId,
        message: Message<'_>,
    ) -> Result<(), Misbehaviour> {
        let command = message.command();
        match message {
            Message::Ping(nonce) => {
                self.send(turn, conn, &Message::Pong(nonce));
                Ok(())
            }
            Message::Pong(nonce) => {
                self.on_pong(turn, conn, nonce);
                Ok(())
            }
            Message::Headers(headers) => self.on_headers(turn, conn, headers),
            Message::Inv(inventory) => self.on_inv(conn, command, inventory),
            Message::CFHeaders { filter_type, stop_hash, previous_filter_header, filter_hashes } => self
                .on_filter_headers(turn, conn, filter_type, stop_hash, previous_filter_header, filter_hashes),
            Message::CFilter { filter_type, block_hash, filter } => {
                self.on_filter(turn, conn, filter_type, block_hash, filter)
            }
            Message::Block(bytes) => self.on_block(turn, conn, bytes),
            Message::NotFound(missing) => {
                self.on_not_found(turn, conn, missing);
                Ok(())
            }
            Message::CFCheckpt { filter_type, stop_hash, filter_headers } => {
                self.on_checkpoints(turn, conn, filter_type, stop_hash, filter_headers)
            }
            Message::Addr(told) | Message::AddrV2(told) => {
                self.hear_of(turn, conn, told);
                Ok(())
            }
            Message::FeeFilter(least) => {
                self.note_fee_filter(conn, least);
                Ok(())
            }
            Message::Version(_) => Err(Misbehaviour::OutOfTurn(command)),
            // What others serve, ask for or announce does not concern a light client that relays nothing.
            _ => Ok(()),
        }
    }

    /// Pings a peer that has been silent, or lets it go.
    pub(super) fn ping(&mut self, turn: &mut Turn<'_>, conn: ConnId) {
        let Some(peer) = self.peers.get(&conn) else { return };
        let silence = turn.now.instant.since(peer.heard);
        if silence >= self.config.ping_timeout {
            return self.drop_peer(turn, conn, Reason::PingTimeout);
        }
        let mut next = self.config.ping_interval;
        if silence >= next {
            let nonce = self.rng.u64();
            self.send(turn, conn, &Message::Ping(nonce));
            next = next.min(self.config.ping_timeout.saturating_sub(silence)).max(Duration::from_millis(1));
        } else {
            next -= silence;
        }
        self.timers.set(Timer::Ping(conn), turn.now.instant + next);
    }

    /// Sets a timer for each peer that owes an answer.
    pub(super) fn watch_for_stalls(&mut self, turn: &Turn<'_>) {
        for conn in self.connections() {
            let timer = Timer::Stall(conn);
            if !self.owes(conn) {
                self.timers.cancel(timer);
            } else if self.timers.get(timer).is_none()
                && let Some(peer) = self.peers.get_mut(&conn)
            {
                peer.take_progress();
                self.timers.set(timer, turn.now.instant + self.config.stall_timeout);
            }
        }
    }

    /// Sends a ping behind the requests of this turn. A peer answers in order, so a pong without the answers before it
    /// says that they will not come: Bitcoin Core says nothing at all for filters that it has not indexed yet.
    pub(super) fn probe(&mut self, turn: &mut Turn<'_>) {
        for conn in core::mem::take(&mut self.asked) {
            let nonce = self.rng.u64();
            let serial = self.search.requests;
            if self.peers.get_mut(&conn).is_some_and(|peer| peer.probe(nonce, serial)) {
                self.send(turn, conn, &Message::Ping(nonce));
            }
        }
    }

    fn on_pong(&mut self, turn: &mut Turn<'_>, conn: ConnId, nonce: u64) {
        // What it was asked for in this turn has no ping behind it yet.
        let owes = self.owes(conn) && !self.asked.contains(&conn);
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        let (pong, serial) = peer.take_pong(nonce);
        let unanswered = serial.and_then(|serial| self.search.filters.unanswered(conn, serial));
        if let Some(Unanswered::LeftOut(block)) = unanswered {
            let endpoint = peer.endpoint.clone();
            turn.out.event(Event::FilterLeftOut { endpoint, block });
        }
        let no_block = serial.is_some_and(|serial| self.search.blocks.is_unanswered(conn, serial));
        let no_filter = serial.is_some_and(|serial| self.filter_fetches.is_unanswered(conn, serial));
        if unanswered.is_some() || no_block || no_filter || (owes && pong == Pong::Behind) {
            let delay = AFTER_SILENCE * (1 << peer.silences.min(5));
            peer.silences += 1;
            self.pass_over(turn, conn, delay.min(LONGEST_AFTER_SILENCE));
        }
        match pong {
            Pong::Behind => {
                self.checkpoints.decline(conn, turn.now.instant);
                if let Some(peer) = self.peers.get_mut(&conn) {
                    peer.expect_no_late_headers();
                }
            }
            Pong::Probe => {
                self.asked.insert(conn);
            }
            Pong::Nothing => {}
        }
    }

    /// Whether a peer was asked for ranges of headers, filter headers, filters or blocks and has not sent them all.
    fn owes(&self, conn: ConnId) -> bool {
        self.filter_ranges.is_waiting_for(conn)
            || self.agreement.is_waiting_for(conn)
            || self.search.is_waiting_for(conn)
            || self.filter_fetches.is_waiting_for(conn)
            || self.ranges.is_waiting_for(conn)
    }

    /// Asks others for what a peer was asked for, if nothing has come: it is slow, or its connection is dead.
    pub(super) fn check_stall(&mut self, turn: &Turn<'_>, conn: ConnId) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        if !peer.take_progress() {
            self.pass_over(turn, conn, self.config.stall_timeout);
        }
    }

    /// Asks others for what a peer was asked for, and the peer itself not before `delay` is over. It is no fault.
    pub(super) fn pass_over(&mut self, turn: &Turn<'_>, conn: ConnId, delay: Duration) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        let again = turn.now.instant + delay;
        peer.passed_over = Some(again);
        peer.times_passed_over += 1;
        self.timers.set(Timer::Retry(conn), again);
        peer.expect_late_headers(self.ranges.release(conn));
        let late = self.search.release(conn);
        peer.expect_late_filters(late.filters);
        late.blocks.into_iter().for_each(|hash| peer.expect_late_block(hash));
        self.release_filter_fetch(conn);
        self.release_filter_ranges(conn);
        self.release_agreement(conn);
    }

    /// A peer that was passed over, or showed less than it claims, is asked again.
    pub(super) fn ask_again(&mut self, conn: ConnId) {
        self.search.blocks.forget_refusals(conn);
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.passed_over = None;
            if peer.headers == Headers::Withheld {
                peer.headers = Headers::Wanted;
            }
        }
    }
}

/// Whether a message is checked against a hash by whoever takes it: filters against filter headers, blocks against block
/// headers. They are nearly all that comes.
fn is_proven(command: CommandName) -> bool {
    [CFILTER, BLOCK].contains(&command)
}

/// What it is that a connection can't be read on.
pub(super) fn of_transport(error: TransportError) -> Reason {
    Reason::Misbehaved(match error {
        TransportError::Frame(FrameError::WrongMagic(magic)) => Misbehaviour::WrongNetwork(magic),
        TransportError::Frame(FrameError::TooLong(length)) => Misbehaviour::MessageTooLong(length),
        TransportError::Frame(FrameError::WrongChecksum(command)) => Misbehaviour::WrongChecksum(command),
        TransportError::NoTerminator => Misbehaviour::EndlessGarbage,
        TransportError::Forged => Misbehaviour::ForgedPacket,
        TransportError::Unencrypted => Misbehaviour::UnencryptedAnswer,
        TransportError::OwnKey => return Reason::SelfConnection,
    })
}

/// Whether a message answers a question, or ends the connection if nobody asked: what it may cost is bounded by that.
fn is_answer(message: &Message<'_>, waits_for_headers: bool) -> bool {
    match message {
        Message::Block(_)
        | Message::CFilter { .. }
        | Message::CFHeaders { .. }
        | Message::CFCheckpt { .. } => true,
        Message::Headers(_) => waits_for_headers,
        _ => false,
    }
}

/// What a light client needs and a peer does not offer.
fn missing_services(offered: ServiceFlags) -> ServiceFlags {
    let mut missing = ServiceFlags::NONE;
    for needed in [ServiceFlags::WITNESS, ServiceFlags::COMPACT_FILTERS] {
        if !offered.has(needed) {
            missing.add(needed);
        }
    }
    if !offered.has(ServiceFlags::NETWORK) && !offered.has(ServiceFlags::NETWORK_LIMITED) {
        missing.add(ServiceFlags::NETWORK);
    }
    missing
}

//! One connection: how far its handshake is, what the peer has shown, what it owes, and what it may send unasked.

use alloc::collections::VecDeque;
use alloc::string::String;

use andon_kernel::{ConnId, Instant, Now};
use bitcoin::p2p::ServiceFlags;
use bitcoin::{BlockHash, Txid};

use super::agreement::Dissent;
use super::api::BlockId;
use super::config::Endpoint;
use super::connecting::Opening;
use super::dial::TargetId;
use super::gossip::News;
use super::pace::Pace;
use crate::addresses::{Allowance, Location, Purpose, Source};
use crate::broadcast::Traits;
use crate::transport::{Reader, Writer, unencrypted};
use crate::wire::Message;

/// Bytes that a peer may send unasked at once, and what it gains back each second: announcements of blocks, pings and
/// addresses need far less.
const ALLOWANCE: u64 = 4_000_000;
const ALLOWANCE_PER_SECOND: u64 = 20_000;

/// What a message weighs in that besides its contents: looking at it, and answering if it is a ping. So there may be 40,000 at
/// once, and 200 a second: a node that finds blocks at a stroke announces some thousand of them.
pub(super) const MESSAGE_WEIGHT: usize = 96;

/// Bytes of an answer that count as progress, over the time after which a peer is taken to stall: a link of 200 bytes
/// a second is slower than any that is in use.
const LEAST_PROGRESS: u64 = 4096;

/// Pings that may be out behind requests: a peer that answers requests and no pings gets no more than these.
const MAX_PROBES: usize = 16;

/// How often a peer may name other filter headers and then not defend them, until what it names is passed over: its
/// connection may have been slow, once or twice.
const MAX_UNHEARD: u32 = 3;

/// Blocks that may come late, after they were given up or asked of another peer. A peer that owes as many is asked for no other: each
/// that it sends must be known to have been asked for.
pub(super) const MAX_LATE_BLOCKS: usize = 64;

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) origin: Origin,
    /// Where it is, as it was given.
    pub(super) endpoint: Endpoint,
    /// Where the connection goes, whatever is between: for a name that was looked up, one of its addresses.
    pub(super) remote: Endpoint,
    /// Whether it begins encrypted.
    pub(super) encrypts: bool,
    /// Whether it is one without encryption because one with it was closed without a word.
    pub(super) fell_back: bool,
    /// Whether it stands; with a proxy: to there.
    pub(super) connected: bool,
    /// What is said to the proxy or the router, until that has connected.
    pub(super) opening: Option<Opening>,
    /// The connection to the router that holds the peer's session, once that stands.
    pub(super) session: Option<ConnId>,
    /// When it must have finished the handshake.
    pub(super) handshake_until: Instant,
    /// Whether anything has come from the peer itself.
    pub(super) spoke: bool,
    /// Whether our `version` was sent.
    pub(super) introduced: bool,
    pub(super) reader: Reader,
    pub(super) writer: Writer,
    pub(super) handshake: Handshake,
    /// In our `version`.
    pub(super) nonce: u64,
    pub(super) services: ServiceFlags,
    pub(super) user_agent: String,
    /// The height that it claims in its `version`.
    pub(super) claimed: u32,
    /// The best block that it has shown.
    pub(super) best: Option<BlockId>,
    pub(super) headers: Headers,
    /// Its place among the times at which peers had shown all that they have: 0 if it never had.
    pub(super) shown: u64,
    /// How many filter headers, from the first block on, it has shown to be ours.
    pub(super) agrees: u32,
    /// How often it named other filter headers and did not say more when it was asked.
    pub(super) unheard: u32,
    /// Where its filter headers are not ours, once nothing could be proven of either.
    pub(super) dissent: Option<Dissent>,
    /// Messages in a row with headers whose parents are unknown.
    pub(super) unconnected: u32,
    /// Headers of its that were kept beside the best chain since one of them became the best.
    pub(super) beside: u32,
    /// Chains that it showed and that had too little work, since one had enough.
    pub(super) fruitless: u32,
    /// It left requests unanswered: others are asked before this time.
    pub(super) passed_over: Option<Instant>,
    /// How often it was.
    pub(super) times_passed_over: u32,
    /// When it was dialled.
    pub(super) since: Instant,
    /// Bytes that came from it, and that were sent to it.
    pub(super) bytes_received: u64,
    pub(super) bytes_sent: u64,
    /// When anything came last.
    pub(super) heard: Instant,
    /// How fast it is.
    pub(super) pace: Pace,
    /// Pings that were sent right behind requests, each with the last request for filters or blocks before it.
    probes: VecDeque<(u64, u64)>,
    /// Whether a request was sent with no ping behind it, for too many were out.
    unprobed: bool,
    /// Requests in a row that it answered with silence.
    pub(super) silences: u32,
    late_headers: u32,
    late_filter_headers: u32,
    late_filters: u32,
    late_blocks: VecDeque<BlockHash>,
    /// Whether an answer came, and bytes that may be part of one, since progress was looked at last.
    answered: bool,
    bytes: u64,
    allowance: u64,
    allowance_at: Instant,
    /// How many addresses of others it may tell.
    pub(super) addresses: Allowance,
    /// What it is to be told of others.
    pub(super) news: News,
    /// When it last showed a block that none had shown before.
    pub(super) showed: Option<Instant>,
    /// Whether it takes transactions, and how they are announced to it.
    pub(super) relay: Traits,
    /// Of a peer that is here for transactions, the lowest fee rate that it takes, if it has said.
    pub(super) fee_filter: Option<u64>,
    /// The ping behind the handshake, or behind the transaction that it is here for.
    pub(super) behind: Option<u64>,
}

/// Whose peer it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The application's.
    Given(TargetId),
    /// The address book's.
    Book { location: Location, purpose: Purpose },
    /// Whoever a proxy finds behind the name of a DNS seed.
    Seed(Source),
    /// Somebody to tell of transactions, or to hear of them. If it is there for one transaction alone, of which.
    Broadcast { whom: Whom, only: Option<Txid> },
}

/// Who is told of transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whom {
    /// A node of the address book.
    Found(Location),
    /// A peer that was given, once more.
    Given(TargetId),
}

/// How far a handshake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handshake {
    /// The peer's `version` has not come.
    Version,
    /// Its `verack` has not come.
    Verack,
    /// It is done, and the peer is here to tell of others.
    Aside,
    /// It is done, and the peer is here for transactions.
    Broadcast,
    Done,
}

/// What a pong says of the requests that were sent before its ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pong {
    /// There are pings out that were sent later.
    Nothing,
    /// All requests are before it: what has not come by now will not.
    Behind,
    /// Requests were sent without a ping, and one can be sent now.
    Probe,
}

/// How far a peer's headers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Headers {
    /// It is to be asked.
    Wanted,
    /// It has been asked.
    Asked,
    /// It has shown all that it has.
    Done,
    /// It has shown less than it claims: it is asked again later.
    Withheld,
}

impl Peer {
    /// One that is dialled.
    pub(super) fn new(
        origin: Origin,
        endpoint: Endpoint,
        remote: Endpoint,
        magic: [u8; 4],
        nonce: u64,
        now: Now,
    ) -> Self {
        let (reader, writer) = unencrypted(magic);
        Self {
            origin,
            endpoint,
            remote,
            encrypts: false,
            fell_back: false,
            connected: false,
            opening: None,
            session: None,
            handshake_until: now.instant,
            spoke: false,
            introduced: false,
            reader,
            writer,
            handshake: Handshake::Version,
            nonce,
            services: ServiceFlags::NONE,
            user_agent: String::new(),
            claimed: 0,
            best: None,
            headers: Headers::Wanted,
            shown: 0,
            agrees: 0,
            unheard: 0,
            dissent: None,
            unconnected: 0,
            beside: 0,
            fruitless: 0,
            passed_over: None,
            times_passed_over: 0,
            since: now.instant,
            bytes_received: 0,
            bytes_sent: 0,
            heard: now.instant,
            pace: Pace::default(),
            probes: VecDeque::new(),
            unprobed: false,
            silences: 0,
            late_headers: 0,
            late_filter_headers: 0,
            late_filters: 0,
            late_blocks: VecDeque::new(),
            answered: false,
            bytes: 0,
            allowance: ALLOWANCE,
            allowance_at: now.instant,
            addresses: Allowance::new(now.instant),
            news: News::default(),
            showed: None,
            relay: Traits { relays: true, wtxid_relay: false },
            fee_filter: None,
            behind: None,
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.handshake == Handshake::Done
    }

    /// Whether its handshake is finished and it is there for what is asked of peers, or for transactions.
    pub(super) fn has_shaken_hands(&self) -> bool {
        matches!(self.handshake, Handshake::Done | Handshake::Broadcast)
    }

    /// Whether it is there for one transaction alone.
    pub(super) const fn is_private(&self) -> bool {
        matches!(self.origin, Origin::Broadcast { only: Some(_), .. })
    }

    /// Whether nothing has come of its filter headers' not being ours.
    pub(super) fn is_of_one_mind(&self) -> bool {
        self.dissent.is_none() && self.unheard < MAX_UNHEARD
    }

    /// Notes that these bytes came unasked. False: they are more than it may send.
    pub(super) fn charge(&mut self, bytes: usize, now: Instant) -> bool {
        let seconds = now.since(self.allowance_at).as_secs();
        if seconds > 0 {
            self.allowance = (self.allowance + seconds.saturating_mul(ALLOWANCE_PER_SECOND)).min(ALLOWANCE);
            self.allowance_at = now;
        }
        match self.allowance.checked_sub(bytes as u64) {
            Some(rest) => {
                self.allowance = rest;
                true
            }
            None => false,
        }
    }

    /// Notes that bytes came which may be part of an answer.
    pub(super) fn note_bytes(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Notes that an answer came.
    pub(super) fn note_answer(&mut self) {
        self.answered = true;
        self.passed_over = None;
        self.silences = 0;
    }

    /// Notes a ping behind a request; `serial` is that of the last request for filters or blocks. False: enough are out,
    /// and none is to be sent now.
    pub(super) fn probe(&mut self, nonce: u64, serial: u64) -> bool {
        let room = self.probes.len() < MAX_PROBES;
        if room {
            self.probes.push_back((nonce, serial));
        }
        self.unprobed = !room;
        room
    }

    /// Whether a message is a ping, or the answer to one that no request was before: it says that the peer is there, and nothing
    /// else.
    pub(super) fn is_idle_talk(&self, message: &Message<'_>) -> bool {
        match message {
            Message::Ping(_) => true,
            Message::Pong(_) => self.probes.is_empty(),
            _ => false,
        }
    }

    /// Takes a pong, and says what it says of the requests before it. With it the last request for filters or blocks that
    /// its ping was sent behind.
    pub(super) fn take_pong(&mut self, nonce: u64) -> (Pong, Option<u64>) {
        let Some(place) = self.probes.iter().position(|probe| probe.0 == nonce) else {
            return (Pong::Nothing, None);
        };
        let serial = self.probes.drain(..=place).next_back().map(|(_, serial)| serial);
        let pong = match (self.probes.is_empty(), self.unprobed) {
            (true, false) => Pong::Behind,
            (true, true) => Pong::Probe,
            (false, _) => Pong::Nothing,
        };
        (pong, serial)
    }

    /// Filters that may still come though nobody waits for them, as far as no pong says that they will not.
    pub(super) fn late_filters(&self) -> u32 {
        if self.probes.is_empty() { 0 } else { self.late_filters }
    }

    /// Blocks that may still come though nobody waits for them, as far as no pong says that they will not.
    pub(super) fn late_blocks(&self) -> usize {
        if self.probes.is_empty() { 0 } else { self.late_blocks.len() }
    }

    /// Whether answers have come on since this was asked last.
    pub(super) fn take_progress(&mut self) -> bool {
        let progress = self.answered || self.bytes >= LEAST_PROGRESS;
        self.answered = false;
        self.bytes = 0;
        progress
    }

    /// Headers of ranges that were asked for may still come, though nobody waits for them.
    pub(super) fn expect_late_headers(&mut self, messages: u32) {
        self.late_headers = self.late_headers.saturating_add(messages);
    }

    /// Those that have not come by now will not.
    pub(super) fn expect_no_late_headers(&mut self) {
        self.late_headers = 0;
    }

    /// Whether headers of ranges may come late.
    pub(super) fn owes_late_headers(&self) -> bool {
        self.late_headers > 0
    }

    /// Whether headers are some of those.
    pub(super) fn take_late_headers(&mut self) -> bool {
        let late = self.late_headers > 0;
        self.late_headers = self.late_headers.saturating_sub(1);
        late
    }

    /// Filter headers that were asked for may still come, though nobody waits for them.
    pub(super) fn expect_late_filter_headers(&mut self, messages: u32) {
        self.late_filter_headers = self.late_filter_headers.saturating_add(messages);
    }

    /// Whether filter headers may come late, as far as no pong says that they will not.
    pub(super) fn owes_late_filter_headers(&self) -> bool {
        !self.probes.is_empty() && self.late_filter_headers > 0
    }

    /// Whether filter headers are some of those.
    pub(super) fn take_late_filter_headers(&mut self) -> bool {
        let late = self.late_filter_headers > 0;
        self.late_filter_headers = self.late_filter_headers.saturating_sub(1);
        late
    }

    /// Filters that were asked for may still come, though nobody waits for them.
    pub(super) fn expect_late_filters(&mut self, count: u32) {
        self.late_filters = self.late_filters.saturating_add(count);
    }

    /// Whether a filter is one of those.
    pub(super) fn take_late_filter(&mut self) -> bool {
        let late = self.late_filters > 0;
        self.late_filters = self.late_filters.saturating_sub(1);
        late
    }

    /// A block that was asked for may still come, though nobody waits for it.
    pub(super) fn expect_late_block(&mut self, hash: BlockHash) {
        // The oldest will not come any more: a pong has said so.
        if self.late_blocks.len() == MAX_LATE_BLOCKS {
            self.late_blocks.pop_front();
        }
        self.late_blocks.push_back(hash);
    }

    /// Whether a block is one of those.
    pub(super) fn take_late_block(&mut self, hash: &BlockHash) -> bool {
        let place = self.late_blocks.iter().position(|late| late == hash);
        place.and_then(|place| self.late_blocks.remove(place)).is_some()
    }
}

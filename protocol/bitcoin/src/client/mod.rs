//! The light client: one machine that dispatches, and parts that each own one concern.
//!
//! | part | owns |
//! |---|---|
//! | `dial` | the given peers: who is dialled, and when again |
//! | `connecting`, `ways` | how a connection begins: straight or through the proxy, the version of the transport |
//! | `i2p` | connections through a router of I2P |
//! | `gossip` | news of nodes, told on |
//! | `nodes` | nodes of the address book: who is dialled, what they tell, seeds, bans |
//! | `broadcasting`, `broadcast_dials`, `broadcast_peers` | transactions that are broadcast: what is stored and looked for, whom to connect to, what is said there ([`broadcast`](crate::broadcast) has the rest) |
//! | `fees` | what is known of fees ([`fees`](crate::fees) says what that is worth) |
//! | `peer`, `session` | one connection: handshake, pings, what it owes |
//! | `headers` | asking for block headers, and what follows when the chain changes ([`headers`](crate::headers) has the chain) |
//! | `ranges` | headers between known blocks, from several peers at once |
//! | `ascent`, `switching` | chains of little work, branches from far below, and the switch to one |
//! | `filter_headers` | the chain of filter headers (BIP157) |
//! | `filter_ranges` | who is asked for which of them: every peer that names the same checkpoints |
//! | `checkpoints` | every thousandth filter header as each peer names it |
//! | `agreement`, `dispute` | which filter headers are trusted, and what is done about those that differ |
//! | `filters`, `segments`, `requests` | filters in chunks of any length, checked and matched (BIP158) |
//! | `downloads`, `pace` | who is asked for which filters and blocks, by how fast each is |
//! | `blocks`, `decoys` | blocks whose filters matched, and some others |
//! | `cache` | filters that are kept on the disk |
//! | `watches`, `findings` | what is watched, how far each part of it has been searched for, and what touched it |
//! | `search` | from filters to what the application is told, in order and durably |
//! | `descriptors` | output descriptors: scripts that are derived as they are used |
//! | `descents`, `shapes` | searching newest first |
//! | `watching`, `taking_back` | what starts a search anew, and what makes findings void |
//! | `start`, `restoring`, `restoring_nodes`, `record`, `origin` | what is stored, and reading it at the start; where the chain begins |
//! | `migration`, `repair` | what is stored in an older format, or damaged |
//! | `queries` | headers that the application looks up, takes out or brings in, and blocks that it wants to have |

#[doc = include_str!("privacy.md")]
pub mod privacy {}

mod agreement;
mod api;
mod ascent;
mod blocks;
mod broadcast_dials;
mod broadcast_peers;
mod broadcasting;
mod cache;
mod checkpoints;
mod config;
mod connecting;
mod decoys;
mod descents;
mod descriptors;
mod dial;
mod dispute;
mod downloads;
mod fees;
mod filter_headers;
mod filter_ranges;
mod filters;
mod findings;
mod gossip;
mod headers;
mod i2p;
mod migration;
mod misbehaviour;
mod nodes;
mod origin;
mod pace;
mod peer;
mod queries;
mod ranges;
mod record;
mod repair;
mod requests;
mod restoring;
mod restoring_nodes;
mod search;
mod segments;
mod session;
mod shapes;
mod start;
mod switching;
mod taking_back;
mod watches;
mod watching;
mod ways;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use andon_kernel::{ConnId, Input, Instant, Machine, Names, Now, Outbox, Rng, Ticket, Timers, UnixTime};

pub use api::*;
pub use config::*;
pub use descriptors::{Descriptor, DescriptorError, Lookahead};
pub use misbehaviour::Misbehaviour;

use agreement::Agreement;
use ascent::Ascent;
use broadcasting::Broadcasting;
use checkpoints::Checkpoints;
use decoys::Decoys;
use dial::{TargetId, Targets, Unencrypted};
use fees::KnownFees;
use filter_headers::FilterHeaders;
use filter_ranges::FilterRanges;
use nodes::Nodes;
use peer::Peer;
use queries::{Find, Queries, Wants};
use ranges::Ranges;
use search::Search;
use start::Loading;
use taking_back::TakingBack;
use watches::GroupId;
use watching::WatchOrder;

use crate::addresses::Subnet;
use crate::headers::HeaderChain;
use crate::wire::Message;

/// How often progress is told, at most.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// What a configured duration may be: a shorter one would have the driver spin, a longer one the clock overflow.
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How often it is told, at most, that nothing but bytes of answers have come.
const BYTES_INTERVAL: Duration = Duration::from_secs(1);

/// The light client.
///
/// A [`Machine`]: give it to a driver, with commands and for events as in this module.
#[derive(Debug)]
pub struct Client {
    config: Config,
    magic: [u8; 4],
    rng: Rng,
    names: Names,
    timers: Timers<Timer>,
    phase: Phase,
    targets: Targets,
    peers: BTreeMap<ConnId, Peer>,
    unencrypted: Unencrypted,
    /// `None`: nobody is dialled but the peers that are given.
    nodes: Option<Box<Nodes>>,
    /// Bans, and those to lift, that were ordered before what is stored had been read.
    ban_orders: Vec<(Subnet, Option<UnixTime>)>,
    broadcasting: Broadcasting,
    fees: KnownFees,
    /// Peers that were asked for something in this turn.
    asked: BTreeSet<ConnId>,
    chain: HeaderChain,
    ranges: Ranges,
    ascent: Option<Ascent>,
    /// The peer that was asked last because the tip was stale.
    asked_when_stale: Option<ConnId>,
    queries: Queries,
    filter_headers: FilterHeaders,
    filter_ranges: FilterRanges,
    checkpoints: Checkpoints,
    agreement: Agreement,
    search: Search,
    /// What happens when a batch is durable.
    stored: BTreeMap<Ticket, Durable>,
    bytes_received: u64,
    bytes_sent: u64,
    progress: Told<Progress>,
    synced: Option<BlockId>,
}

#[derive(Debug)]
enum Phase {
    /// Nothing has happened yet.
    New,
    Loading(Box<Loading>),
    Running,
    /// What is stored can't be worked with, or the application has stopped us.
    Stopped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Dial(TargetId),
    Handshake(ConnId),
    Headers(ConnId),
    Ping(ConnId),
    Progress,
    StaleTip,
    Retry(ConnId),
    Stall(ConnId),
    HoldUp,
    FilterRanges,
    TakeOver,
    Derive,
    Nodes,
    News(ConnId),
    Seeds,
    KeepNodes,
    Broadcast,
}

#[derive(Debug)]
struct Durable {
    events: Vec<Event>,
    then: Then,
}

/// What a batch that is durable lets go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Nothing,
    /// Everything below this height has been searched for a group, durably.
    Searched(GroupId, u32),
    /// A page of findings was taken back.
    TakeBack,
}

/// A value as it was told last.
#[derive(Debug, Default)]
struct Told<T> {
    value: T,
    at: Instant,
}

/// The time of a turn and where its effects go.
struct Turn<'a> {
    now: Now,
    out: &'a mut Outbox<Event>,
}

impl Client {
    /// A client that has done nothing yet. Durations in `config` are taken for a millisecond if they are shorter, and
    /// for a year if they are longer.
    pub fn new(mut config: Config) -> Self {
        let Config {
            handshake_timeout,
            stall_timeout,
            ping_interval,
            ping_timeout,
            stale_tip,
            retry_delay,
            ..
        } = &mut config;
        for duration in
            [handshake_timeout, stall_timeout, ping_interval, ping_timeout, stale_tip, retry_delay]
        {
            *duration = (*duration).clamp(SHORTEST, LONGEST);
        }
        let magic = config.network.magic().to_bytes();
        let rng = Rng::new(core::mem::take(&mut config.seed));
        let chain = HeaderChain::new(config.network);
        let decoys = Decoys::new(config.decoy_blocks, &mut rng.fork("decoys"));
        Self {
            magic,
            names: Names::default(),
            timers: Timers::new(),
            phase: Phase::New,
            targets: Targets::default(),
            peers: BTreeMap::new(),
            unencrypted: Unencrypted::default(),
            nodes: None,
            ban_orders: Vec::new(),
            broadcasting: Broadcasting::new(&rng),
            fees: KnownFees::new(),
            asked: BTreeSet::new(),
            chain,
            ranges: Ranges::default(),
            ascent: None,
            asked_when_stale: None,
            queries: Queries::default(),
            filter_headers: FilterHeaders::default(),
            filter_ranges: FilterRanges::default(),
            checkpoints: Checkpoints::default(),
            agreement: Agreement::new(&config),
            search: Search::new(config.filter_window, config.filter_cache, decoys),
            stored: BTreeMap::new(),
            bytes_received: 0,
            bytes_sent: 0,
            progress: Told::default(),
            synced: None,
            config,
            rng,
        }
    }

    fn input(&mut self, turn: &mut Turn<'_>, input: Input<'_, Command>) {
        match input {
            Input::Start => self.start(turn),
            Input::Stop => self.stop(turn),
            Input::Wake => self.expire_timers(turn),
            Input::Command(command) => self.command(turn, command),
            Input::Connected { conn, .. } => self.connected(turn, conn),
            Input::Received { conn, bytes } => self.received(turn, conn, bytes),
            Input::Disconnected { conn, reason } => self.disconnected(turn, conn, reason),
            Input::Resolved { ticket, addrs } => self.resolved(turn, ticket, addrs),
            Input::Loaded { ticket, rows, more } => self.loaded(turn, ticket, rows, more),
            Input::Stored { ticket } => self.stored(turn, ticket),
            // It sends little and takes no datagrams.
            Input::Drained { .. } | Input::Datagram { .. } => {}
        }
    }

    fn command(&mut self, turn: &mut Turn<'_>, command: Command) {
        match command {
            Command::AddPeer(endpoint) => self.add_peer(turn, endpoint),
            Command::Watch { scripts, from } => {
                self.search.order(WatchOrder::Scripts { scripts, from, only: false });
            }
            Command::WatchOnly { scripts, from } => {
                self.search.order(WatchOrder::Scripts { scripts, from, only: true });
            }
            Command::WatchOutputs { outputs, from } => {
                self.search.order(WatchOrder::Outputs { outputs, from })
            }
            Command::Unwatch { scripts, outputs } => {
                self.search.order(WatchOrder::Unwatch { scripts, outputs })
            }
            Command::WatchDescriptors { descriptors, lookahead, from, only } => {
                self.search.order(WatchOrder::Descriptors { descriptors, lookahead, from, only });
            }
            Command::UnwatchDescriptors { descriptors } => {
                self.search.order(WatchOrder::UnwatchDescriptors { descriptors });
            }
            Command::Rescan { from } => self.search.order(WatchOrder::Rescan { from }),
            Command::FindSpend { outpoint, script, from } => {
                self.search.order(WatchOrder::FindSpend { outpoint, script, from });
            }
            Command::Ban { subnet, until } => self.order_ban(turn, subnet, Some(until)),
            Command::LiftBan { subnet } => self.order_ban(turn, subnet, None),
            Command::Broadcast { transactions, options } => {
                self.broadcasting.order(broadcasting::Order::Submit { transactions, options });
            }
            Command::TellFees { blocks } => self.fees.order(blocks),
            Command::WithdrawBroadcast { txid } => {
                self.broadcasting.order(broadcasting::Order::Withdraw(txid));
            }
            Command::FindHeader(query) => {
                self.queries.order(queries::Order::Find(Find { query, wants: Wants::Header }));
            }
            Command::FetchBlock(query) => {
                self.queries.order(queries::Order::Find(Find { query, wants: Wants::Block }));
            }
            Command::Export { from, count } => self.queries.order(queries::Order::Export { from, count }),
            Command::Import(import) => self.queries.order(queries::Order::Import(import)),
        }
    }

    fn stop(&mut self, turn: &mut Turn<'_>) {
        if matches!(self.phase, Phase::Running) && self.search.taking_back == TakingBack::No {
            self.settle(turn, true);
        }
        self.keep_nodes_at_the_end(turn);
        self.keep_broadcasts(turn);
        for (conn, peer) in &self.peers {
            turn.out.close(*conn, false);
            peer.session.into_iter().for_each(|session| turn.out.close(session, false));
        }
        self.targets = Targets::default();
        self.peers.clear();
        self.timers = Timers::new();
        self.phase = Phase::Stopped;
    }

    /// What there is to do now that the input has been taken in.
    fn go_on(&mut self, turn: &mut Turn<'_>) {
        if !matches!(self.phase, Phase::Running) {
            return;
        }
        self.carry_out_broadcast_orders(turn);
        self.tell_fees(turn);
        self.carry_out_queries(turn);
        self.ask_for_headers(turn);
        self.ask_for_filter_headers(turn);
        self.agree(turn);
        if !matches!(self.phase, Phase::Running) {
            // What was believed far down was not right: what is stored is read anew.
            return;
        }
        self.go_on_searching(turn);
        self.dial_nodes(turn);
        self.broadcast(turn);
        self.probe(turn);
        self.watch_for_stalls(turn);
        self.tell_progress(turn);
        self.tell_synced(turn);
    }

    fn expire_timers(&mut self, turn: &mut Turn<'_>) {
        while let Some(timer) = self.timers.expire(turn.now.instant) {
            match timer {
                Timer::Dial(target) => self.dial(turn, target),
                Timer::Handshake(conn) => self.handshake_timed_out(turn, conn),
                // They come behind the filters and blocks that it was asked for before; whether it sends those is watched.
                Timer::Headers(conn) if self.search.is_waiting_for(conn) => {
                    self.timers.set(timer, turn.now.instant + headers::HEADERS_TIMEOUT);
                }
                Timer::Headers(conn) => self.drop_peer(turn, conn, Reason::HeadersTimeout),
                Timer::Ping(conn) => self.ping(turn, conn),
                // Every turn tells progress that is due, and takes over from who has become slow.
                Timer::Progress | Timer::FilterRanges | Timer::TakeOver | Timer::Derive => {}
                Timer::News(conn) => self.tell_news(turn, conn),
                Timer::Nodes => self.nodes_are_due(),
                Timer::Seeds => self.seek(turn),
                Timer::KeepNodes => self.keep_nodes_now(turn),
                Timer::Broadcast => self.broadcasting.wake(turn.now),
                Timer::StaleTip => self.tip_is_stale(turn),
                Timer::Retry(conn) => self.ask_again(conn),
                Timer::Stall(conn) => self.check_stall(turn, conn),
                Timer::HoldUp => self.ranges_are_held_up(turn),
            }
        }
    }

    /// Sends a message.
    fn send(&mut self, turn: &mut Turn<'_>, conn: ConnId, message: &Message<'_>) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        let mut sent = 0;
        turn.out.send(conn, |bytes| {
            let before = bytes.len();
            peer.writer.write(message, bytes);
            sent = bytes.len() - before;
        });
        self.bytes_sent += sent as u64;
    }

    /// Makes a batch durable, and does the rest then.
    fn store(
        &mut self,
        turn: &mut Turn<'_>,
        events: Vec<Event>,
        then: Then,
        write: impl FnOnce(&mut andon_kernel::BatchWriter<'_>),
    ) {
        let ticket = self.names.ticket();
        turn.out.store(ticket, write);
        if !events.is_empty() || then != Then::Nothing {
            self.stored.insert(ticket, Durable { events, then });
        }
    }

    fn stored(&mut self, turn: &mut Turn<'_>, ticket: Ticket) {
        let Some(Durable { events, then }) = self.stored.remove(&ticket) else { return };
        for event in events {
            turn.out.event(event);
        }
        match then {
            Then::Nothing => {}
            Then::Searched(group, next) => self.search.searched(group, next),
            Then::TakeBack => self.take_back_page(turn),
        }
    }

    fn tell_progress(&mut self, turn: &mut Turn<'_>) {
        let tip = self.chain.tip_height();
        let claimed = self.peers.values().filter(|peer| peer.is_ready()).map(|peer| peer.claimed).max();
        let mut progress = Progress {
            headers: Count { done: tip, total: tip.max(claimed.unwrap_or(0)) },
            filter_headers: Count { done: self.filter_headers.next().saturating_sub(1), total: tip },
            bytes_received: self.bytes_received,
            bytes_sent: self.bytes_sent,
            ..Progress::default()
        };
        self.search.count(tip, self.filter_headers.first_filter(), &mut progress);
        let told = Progress {
            bytes_received: progress.bytes_received,
            bytes_sent: progress.bytes_sent,
            ..self.progress.value
        };
        let interval = if progress != told {
            PROGRESS_INTERVAL
        } else if self.is_waiting_for_answers()
            && progress.bytes_received != self.progress.value.bytes_received
        {
            BYTES_INTERVAL
        } else {
            // Bytes that answer nothing are no progress: a ping would wake the application.
            self.timers.cancel(Timer::Progress);
            return;
        };
        let due = self.progress.at + interval;
        if turn.now.instant < due && self.progress.at != Instant::ZERO {
            self.timers.set(Timer::Progress, due);
            return;
        }
        self.timers.cancel(Timer::Progress);
        self.progress = Told { value: progress, at: turn.now.instant };
        turn.out.event(Event::Progress(progress));
    }

    /// Tells that everything is done, if it is, and has not been told for this tip.
    fn tell_synced(&mut self, turn: &mut Turn<'_>) {
        let tip = self.chain.tip();
        let done = self.synced != Some(tip)
            && self.headers_are_current()
            && self.filter_headers.next() == tip.height + 1
            && self.trusted_filter_headers() == tip.height + 1
            && self.stored.is_empty()
            && self.search.is_done(tip.height);
        if !done {
            return;
        }
        self.synced = Some(tip);
        // The last word on progress is not held back.
        self.progress.at = Instant::ZERO;
        self.progress.value = Progress::default();
        self.tell_progress(turn);
        turn.out.event(Event::Synced(tip));
    }

    fn is_waiting_for_answers(&self) -> bool {
        let mut waiting = self.peers.keys().flat_map(|conn| [Timer::Headers(*conn), Timer::Stall(*conn)]);
        waiting.any(|timer| self.timers.get(timer).is_some())
    }

    fn user_agent(&self) -> &String {
        &self.config.user_agent
    }
}

impl Machine for Client {
    type Command = Command;
    type Event = Event;

    fn handle(&mut self, now: Now, input: Input<'_, Command>, out: &mut Outbox<Event>) {
        let mut turn = Turn { now, out };
        self.input(&mut turn, input);
        self.go_on(&mut turn);
    }

    fn deadline(&self) -> Option<Instant> {
        self.timers.next()
    }
}

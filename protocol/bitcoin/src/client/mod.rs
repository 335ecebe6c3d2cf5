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
//! | `answers`, `replies` | requests: commands that are numbered, and the one answer to each |
//! | `journal` | what the application has not acknowledged |
//! | `pausing` | doing nothing on the network, by order or when a budget is spent |
//! | `progress`, `status` | how far everything is and how fast it goes; the chain's end and the peers |
//! | `recordable` | what a client is built from and asked, written and read for recordings |
//! | `filter_fetch` | filters that the application asks for, to match by itself |
//! | `queries` | headers that the application looks up, takes out or brings in, and blocks that it wants to have |

#[doc = include_str!("privacy.md")]
pub mod privacy {}

mod agreement;
mod answers;
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
mod filter_fetch;
mod filter_headers;
mod filter_ranges;
mod filters;
mod findings;
mod gossip;
mod headers;
mod i2p;
mod journal;
mod migration;
mod misbehaviour;
mod nodes;
mod origin;
mod pace;
mod pausing;
mod peer;
mod progress;
mod queries;
mod ranges;
mod reasons;
mod record;
#[cfg(feature = "record")]
mod recordable;
mod repair;
mod replies;
mod requests;
mod restoring;
mod restoring_nodes;
mod search;
mod segments;
mod session;
mod shapes;
mod start;
mod status;
mod switching;
mod taking_back;
mod views;
mod watches;
mod watching;
mod ways;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use andon_kernel::{ConnId, Input, Instant, Machine, Names, Now, Outbox, Rng, Ticket, Timers};

pub use api::*;
pub use config::*;
pub use descriptors::{Descriptor, DescriptorError, Lookahead};
pub use misbehaviour::Misbehaviour;
pub use views::views;

use agreement::Agreement;
use answers::Requests;
use ascent::Ascent;
use broadcasting::Broadcasting;
use checkpoints::Checkpoints;
use decoys::Decoys;
use dial::{TargetId, Targets, Unencrypted};
use fees::KnownFees;
use filter_fetch::FilterFetches;
use filter_headers::FilterHeaders;
use filter_ranges::FilterRanges;
use journal::Journal;
use nodes::Nodes;
use pausing::Pausing;
use peer::Peer;
use progress::Meter;
use queries::{Find, Queries, Wants};
use ranges::Ranges;
use search::Search;
use start::Loading;
use taking_back::TakingBack;
use watches::GroupId;
use watching::WatchOrder;

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
    broadcasting: Broadcasting,
    fees: KnownFees,
    /// Peers that were asked for something in this turn.
    asked: BTreeSet<ConnId>,
    chain: HeaderChain,
    ranges: Ranges,
    ascent: Option<Ascent>,
    /// The peer that was asked last because the tip was stale.
    asked_when_stale: Option<ConnId>,
    /// How often a peer had shown all that it has.
    times_shown: u64,
    queries: Queries,
    filter_headers: FilterHeaders,
    filter_ranges: FilterRanges,
    filter_fetches: FilterFetches,
    checkpoints: Checkpoints,
    agreement: Agreement,
    search: Search,
    /// What happens when a batch is durable.
    stored: BTreeMap<Ticket, Durable>,
    bytes_received: u64,
    bytes_sent: u64,
    progress: Told<Progress>,
    meter: Meter,
    synced: Option<BlockId>,
    /// Whether it has been synced since the start.
    has_synced: bool,
    requests: Requests,
    pause: Pausing,
    journal: Journal,
    /// Whether all parts have gone on since anything changed, and have nothing left to do before something does.
    settled: bool,
    /// Whether nothing has come in this turn that concerns any of them.
    quiet: bool,
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
    Budget,
    Request(RequestId),
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
        let mut decoys = Decoys::new(config.decoy_blocks, &mut rng.fork("decoys"));
        decoys.set_off(config.metered);
        Self {
            magic,
            names: Names::default(),
            timers: Timers::new(),
            phase: Phase::New,
            targets: Targets::default(),
            peers: BTreeMap::new(),
            unencrypted: Unencrypted::default(),
            nodes: None,
            broadcasting: Broadcasting::new(&rng),
            fees: KnownFees::new(),
            asked: BTreeSet::new(),
            chain,
            ranges: Ranges::default(),
            ascent: None,
            asked_when_stale: None,
            times_shown: 0,
            queries: Queries::default(),
            filter_headers: FilterHeaders::default(),
            filter_ranges: FilterRanges::default(),
            filter_fetches: FilterFetches::default(),
            checkpoints: Checkpoints::default(),
            agreement: Agreement::new(&config),
            search: Search::new(config.filter_window, config.filter_cache, decoys),
            stored: BTreeMap::new(),
            bytes_received: 0,
            bytes_sent: 0,
            progress: Told::default(),
            meter: Meter::default(),
            synced: None,
            has_synced: false,
            requests: Requests::default(),
            pause: Pausing::new(&config),
            journal: Journal::new(config.acknowledged),
            settled: false,
            quiet: false,
            config,
            rng,
        }
    }

    fn input(&mut self, turn: &mut Turn<'_>, input: Input<'_, Command>) {
        match input {
            Input::Start => self.start(turn),
            Input::Stop => self.stop(turn),
            Input::Wake => self.expire_timers(turn),
            Input::Command(Command::Request { id, command, within }) => {
                self.request(turn, id, *command, within)
            }
            Input::Command(Command::Cancel(id)) => self.cancel(turn, id),
            Input::Command(command) => self.command(turn, None, command),
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

    /// Carries a command out, for a request if it is one.
    fn carry_out(&mut self, turn: &mut Turn<'_>, request: Option<RequestId>, command: Command) {
        match command {
            Command::AddPeer(endpoint) => return self.order_peer(turn, request, endpoint),
            Command::RemovePeer(endpoint) => self.remove_peer(turn, &endpoint),
            Command::Ban { subnet, until } => return self.order_ban(turn, request, subnet, until),
            Command::LiftBan { subnet } => self.lift_ban(turn, subnet),
            Command::Pause => self.pause(turn, PauseReason::Asked),
            Command::Resume(Some(budget)) => return self.resume(turn, Some(budget), request),
            Command::Resume(None) => self.resume(turn, None, None),
            Command::SetMetered(metered) => self.set_metered(turn, metered),
            Command::Acknowledge(number) => self.acknowledge(turn, number),
            // Each has an answer of its own.
            command => return self.order(turn, request, command),
        }
        self.done(turn, request);
    }

    /// Notes a command that is carried out when its part goes on, and answered there.
    fn order(&mut self, turn: &mut Turn<'_>, request: Option<RequestId>, command: Command) {
        let watch = match command {
            Command::Watch { scripts, from } => WatchOrder::Scripts { scripts, from, only: false },
            Command::WatchOnly { scripts, from } => WatchOrder::Scripts { scripts, from, only: true },
            Command::WatchOutputs { outputs, from } => WatchOrder::Outputs { outputs, from },
            Command::Unwatch { scripts, outputs } => WatchOrder::Unwatch { scripts, outputs },
            Command::WatchDescriptors { descriptors, lookahead, from, only } => {
                WatchOrder::Descriptors { descriptors, lookahead, from, only }
            }
            Command::UnwatchDescriptors { descriptors } => WatchOrder::UnwatchDescriptors { descriptors },
            Command::Rescan { from } => WatchOrder::Rescan { from },
            Command::FindSpend { outpoint, script, from } => WatchOrder::FindSpend { outpoint, script, from },
            Command::Broadcast { transactions, options } => {
                return self
                    .broadcasting
                    .order(request, broadcasting::Order::Submit { transactions, options });
            }
            Command::WithdrawBroadcast { txid } => {
                return self.broadcasting.order(request, broadcasting::Order::Withdraw(txid));
            }
            Command::TellFees { blocks } => return self.fees.order(request, blocks),
            Command::TellTip => return self.tell_tip(turn, request),
            Command::TellPeers => return self.tell_peers(turn, request),
            Command::FindHeader(query) => {
                let find = Find { query, wants: Wants::Header, request };
                return self.queries.order(queries::Order::Find(find));
            }
            Command::FetchBlock(query) => {
                let find = Find { query, wants: Wants::Block, request };
                return self.queries.order(queries::Order::Find(find));
            }
            Command::FetchFilters { from, count } => {
                return self.filter_fetches.order(from, count, request);
            }
            Command::Export { from, count } => {
                return self.queries.order(queries::Order::Export { from, count, request });
            }
            Command::Import(import) => return self.queries.order(queries::Order::Import(import, request)),
            _ => unreachable!("it was carried out at once"),
        };
        self.search.order(request, watch);
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

    /// What there is to do now that the input has been taken in: nothing if it was but a ping, as most that a client at the tip hears
    /// is, and there was nothing before.
    fn go_on(&mut self, turn: &mut Turn<'_>) {
        let before = turn.out.len();
        if self.settled && self.quiet {
            // Every test of the client shows that it is so.
            if cfg!(debug_assertions) {
                let timers = (self.timers.len(), self.timers.next());
                self.go_on_with_all(turn);
                let left = turn.out.len() - before;
                assert_eq!(
                    (left, (self.timers.len(), self.timers.next())),
                    (0, timers),
                    "a part was at rest"
                );
            }
            return;
        }
        self.go_on_with_all(turn);
        self.settled = turn.out.len() == before && self.is_at_rest();
    }

    /// Whether nothing is under way of anything that the parts do. What they do after a time has a timer, which ends the rest.
    fn is_at_rest(&self) -> bool {
        matches!(self.phase, Phase::Running)
            && self.synced == Some(self.chain.tip())
            && self.asked.is_empty()
            && self.stored.is_empty()
            && !self.is_waiting_for_answers()
            && !self.has_open_work()
            && self.timers.get(Timer::Progress).is_none()
            && self.timers.get(Timer::Derive).is_none()
    }

    fn go_on_with_all(&mut self, turn: &mut Turn<'_>) {
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
        self.fetch_filters(turn);
        self.dial_nodes(turn);
        self.broadcast(turn);
        self.probe(turn);
        self.watch_for_stalls(turn);
        self.tell_progress(turn);
        self.tell_synced(turn);
    }

    fn expire_timers(&mut self, turn: &mut Turn<'_>) {
        self.quiet = true;
        while let Some(timer) = self.timers.expire(turn.now.instant) {
            self.quiet &= matches!(timer, Timer::Ping(_));
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
                Timer::Progress | Timer::FilterRanges | Timer::TakeOver | Timer::Derive | Timer::Budget => {}
                Timer::News(conn) => self.tell_news(turn, conn),
                Timer::Nodes => self.nodes_are_due(),
                Timer::Seeds => self.seek(turn),
                Timer::KeepNodes => self.keep_nodes_now(turn),
                Timer::Broadcast => self.broadcasting.wake(turn.now),
                Timer::Request(id) => self.give_up(turn, id, Answer::TimedOut),
                Timer::StaleTip => self.tip_is_stale(turn),
                Timer::Retry(conn) => self.ask_again(conn),
                Timer::Stall(conn) => self.check_stall(turn, conn),
                Timer::HoldUp => self.ranges_are_held_up(turn),
            }
        }
    }

    /// Counts bytes that were sent to a peer.
    fn note_sent(&mut self, conn: ConnId, bytes: u64) {
        self.bytes_sent += bytes;
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.bytes_sent += bytes;
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
        self.note_sent(conn, sent as u64);
    }

    /// Makes a batch durable, and does the rest then.
    fn store(
        &mut self,
        turn: &mut Turn<'_>,
        mut events: Vec<Event>,
        then: Then,
        write: impl FnOnce(&mut andon_kernel::BatchWriter<'_>),
    ) {
        let ticket = self.names.ticket();
        let journal = &mut self.journal;
        turn.out.store(ticket, |batch| {
            write(batch);
            journal.note(batch, &mut events);
        });
        if !events.is_empty() || then != Then::Nothing {
            self.stored.insert(ticket, Durable { events, then });
        }
    }

    fn stored(&mut self, turn: &mut Turn<'_>, ticket: Ticket) {
        let Some(Durable { events, then }) = self.stored.remove(&ticket) else { return };
        for event in events {
            self.tell(turn, event);
        }
        match then {
            Then::Nothing => {}
            Then::Searched(group, next) => self.search.searched(group, next),
            Then::TakeBack => self.take_back_page(turn),
        }
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
        self.has_synced = true;
        // The last word on progress is not held back.
        self.progress.at = Instant::ZERO;
        self.progress.value = Progress::default();
        self.tell_progress(turn);
        turn.out.event(Event::Synced(tip));
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
        self.quiet = false;
        self.input(&mut turn, input);
        self.go_on(&mut turn);
        self.look_at_budget(&mut turn);
    }

    fn deadline(&self) -> Option<Instant> {
        self.timers.next()
    }
}

//! The start: what is stored is read back and checked, recorded findings are told again, and the peers are dialled. What
//! was cut short is finished first: a migration, a switch to another branch, a repair. A switch or a repair while the
//! client runs is a start too, but for the findings and the peers.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::ops::Bound;

use andon_kernel::{Order, Rows, Space, Ticket};
use bitcoin::block::Header;
use bitcoin::{BlockHash, FilterHeader, OutPoint, ScriptBuf, Work};

use super::api::{BlockId, Event, Failure};
use super::cache::Part;
use super::config::Start;
use super::filter_headers::FilterHeaders;
use super::migration::Migration;
use super::ranges::Ranges;
use super::record::{self, Meta, StoredHeader, Switch, Tip};
use super::repair::Scan;
use super::restoring_nodes::LoadingNodes;
use super::watches::{Positions, Watch, WatchedOutpoint};
use super::{Client, Phase, Then, Turn};
use crate::headers::{HeaderChain, Lineage, PERIOD, WINDOW};

/// Findings that are told in one turn.
const TOUCH_PAGE: u32 = 500;

/// Other rows are bounded by the size of a page.
pub(super) const PAGE: u32 = 20_000;

/// Rows of filter headers that are kept at hand.
const FILTER_HEADER_ROWS: u32 = 2 * WINDOW / record::ROW;

pub(super) const ALL: (Bound<&[u8]>, Bound<&[u8]>) = (Bound::Unbounded, Bound::Unbounded);

/// What is being read, one step after the other.
#[derive(Debug)]
pub(super) struct Loading {
    ticket: Option<Ticket>,
    pub(super) step: Step,
    /// The space that the step reads.
    space: Space,
    /// Whether the client was running: then findings and peers are at hand.
    pub(super) again: bool,
    pub(super) tip: Option<Tip>,
    pub(super) positions: Positions,
    base: u32,
    headers: Vec<StoredHeader>,
    posts_wanted: Vec<u32>,
    posts: BTreeMap<u32, BlockHash>,
    pub(super) watched: BTreeMap<ScriptBuf, Watch>,
    pub(super) outpoints: BTreeMap<OutPoint, WatchedOutpoint>,
    /// Whether the first rows of the journal have not come.
    pub(super) is_first_told: bool,
    /// The block whose findings were told last.
    pub(super) told: Option<BlockId>,
    /// The lowest height of a finding that does not stand.
    pub(super) void: Option<u32>,
    pub(super) cached: BTreeMap<u32, Part>,
    pub(super) switch: Option<Switch>,
    /// Of a switch, the headers of the period that the branch leaves in, up to the fork.
    pub(super) head: Vec<StoredHeader>,
    /// The work before that period, if the best chain reaches down to its first block.
    pub(super) head_work: Option<Work>,
    /// Of a switch while the client runs, the tip that is left.
    pub(super) left: Option<BlockId>,
    /// Whether there is no record of anything.
    pub(super) empty: bool,
    /// Whether a record is lost without which nothing that is stored can be read.
    pub(super) recordless: bool,
    pub(super) scan: Scan,
    pub(super) migration: Migration,
    /// The address book, as far as it has been read.
    pub(super) nodes: Option<Box<LoadingNodes>>,
    /// Transactions that are broadcast, as far as they have been read.
    pub(super) broadcasts: Option<Box<crate::broadcast::Restoring>>,
    /// What was repaired, if anything was.
    pub(super) repaired: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Meta,
    MigrateHeaders,
    MigrateFilterHeaders,
    MigrateWatched,
    MigrateTouches,
    SwitchHead,
    Switch,
    Headers,
    Posts,
    FilterHeaders,
    RepairHeaders,
    RepairFilterHeaders,
    Cached,
    Watched,
    Outputs,
    Descriptors,
    Told,
    Touches,
    Broadcasts,
    Addresses,
    Bans,
    Anchors,
}

/// Why a step did not succeed.
#[derive(Debug)]
pub(super) enum Fault {
    /// The client can't work with what is stored.
    Failed(Failure),
    /// Headers or filter headers contradict themselves: a part of them is fetched again.
    Damage(&'static str),
}

/// Whether there is another step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Went {
    On,
    Done,
}

impl Loading {
    fn new(again: bool) -> Box<Self> {
        Box::new(Self {
            ticket: None,
            step: Step::Meta,
            space: record::META,
            again,
            tip: None,
            positions: Positions::default(),
            base: 0,
            headers: Vec::new(),
            posts_wanted: Vec::new(),
            posts: BTreeMap::new(),
            watched: BTreeMap::new(),
            outpoints: BTreeMap::new(),
            is_first_told: false,
            told: None,
            void: None,
            cached: BTreeMap::new(),
            switch: None,
            head: Vec::new(),
            head_work: None,
            left: None,
            empty: false,
            recordless: false,
            scan: Scan::default(),
            migration: Migration::default(),
            nodes: None,
            broadcasts: None,
            repaired: None,
        })
    }
}

impl Client {
    pub(super) fn start(&mut self, turn: &mut Turn<'_>) {
        if let Err(why) = self.check_known_blocks() {
            return self.fail(turn, Failure::UnusableKnownBlocks { why });
        }
        let mut loading = Loading::new(false);
        self.load_meta(turn, &mut loading);
        self.phase = Phase::Loading(loading);
    }

    /// Reads everything anew while the client runs: `begin` says what is to be done first.
    pub(super) fn start_again(
        &mut self,
        turn: &mut Turn<'_>,
        begin: impl FnOnce(&mut Self, &mut Turn<'_>, &mut Loading),
    ) {
        let mut loading = Loading::new(true);
        self.synced = None;
        self.give_up_resolving();
        self.give_up_search(0, u32::MAX);
        self.restart_fetch(0);
        self.forget_filter_header_source();
        self.checkpoints.forget_all();
        self.forget_agreement_from(0);
        self.ranges.give_up();
        self.ascent = None;
        self.search.dating = None;
        begin(self, turn, &mut loading);
        self.phase = Phase::Loading(loading);
    }

    fn load_meta(&mut self, turn: &mut Turn<'_>, loading: &mut Loading) {
        self.load_step(turn, loading, Step::Meta, record::META, ALL, Order::Ascending, PAGE);
    }

    pub(super) fn loaded(&mut self, turn: &mut Turn<'_>, ticket: Ticket, rows: Rows<'_>, more: bool) {
        match &self.phase {
            Phase::Running => return self.loaded_while_running(turn, ticket, rows, more),
            Phase::Loading(loading) if loading.ticket == Some(ticket) => {}
            Phase::Loading(_) => {
                self.query_loaded(turn, ticket, rows, more);
                return;
            }
            Phase::New | Phase::Stopped => return,
        }
        let Phase::Loading(mut loading) = core::mem::replace(&mut self.phase, Phase::Stopped) else { return };
        let step = loading.step;
        let went = match step {
            Step::Meta => self.take_meta(turn, &mut loading, rows),
            Step::MigrateHeaders => self.migrate_headers(turn, &mut loading, rows, more),
            Step::MigrateFilterHeaders => self.migrate_filter_headers(turn, &mut loading, rows, more),
            Step::MigrateWatched => self.migrate_watched(turn, &mut loading, rows, more),
            Step::MigrateTouches => self.migrate_touches(turn, &mut loading, rows, more),
            Step::SwitchHead => self.take_switch_head(turn, &mut loading, rows),
            Step::Switch => self.switch_page(turn, &mut loading, rows),
            Step::Headers => self.take_headers(turn, &mut loading, rows),
            Step::Posts => self.take_post(turn, &mut loading, rows),
            Step::FilterHeaders => self.take_filter_headers(turn, &mut loading, rows),
            Step::RepairHeaders => self.scan_headers(turn, &mut loading, rows, more),
            Step::RepairFilterHeaders => self.scan_filter_headers(turn, &mut loading, rows, more),
            Step::Cached => self.take_cached(turn, &mut loading, rows, more),
            Step::Watched => self.take_watched(turn, &mut loading, rows, more),
            Step::Outputs => self.take_outputs(turn, &mut loading, rows, more),
            Step::Descriptors => self.take_descriptors(turn, &mut loading, rows, more),
            Step::Touches => self.take_touches(turn, &mut loading, rows, more),
            Step::Told => self.take_told(turn, &mut loading, rows, more),
            Step::Broadcasts => self.take_broadcasts(turn, &mut loading, rows, more),
            Step::Addresses | Step::Bans | Step::Anchors => self.take_nodes(turn, &mut loading, rows, more),
        };
        match went {
            Ok(Went::On) => self.phase = Phase::Loading(loading),
            Ok(Went::Done) if step == Step::Told => {
                self.load_from(turn, &mut loading, Step::Touches, record::TOUCH, Bound::Unbounded);
                self.phase = Phase::Loading(loading);
            }
            Ok(Went::Done) if step == Step::Touches => {
                self.load_broadcasts(turn, &mut loading);
                self.phase = Phase::Loading(loading);
            }
            Ok(Went::Done) if step == Step::Broadcasts && self.load_nodes(turn, &mut loading) => {
                self.phase = Phase::Loading(loading);
            }
            Ok(Went::Done) => self.run(turn, &loading),
            Err(Fault::Damage(what)) if loading.repaired.is_none() && loading.step != Step::Meta => {
                self.begin_repair(turn, &mut loading, what);
                self.phase = Phase::Loading(loading);
            }
            Err(Fault::Damage(what)) => self.fail(turn, Failure::Damaged { what }),
            Err(Fault::Failed(failure)) => self.fail(turn, failure),
        }
    }

    pub(super) fn fail(&mut self, turn: &mut Turn<'_>, failure: Failure) {
        turn.out.event(Event::Failed(failure));
        self.refuse_requests(turn);
        self.stop(turn);
    }

    fn take_meta(
        &mut self,
        turn: &mut Turn<'_>,
        loading: &mut Loading,
        rows: Rows<'_>,
    ) -> Result<Went, Fault> {
        let mut meta = Meta::default();
        let mut unreadable = false;
        for (key, value) in rows.iter() {
            // Without `next` the search begins anew; without another of these the headers must be looked at.
            unreadable |= meta.read(key, value).is_err() && !record::is_next(key) && !record::is_descent(key);
        }
        loading.empty = rows.is_empty();
        let Some((version, network)) = meta.format else {
            return self.begin_without_record(
                turn,
                loading,
                &meta,
                "the record of its format is missing or unreadable",
            );
        };
        if network != self.config.network {
            return Err(Fault::Failed(Failure::OtherNetwork { found: network }));
        }
        loading.positions.clone_from(&meta.next);
        if version == record::OLD_FORMAT {
            self.begin_migration(turn, loading, &meta);
            return Ok(Went::On);
        }
        if version != record::FORMAT {
            let expected = record::FORMAT;
            return Err(Fault::Failed(Failure::OtherVersion { found: version, expected }));
        }
        let Some((header, start)) = meta.start.filter(|(header, start)| header.block_hash() == *start.hash())
        else {
            return self.begin_without_record(
                turn,
                loading,
                &meta,
                "the record of its start is missing or unreadable",
            );
        };
        self.set_start(&header, start);
        if !loading.again
            && let Start::Before(_) = self.config.start
        {
            let (header, lower) = self.start_block().map_err(Fault::Failed)?;
            if lower.height() < start.height() {
                self.begin_lower(turn, loading, &header, &lower);
                return Ok(Went::On);
            }
        }
        loading.tip = meta.tip;
        if let Some(switch) = meta.switch {
            loading.switch = Some(switch);
            self.load_switch_head(turn, loading, &switch);
            return Ok(Went::On);
        }
        let Some(tip) = meta.tip.filter(|tip| !unreadable && tip.block.height >= start.height()) else {
            const DAMAGE: &str = "a record of the store's own is missing or unreadable";
            if loading.repaired.is_some() {
                return Err(Fault::Damage(DAMAGE));
            }
            self.begin_repair(turn, loading, DAMAGE);
            return Ok(Went::On);
        };
        let (base, posts) = HeaderChain::needed(start.height(), tip.block.height);
        (loading.base, loading.posts_wanted) = (base, posts.collect());
        loading.headers.clear();
        loading.posts.clear();
        self.load_height_rows(turn, loading, Step::Headers, record::HEADERS, base, tip.block.height);
        Ok(Went::On)
    }

    /// A chain of one block is what is known.
    fn set_start(&mut self, header: &Header, start: Lineage) {
        let mut chain = HeaderChain::from_start(self.chain.rules().clone(), header, start);
        chain.set_minimum_work(self.minimum_work());
        self.chain = chain;
    }

    /// Nothing is stored yet, or a record is lost without which nothing that is stored can be read: the headers show
    /// which it is. If they begin where the chain is to start, they are kept as far as they are sound.
    fn begin_without_record(
        &mut self,
        turn: &mut Turn<'_>,
        loading: &mut Loading,
        meta: &Meta,
        what: &'static str,
    ) -> Result<Went, Fault> {
        if loading.repaired.is_some() {
            return Err(Fault::Damage(what));
        }
        let recorded = meta.start.filter(|(header, start)| header.block_hash() == *start.hash());
        let (header, start) = match recorded {
            Some(recorded) => recorded,
            None if loading.again => (*self.chain.start_header(), *self.chain.start()),
            None => self.start_block().map_err(Fault::Failed)?,
        };
        self.set_start(&header, start);
        loading.positions.clone_from(&meta.next);
        loading.recordless = true;
        self.begin_repair(turn, loading, what);
        Ok(Went::On)
    }

    /// Nothing is stored of the chain.
    pub(super) fn begin_new(&mut self, turn: &mut Turn<'_>, loading: &mut Loading) {
        let (header, start) = (*self.chain.start_header(), *self.chain.start());
        self.put_new(turn, &header, &start, &Positions::default());
        loading.repaired = None;
        self.load_from(turn, loading, Step::Watched, record::WATCH, Bound::Unbounded);
    }

    /// The chain is to begin lower than it does: all of it is fetched anew, for little of it is to be had from below.
    fn begin_lower(&mut self, turn: &mut Turn<'_>, loading: &mut Loading, header: &Header, start: &Lineage) {
        let first = start.height() + 1;
        let mut positions = loading.positions.clone();
        positions.lower(first);
        self.put_new(turn, header, start, &positions);
        self.load_meta(turn, loading);
    }

    /// Makes a chain of one block durable, in the place of whatever there was.
    pub(super) fn put_new(
        &mut self,
        turn: &mut Turn<'_>,
        header: &Header,
        start: &Lineage,
        positions: &Positions,
    ) {
        let network = self.config.network;
        self.set_start(header, *start);
        self.filter_headers = FilterHeaders::new(start.height());
        let tip = Tip { block: start.block(), work: start.work() };
        let before = start.work() - header.work();
        self.store(turn, Vec::new(), Then::Nothing, |batch| {
            let spaces = [record::HEADERS, record::FILTER_HEADERS, record::HASHES, record::STAGED];
            for space in spaces.into_iter().chain([record::FILTERS, record::CACHED, record::SPENDS]) {
                batch.delete_from(space, &[]);
            }
            record::put_format(batch, network);
            record::put_start(batch, header, start);
            record::put_headers(batch, record::HEADERS, start.height(), [header], |_| Some(before));
            record::put_tip(batch, &tip);
            record::put_settled(batch);
            record::put_positions(batch, positions);
        });
    }

    fn take_headers(
        &mut self,
        turn: &mut Turn<'_>,
        loading: &mut Loading,
        rows: Rows<'_>,
    ) -> Result<Went, Fault> {
        const DAMAGE: Fault = Fault::Damage("block headers are missing or do not follow each other");
        let tip = loading.tip.ok_or(DAMAGE)?;
        loading.headers = record::read_headers(rows, loading.base, tip.block.height).ok_or(DAMAGE)?;
        if loading.headers.last().map(|last| last.hash) != Some(tip.block.hash) {
            return Err(DAMAGE);
        }
        self.next_post(turn, loading)
    }

    /// Loads the next block that a locator names below the window, or takes the chain up.
    fn next_post(&mut self, turn: &mut Turn<'_>, loading: &mut Loading) -> Result<Went, Fault> {
        if let Some(&post) = loading.posts_wanted.last() {
            self.load_height_rows(turn, loading, Step::Posts, record::HEADERS, post, post);
            return Ok(Went::On);
        }
        const DAMAGE: Fault = Fault::Damage("block headers contradict the work that is recorded");
        let tip = loading.tip.ok_or(DAMAGE)?;
        let headers: Vec<Header> =
            core::mem::take(&mut loading.headers).into_iter().map(|stored| stored.header).collect();
        let posts = core::mem::take(&mut loading.posts);
        let post = |height| posts.get(&height).copied();
        self.chain = self.chain.restore(&headers, tip.work, post, loading.base).ok_or(DAMAGE)?;
        let (step, space) = (Step::FilterHeaders, record::FILTER_HEADERS);
        self.load_step(turn, loading, step, space, ALL, Order::Descending, FILTER_HEADER_ROWS);
        Ok(Went::On)
    }

    fn take_post(
        &mut self,
        turn: &mut Turn<'_>,
        loading: &mut Loading,
        rows: Rows<'_>,
    ) -> Result<Went, Fault> {
        const DAMAGE: Fault = Fault::Damage("a block header far down is missing");
        let post = loading.posts_wanted.pop().ok_or(DAMAGE)?;
        let found = record::read_headers(rows, post, post).ok_or(DAMAGE)?;
        loading.posts.extend(found.iter().map(|stored| (stored.height, stored.hash)));
        self.next_post(turn, loading)
    }

    fn take_filter_headers(
        &mut self,
        turn: &mut Turn<'_>,
        loading: &mut Loading,
        rows: Rows<'_>,
    ) -> Result<Went, Fault> {
        const DAMAGE: Fault = Fault::Damage("filter headers are missing");
        let start = self.chain.start().height();
        let mut window: VecDeque<FilterHeader> = VecDeque::new();
        let mut low = None;
        let mut next = None;
        for (key, value) in rows.iter() {
            let (first, headers) = record::read_filter_header_row(key, value).ok_or(DAMAGE)?;
            let end = first + headers.len() as u32;
            if low.is_some_and(|low| low != end) {
                return Err(DAMAGE);
            }
            next.get_or_insert(end);
            low = Some(first);
            headers.rev().for_each(|header| window.push_front(header));
        }
        let reaches = rows.len() == FILTER_HEADER_ROWS as usize || low.is_none_or(|low| low == start);
        if !reaches || next.is_some_and(|next| next > self.chain.tip_height() + 1) {
            return Err(DAMAGE);
        }
        self.filter_headers = match next {
            Some(next) => FilterHeaders::restore(start, next, window),
            None => FilterHeaders::new(start),
        };
        if loading.again {
            return Ok(Went::Done);
        }
        self.load_cached(turn, loading);
        Ok(Went::On)
    }

    fn run(&mut self, turn: &mut Turn<'_>, loading: &Loading) {
        self.ranges = Ranges::new(&self.chain, self.known_blocks());
        self.tip_is_fresh(turn);
        let tip = self.chain.tip();
        if let Some(what) = loading.repaired {
            turn.out.event(Event::Repaired { what, kept: tip });
        }
        if loading.again {
            if let (Some(old_tip), Some(fork)) = (loading.left, loading.head.last()) {
                let fork = BlockId { height: fork.height, hash: fork.hash };
                turn.out.event(Event::Reorganised { fork, old_tip, new_tip: tip });
            }
            for conn in self.connections() {
                self.ask_for_headers_anew(conn);
                if let Some(peer) = self.peers.get_mut(&conn) {
                    peer.best = None;
                }
            }
        } else {
            for endpoint in core::mem::take(&mut self.config.peers) {
                if let Err(event) = self.add_peer(turn, endpoint) {
                    turn.out.event(*event);
                }
            }
            for target in self.targets.ids() {
                self.dial(turn, target);
            }
            self.resume_finding(turn);
            // A switch that was cut short, and has been finished by this start, had not taken back what lies above its fork.
            let fork = loading.head.last().map_or(tip.height, |fork| fork.height.min(tip.height));
            self.broadcasting.rewind(fork + 1, turn.now);
            self.fees.recent.rewind(fork);
            self.begin_broadcasting(turn);
        }
        self.phase = Phase::Running;
        self.go_on_if_ordered(turn, loading.again);
        self.carry_out_early_commands(turn);
        if let Some(void) = loading.void {
            self.search.taking_back.begin(void);
        }
        self.take_back_anew(turn);
    }

    /// Loads the rows that hold the heights from `from` to `to`.
    pub(super) fn load_height_rows(
        &mut self,
        turn: &mut Turn<'_>,
        loading: &mut Loading,
        step: Step,
        space: Space,
        from: u32,
        to: u32,
    ) {
        let start = self.chain.start().height();
        let (low, high) = (record::height_key(record::row_first(start, from)), record::height_key(to));
        let range = (Bound::Included(&low[..]), Bound::Included(&high[..]));
        self.load_step(turn, loading, step, space, range, Order::Ascending, PAGE);
    }

    /// Loads a page of rows from a key on.
    pub(super) fn load_from(
        &mut self,
        turn: &mut Turn<'_>,
        loading: &mut Loading,
        step: Step,
        space: Space,
        from: Bound<&[u8]>,
    ) {
        let limit = match step {
            Step::Touches | Step::MigrateTouches | Step::Told => TOUCH_PAGE,
            // One period, and what follows it.
            Step::MigrateHeaders => PERIOD + 1,
            Step::MigrateFilterHeaders => PERIOD,
            Step::RepairHeaders | Step::RepairFilterHeaders => PERIOD / record::ROW,
            _ => PAGE,
        };
        self.load_step(turn, loading, step, space, (from, Bound::Unbounded), Order::Ascending, limit);
    }

    /// Goes on with a step behind the last of its rows that have come, if there are more. False: that was all.
    pub(super) fn load_more(
        &mut self,
        turn: &mut Turn<'_>,
        loading: &mut Loading,
        rows: Rows<'_>,
        more: bool,
    ) -> bool {
        let last = rows.iter().last().filter(|_| more);
        if let Some((last, _)) = last {
            self.load_from(turn, loading, loading.step, loading.space, Bound::Excluded(last));
        }
        last.is_some()
    }

    #[expect(clippy::too_many_arguments, reason = "those of a scan, and where the start is")]
    pub(super) fn load_step(
        &mut self,
        turn: &mut Turn<'_>,
        loading: &mut Loading,
        step: Step,
        space: Space,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        order: Order,
        limit: u32,
    ) {
        let ticket = self.names.ticket();
        loading.ticket = Some(ticket);
        (loading.step, loading.space) = (step, space);
        turn.out.load(ticket, space, range, order, limit);
    }

    /// Begins again with what is stored, after a step that changed it.
    pub(super) fn load_anew(&mut self, turn: &mut Turn<'_>, loading: &mut Loading) {
        self.load_meta(turn, loading);
    }
}

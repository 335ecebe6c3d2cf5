//! Pausing: no connection is open, none is dialled, and no timer runs. By order, or when a budget is spent: what a phone allows
//! a wallet in the background is some seconds and some megabytes.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::time::Duration;

use andon_kernel::Instant;

use super::agreement::Voter;
use super::api::{Answer, Budget, Event, PauseReason, Reason, RequestId};
use super::config::Config;
use super::taking_back::TakingBack;
use super::{Client, LONGEST, SHORTEST, Then, Timer, Turn};

/// How long others are waited for before one peer alone is believed that there is nothing new: as long as it takes to connect to
/// them, mostly.
const SETTLING: Duration = Duration::from_secs(10);

/// Whether the client is paused, and when it will be.
#[derive(Debug)]
pub(super) struct Pausing {
    is_paused: bool,
    budget: Option<Spending>,
    /// Bytes that had come and gone when the client went on.
    bytes_before: u64,
    /// Whether whoever is given is to be dialled when what is stored has been read again.
    dials: bool,
}

/// A budget that is being spent.
#[derive(Clone, Copy, Debug)]
struct Spending {
    budget: Budget,
    /// When its time is over.
    until: Option<Instant>,
    /// Until then more peers are waited for before it is believed that there is nothing new.
    settles: Instant,
    request: Option<RequestId>,
}

impl Pausing {
    pub(super) const fn new(config: &Config) -> Self {
        Self { is_paused: config.paused, budget: None, bytes_before: 0, dials: false }
    }

    pub(super) const fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Forgets for which request a budget is spent. Whether there was one.
    pub(super) fn cancel(&mut self, id: RequestId) -> bool {
        self.budget.take_if(|spending| spending.request == Some(id)).is_some()
    }
}

impl Client {
    /// Closes everything, and writes down what there is to write.
    pub(super) fn pause(&mut self, turn: &mut Turn<'_>, reason: PauseReason) {
        let spent = self.pause.budget.take();
        if !self.pause.is_paused {
            self.pause.is_paused = true;
            if self.is_running() && self.search.taking_back == TakingBack::No {
                self.settle(turn, true);
            }
            self.keep_nodes_at_the_end(turn);
            for conn in self.connections() {
                self.drop_peer(turn, conn, Reason::Paused);
            }
            self.keep_broadcasts(turn);
            self.keep_nodes(turn, Vec::new());
            // What is due is looked at when the client goes on.
            let dials = self.targets.ids().into_iter().map(Timer::Dial);
            let others = [
                Timer::StaleTip,
                Timer::Nodes,
                Timer::Seeds,
                Timer::KeepNodes,
                Timer::Broadcast,
                Timer::Budget,
            ];
            dials.chain(others).for_each(|timer| self.timers.cancel(timer));
        }
        let bytes = (self.bytes_received + self.bytes_sent).saturating_sub(self.pause.bytes_before);
        let paused = Event::Paused { reason, checked: self.checked(), bytes };
        let mut events = Vec::new();
        if let Some(id) = spent.and_then(|spent| spent.request) {
            events.push(Event::Answered { id, answer: Answer::Event(Box::new(paused.clone())) });
        }
        events.push(paused);
        // When all of that is durable.
        self.store(turn, events, Then::Nothing, |_| {});
    }

    /// Goes on, until a budget is spent if there is one.
    pub(super) fn resume(&mut self, turn: &mut Turn<'_>, budget: Option<Budget>, request: Option<RequestId>) {
        let now = turn.now.instant;
        let earlier = self.pause.budget.take();
        if let Some(id) = earlier.and_then(|earlier| earlier.request) {
            // The later order has taken its place.
            self.tell(turn, Event::Answered { id, answer: Answer::Cancelled });
        }
        self.pause.bytes_before = self.bytes_received + self.bytes_sent;
        self.timers.cancel(Timer::Budget);
        self.pause.budget = budget.map(|budget| {
            let time = budget.time.map(|time: Duration| time.clamp(SHORTEST, LONGEST));
            Spending { budget, until: time.map(|time| now + time), settles: now + SETTLING, request }
        });
        self.set_budget_timer(now);
        // So that it is told when that is so, also if nothing is new.
        self.synced = None;
        if !core::mem::take(&mut self.pause.is_paused) {
            return;
        }
        if self.is_running() {
            self.go_on_dialling(turn);
        } else {
            // When what is stored has been read.
            self.pause.dials = true;
        }
    }

    /// Goes on if that was ordered while what is stored was read `again`. A start dials everybody anyway.
    pub(super) fn go_on_if_ordered(&mut self, turn: &mut Turn<'_>, again: bool) {
        if core::mem::take(&mut self.pause.dials) && again && !self.pause.is_paused {
            self.go_on_dialling(turn);
        }
    }

    fn go_on_dialling(&mut self, turn: &mut Turn<'_>) {
        self.tip_is_fresh(turn);
        for target in self.targets.ids() {
            self.targets.forget_failures(target);
            self.dial(turn, target);
        }
        self.resume_finding(turn);
        self.broadcasting.resume(turn.now);
    }

    /// Pauses if the budget is spent, or what it was for is done.
    pub(super) fn look_at_budget(&mut self, turn: &mut Turn<'_>) {
        let Some(Spending { budget, until, settles, .. }) = self.pause.budget else { return };
        if matches!(self.phase, super::Phase::Stopped) {
            return;
        }
        let bytes = (self.bytes_received + self.bytes_sent).saturating_sub(self.pause.bytes_before);
        let is_done = || {
            budget.until_synced
                && self.is_running()
                && self.synced == Some(self.chain.tip())
                && !self.broadcasting.outgoing.has_unsent()
                && !self.has_open_work()
                && (settles <= turn.now.instant || self.is_vouched_for())
        };
        let reason = if is_done() {
            PauseReason::Synced
        } else if budget.bytes.is_some_and(|most| bytes >= most) {
            PauseReason::Bytes
        } else if until.is_some_and(|until| until <= turn.now.instant) {
            PauseReason::Time
        } else {
            return self.set_budget_timer(turn.now.instant);
        };
        self.pause(turn, reason);
    }

    /// The next time at which the budget is to be looked at.
    fn set_budget_timer(&mut self, now: Instant) {
        let Some(Spending { until, settles, budget, .. }) = self.pause.budget else { return };
        let settles = Some(settles).filter(|settles| budget.until_synced && *settles > now);
        match until.into_iter().chain(settles).min() {
            Some(at) => self.timers.set(Timer::Budget, at),
            None => self.timers.cancel(Timer::Budget),
        }
    }

    /// Whether the application waits for blocks, filters or searches.
    pub(super) fn has_open_work(&self) -> bool {
        !self.search.blocks.is_empty()
            || !self.search.watches.spends().is_empty()
            || !self.filter_fetches.is_empty()
            || !self.queries.is_empty()
    }

    /// Whether as many groups of peers are connected as have to agree, or as there can be.
    fn is_vouched_for(&self) -> bool {
        let ready = self.peers.values().filter(|peer| peer.is_ready());
        let voters: BTreeSet<Voter> = ready.map(|peer| self.voter(peer)).collect();
        let given = || self.targets.ids().into_iter().map(|target| self.target_voter(target));
        let possible = if self.nodes.is_some() { usize::MAX } else { given().collect::<BTreeSet<_>>().len() };
        voters.len() >= (self.config.filter_header_quorum as usize).min(possible)
    }

    pub(super) const fn is_running(&self) -> bool {
        matches!(self.phase, super::Phase::Running)
    }
}

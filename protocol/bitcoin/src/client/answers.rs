//! Requests: commands that the application numbers, each of which is answered exactly once.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use super::api::{Answer, Command, Event, Refusal, RequestId};
use super::{Client, LONGEST, Phase, SHORTEST, Then, Timer, Turn};

/// Requests that may wait for their answers.
const MAX_OPEN: usize = 4096;

/// Commands that may wait to be carried out when one more comes that has no number: all requests, and as many others.
const MAX_WAITING: usize = 2 * MAX_OPEN;

/// What is to be answered.
///
/// Each request has a number of ours beside the application's: what is under way for one that was given up can't be taken for
/// the answer to another that has its number. Within the client a request's number is ours.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// The application's numbers by ours, and ours by the application's.
    open: BTreeMap<RequestId, RequestId>,
    ours: BTreeMap<RequestId, RequestId>,
    serial: u64,
    /// What was ordered before what is stored had been read, or while it is read again.
    early: VecDeque<(Option<RequestId>, Command)>,
    /// Those of broadcasts that were taken: answered when they are durable.
    pub(super) broadcasts: Vec<RequestId>,
}

impl Requests {
    /// Whether a request waits for its answer.
    pub(super) fn is_open(&self, id: RequestId) -> bool {
        self.open.contains_key(&id)
    }
}

impl Client {
    /// Takes a numbered command.
    pub(super) fn request(
        &mut self,
        turn: &mut Turn<'_>,
        id: RequestId,
        command: Command,
        within: Option<Duration>,
    ) {
        let refusal = match (&self.phase, &command) {
            (Phase::Stopped, _) => Some(Refusal::Failed),
            (_, Command::Request { .. } | Command::Cancel(_)) => Some(Refusal::NoRequest),
            _ if self.requests.ours.contains_key(&id) => Some(Refusal::NumberInUse),
            _ if self.requests.open.len() >= MAX_OPEN => Some(Refusal::TooMany),
            _ => None,
        };
        if let Some(refusal) = refusal {
            return turn.out.event(Event::Answered { id, answer: Answer::Refused(refusal) });
        }
        let application = id;
        self.requests.serial += 1;
        let id = RequestId(self.requests.serial);
        self.requests.open.insert(id, application);
        self.requests.ours.insert(application, id);
        if let Some(within) = within {
            self.timers.set(Timer::Request(id), turn.now.instant + within.clamp(SHORTEST, LONGEST));
        }
        self.command(turn, Some(id), command);
    }

    /// Carries a command out, or notes it while what is stored is being read: in the order in which they come.
    pub(super) fn command(&mut self, turn: &mut Turn<'_>, request: Option<RequestId>, command: Command) {
        let is_of_the_network =
            matches!(command, Command::Pause | Command::Resume(_) | Command::SetMetered(_));
        if let (Phase::New | Phase::Loading(_), Command::Acknowledge(number)) = (&self.phase, &command) {
            // It is not told again; that it is not is stored, and answered, later.
            self.journal.acknowledge_early(*number);
        }
        // What waits for nothing never is too much, and nobody is to be kept from it.
        if request.is_none() && !is_of_the_network && self.waiting_commands() >= MAX_WAITING {
            return turn.out.event(Event::CommandRefused(Refusal::TooMany));
        }
        match self.phase {
            Phase::Stopped => {}
            Phase::Running => self.carry_out(turn, request, command),
            Phase::New | Phase::Loading(_) if is_of_the_network => self.carry_out(turn, request, command),
            Phase::New | Phase::Loading(_) => self.requests.early.push_back((request, command)),
        }
    }

    /// How many commands wait to be carried out, numbered or not.
    fn waiting_commands(&self) -> usize {
        self.requests.early.len()
            + self.search.orders.len()
            + self.search.watches.spend_searches()
            + self.search.blocks.fetches()
            + self.queries.len()
            + self.filter_fetches.len()
            + self.broadcasting.orders()
            + self.fees.orders()
    }

    /// What is stored has been read: what came before that is carried out.
    pub(super) fn carry_out_early_commands(&mut self, turn: &mut Turn<'_>) {
        while let Some((request, command)) = self.requests.early.pop_front() {
            self.carry_out(turn, request, command);
        }
    }

    /// Gives what a command asked for: to its request if it is one, else as an event of its own.
    pub(super) fn answer(&mut self, turn: &mut Turn<'_>, id: Option<RequestId>, event: Event) {
        match id {
            None => turn.out.event(event),
            Some(id) => self.tell(turn, Event::Answered { id, answer: Answer::Event(Box::new(event)) }),
        }
    }

    /// Tells something. Of answers only the first to each request, and none to one that was cancelled.
    pub(super) fn tell(&mut self, turn: &mut Turn<'_>, event: Event) {
        match event {
            Event::Answered { id, answer } => {
                let Some(application) = self.requests.open.remove(&id) else { return };
                self.requests.ours.remove(&application);
                self.timers.cancel(Timer::Request(id));
                turn.out.event(Event::Answered { id: application, answer });
            }
            Event::Mark(number) => {
                self.journal.told(number);
                turn.out.event(Event::Mark(number));
            }
            event => turn.out.event(event),
        }
    }

    /// Answers that a command is not carried out, and tells it as an event if it is no request.
    pub(super) fn refuse(
        &mut self,
        turn: &mut Turn<'_>,
        id: Option<RequestId>,
        refusal: Refusal,
        event: Event,
    ) {
        match id {
            None => turn.out.event(event),
            Some(id) => self.tell(turn, Event::Answered { id, answer: Answer::Refused(refusal) }),
        }
    }

    /// Answers that a command has been carried out, when everything stored until now is durable.
    pub(super) fn done(&mut self, turn: &mut Turn<'_>, id: Option<RequestId>) {
        if let Some(id) = id {
            let events = Vec::from([Event::Answered { id, answer: Answer::Done }]);
            self.store(turn, events, Then::Nothing, |_| {});
        }
    }

    /// The application gives a request up.
    pub(super) fn cancel(&mut self, turn: &mut Turn<'_>, id: RequestId) {
        if let Some(ours) = self.requests.ours.get(&id) {
            self.give_up(turn, *ours, Answer::Cancelled);
        }
    }

    /// Gives a request up, and the work for it as far as nothing else needs that.
    pub(super) fn give_up(&mut self, turn: &mut Turn<'_>, id: RequestId, answer: Answer) {
        if !self.requests.is_open(id) {
            return;
        }
        self.tell(turn, Event::Answered { id, answer });
        self.requests.early.retain(|(early, _)| *early != Some(id));
        self.queries.cancel(id);
        self.fees.cancel(id);
        self.cancel_filter_fetch(id);
        self.search.orders.retain(|(order, _)| *order != Some(id));
        for (conn, hash) in self.search.blocks.cancel(id) {
            if let Some(peer) = self.peers.get_mut(&conn) {
                peer.expect_late_block(hash);
            }
        }
        if !self.search.watches.take_spends(|search, _| search.request == Some(id)).is_empty() {
            self.arrange_groups(turn);
        }
        if self.pause.cancel(id) {
            self.pause(turn, super::PauseReason::Asked);
        }
    }

    /// The client can work no more: whoever waits for an answer is told so.
    pub(super) fn refuse_requests(&mut self, turn: &mut Turn<'_>) {
        self.requests.early.clear();
        self.requests.ours.clear();
        for (_, id) in core::mem::take(&mut self.requests.open) {
            turn.out.event(Event::Answered { id, answer: Answer::Refused(Refusal::Failed) });
        }
    }
}

//! Requests between the application and the driver: those to be taken, those that wait for their answers, and those that have
//! them. And the lives of transactions that are followed.
//!
//! Everything is under one lock, which is held for no more than a look into a map: no task is woken and nothing of the application's
//! is dropped under it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use andon_bitcoin::client::{Answer, BroadcastState, Command, Event, Refusal, RequestId};
use andon_driver::{Desk, wake_task};
use bitcoin::Txid;

/// Commands that may wait for the driver.
pub(crate) const MAX_OUTGOING: usize = 65_536;

/// The driver has ended, or takes no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended;

/// What stands between all ends of a client and its driver.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Numbers that were given out, to requests and to what else is to be taken. None is used again.
    numbers: u64,
    /// What the driver has not taken yet, in the order in which it was given. A request has its own number there.
    outgoing: BTreeMap<u64, Command>,
    open: BTreeMap<RequestId, Open>,
    lives: BTreeMap<Txid, Followed>,
    /// No more is taken: the driver stops, or has ended.
    is_closed: bool,
    /// Nothing comes any more.
    has_ended: bool,
}

/// A request that somebody holds.
#[derive(Debug)]
enum Open {
    /// Whoever waits is woken by this.
    Waiting(Option<Waker>),
    Answered(Answer),
}

/// A transaction that is followed.
#[derive(Debug, Default)]
struct Followed {
    /// How many follow it.
    followers: usize,
    state: Option<BroadcastState>,
    /// How often a state was told.
    version: u64,
    /// Who waits for another, by number.
    waiting: BTreeMap<u64, Waker>,
}

impl State {
    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }
}

impl Counter {
    /// Gives the driver a request, which has to be woken then.
    ///
    /// # Errors
    /// If it takes no more.
    pub(crate) fn ask(&self, command: Command, within: Option<Duration>) -> Result<RequestId, Ended> {
        let command = Box::new(command);
        let mut state = self.lock();
        if state.is_closed {
            drop(state);
            return Err(Ended);
        }
        let number = state.number();
        let id = RequestId(number);
        if state.outgoing.len() >= MAX_OUTGOING {
            // The driver takes none: whoever asks and asks is told so, and nothing grows.
            state.open.insert(id, Open::Answered(Answer::Refused(Refusal::TooMany)));
            drop(state);
            return Ok(id);
        }
        state.outgoing.insert(number, Command::Request { id, command, within });
        state.open.insert(id, Open::Waiting(None));
        Ok(id)
    }

    /// Takes the answer to a request, once; or has `waker` told when there is one.
    pub(crate) fn poll(&self, id: RequestId, waker: &Waker) -> Poll<Result<Answer, Ended>> {
        let mut state = self.lock();
        let has_ended = state.has_ended;
        match state.open.get_mut(&id) {
            Some(Open::Waiting(waiting)) if !has_ended => {
                if !waiting.as_ref().is_some_and(|waiting| waiting.will_wake(waker)) {
                    let former = waiting.replace(waker.clone());
                    drop(state);
                    drop(former);
                }
                Poll::Pending
            }
            _ => {
                let open = state.open.remove(&id);
                drop(state);
                match open {
                    Some(Open::Answered(answer)) => Poll::Ready(Ok(answer)),
                    Some(Open::Waiting(_)) => Poll::Ready(Err(Ended)),
                    None => unreachable!("who has the answer does not ask for it again"),
                }
            }
        }
    }

    /// Nobody waits for a request any more. One that the driver has not taken is forgotten; one that is not answered is
    /// cancelled. Whether the driver has to be woken for that.
    pub(crate) fn cancel(&self, id: RequestId) -> bool {
        let mut state = self.lock();
        let untaken = state.outgoing.remove(&id.0);
        let open = state.open.remove(&id);
        let is_running = untaken.is_none() && matches!(open, Some(Open::Waiting(_))) && !state.is_closed;
        if is_running {
            let number = state.number();
            state.outgoing.insert(number, Command::Cancel(id));
        }
        drop(state);
        drop((untaken, open));
        is_running
    }

    /// Nobody waits for a request any more, and it goes on. Its answer, if there is one already.
    ///
    /// # Errors
    /// If there will be none.
    pub(crate) fn let_go(&self, id: RequestId) -> Result<Option<Answer>, Ended> {
        let mut state = self.lock();
        let (open, has_ended) = (state.open.remove(&id), state.has_ended);
        drop(state);
        match open {
            Some(Open::Answered(answer)) => Ok(Some(answer)),
            Some(Open::Waiting(_)) if has_ended => Err(Ended),
            Some(Open::Waiting(_)) | None => Ok(None),
        }
    }

    /// How many requests are held by somebody, and how many commands wait for the driver.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let state = self.lock();
        (state.open.len(), state.outgoing.len())
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.lock().has_ended
    }

    /// One more follows a transaction.
    pub(crate) fn follow(&self, txid: Txid) -> u64 {
        let mut state = self.lock();
        state.lives.entry(txid).or_default().followers += 1;
        state.number()
    }

    /// Somebody follows it no more.
    pub(crate) fn unfollow(&self, txid: &Txid, number: u64) {
        let mut state = self.lock();
        let Some(life) = state.lives.get_mut(txid) else { return };
        life.followers -= 1;
        let mut gone = (life.waiting.remove(&number), None);
        if life.followers == 0 {
            gone.1 = state.lives.remove(txid);
        }
        drop(state);
        drop(gone);
    }

    /// The state of a transaction, as it was told last.
    pub(crate) fn state_of(&self, txid: &Txid) -> Option<BroadcastState> {
        self.lock().lives.get(txid).and_then(|life| life.state)
    }

    /// A state that was told after the version `seen`, which becomes that of the state.
    pub(crate) fn poll_state(
        &self,
        txid: &Txid,
        number: u64,
        seen: &mut u64,
        waker: &Waker,
    ) -> Poll<Option<BroadcastState>> {
        let mut state = self.lock();
        let has_ended = state.has_ended;
        let Some(life) = state.lives.get_mut(txid) else { return Poll::Ready(None) };
        if life.version > *seen {
            *seen = life.version;
            return Poll::Ready(life.state);
        }
        if has_ended {
            return Poll::Ready(None);
        }
        let former = life.waiting.insert(number, waker.clone());
        drop(state);
        drop(former);
        Poll::Pending
    }

    fn answered(&self, id: RequestId, answer: Answer) {
        let mut state = self.lock();
        // Else nobody waits for it any more.
        let Some(open) = state.open.get_mut(&id) else {
            drop(state);
            return;
        };
        let former = std::mem::replace(open, Open::Answered(answer));
        drop(state);
        if let Open::Waiting(Some(waker)) = former {
            wake_task(waker);
        }
    }

    fn note_state(&self, txid: &Txid, told: BroadcastState) {
        let mut state = self.lock();
        let Some(life) = state.lives.get_mut(txid) else { return };
        life.state = Some(told);
        life.version += 1;
        let waiting = std::mem::take(&mut life.waiting);
        drop(state);
        waiting.into_values().for_each(wake_task);
    }

    /// No code that can panic runs while it is locked, so a poisoned lock guards a sound state.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Desk<Command, Event> for Counter {
    fn has_command(&self) -> bool {
        !self.lock().outgoing.is_empty()
    }

    fn take_command(&self) -> Option<Command> {
        self.lock().outgoing.pop_first().map(|(_, command)| command)
    }

    fn close(&self) -> Vec<Command> {
        let mut state = self.lock();
        state.is_closed = true;
        let left = std::mem::take(&mut state.outgoing);
        drop(state);
        left.into_values().collect()
    }

    fn route(&self, event: Event) -> Option<Event> {
        match event {
            Event::Answered { id, answer } => {
                self.answered(id, answer);
                None
            }
            Event::Broadcast { txid, state, .. } => {
                self.note_state(&txid, state);
                Some(event)
            }
            event => Some(event),
        }
    }

    fn ended(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        state.has_ended = true;
        let left = std::mem::take(&mut state.outgoing);
        let waiting = state.open.values_mut().filter_map(|open| match open {
            Open::Waiting(waker) => waker.take(),
            Open::Answered(_) => None,
        });
        let mut wakers: Vec<Waker> = waiting.collect();
        for life in state.lives.values_mut() {
            wakers.extend(std::mem::take(&mut life.waiting).into_values());
        }
        drop(state);
        drop(left);
        wakers.into_iter().for_each(wake_task);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_and_asks_of_a_driver_that_takes_nothing_is_refused() {
        let desk = Counter::default();
        let refused = Poll::Ready(Ok(Answer::Refused(Refusal::TooMany)));
        for _ in 0..MAX_OUTGOING {
            let id = desk.ask(Command::TellTip, None).unwrap();
            assert_ne!(desk.poll(id, Waker::noop()), refused);
        }
        for _ in 0..100 {
            let id = desk.ask(Command::TellTip, None).unwrap();
            assert_eq!(desk.poll(id, Waker::noop()), refused);
        }
        assert_eq!(desk.counts(), (MAX_OUTGOING, MAX_OUTGOING));
        // What is taken makes room.
        assert!(desk.take_command().is_some());
        let id = desk.ask(Command::TellTip, None).unwrap();
        assert_eq!(desk.poll(id, Waker::noop()), Poll::Pending);
    }
}

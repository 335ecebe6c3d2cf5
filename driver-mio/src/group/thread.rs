//! The thread of a group: one wait for all, and rounds for those that have something to do.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant as Monotonic};

use andon_driver::{Buffer, DriverError, Waker};
use andon_kernel::{Instant, Timers};
use mio::{Events, Poll};

use super::closing::{Closing, Ended};
use super::member::{Member, Step};
use super::place::{Arrival, Place, Shared};
use crate::tokens::{WAKER, parts};
use crate::wait::EVENTS;

/// Everything that the thread has.
pub(super) struct Members {
    poll: Poll,
    shared: Arc<Shared>,
    /// By their numbers.
    seats: Vec<Option<Seat>>,
    /// How many there are.
    count: usize,
    /// Those that are to have a round, each once.
    queue: VecDeque<usize>,
    /// When others are to have one though nothing happens. The least is found at once, however many there are.
    timers: Timers<usize>,
    /// How often everybody in the queue had a round.
    pass: u64,
    closing: Closing,
    start: Monotonic,
}

/// A machine and where it stands.
struct Seat {
    member: Box<dyn Member>,
    waker: Waker,
    place: Place,
    queued: bool,
    /// The pass in which it had its last round.
    pass: u64,
}

#[expect(clippy::disallowed_methods, reason = "a driver reads the clock")]
fn clock() -> Monotonic {
    Monotonic::now()
}

impl Members {
    pub(super) fn new(poll: Poll, shared: Arc<Shared>) -> Self {
        Self {
            poll,
            shared,
            seats: Vec::new(),
            count: 0,
            queue: VecDeque::new(),
            timers: Timers::new(),
            pass: 0,
            closing: Closing::default(),
            start: clock(),
        }
    }

    /// Runs until everybody has ended and nobody can come.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        let mut buffer = Buffer::new();
        loop {
            if let Err(error) = self.poll.poll(&mut events, self.time_left()) {
                if error.kind() == ErrorKind::Interrupted {
                    continue;
                }
                return self.fail(&error);
            }
            let mut interrupted = false;
            for event in &events {
                if event.token() == WAKER {
                    interrupted = true;
                    continue;
                }
                let (number, socket) = parts(event.token());
                let Some(seat) = self.seats.get_mut(number).and_then(Option::as_mut) else { continue };
                let step = seat.member.notice(socket, event);
                self.follow(number, step);
            }
            if interrupted && self.look() {
                return;
            }
            self.pass(&mut buffer);
        }
    }

    /// How long to wait; none: until something happens.
    fn time_left(&self) -> Option<Duration> {
        if !self.queue.is_empty() {
            return Some(Duration::ZERO);
        }
        self.timers.next().map(|at| at.since(self.now()))
    }

    fn now(&self) -> Instant {
        Instant::ZERO + clock().saturating_duration_since(self.start)
    }

    /// Looks at what came from other threads. Whether everybody has ended and nobody can come.
    fn look(&mut self) -> bool {
        let inbox = self.shared.take();
        for Arrival { place, waker, member } in inbox.arrivals {
            let number = place.number();
            if self.seats.len() <= number {
                self.seats.resize_with(number + 1, || None);
            }
            // The first round looks at everything that it was woken for before.
            waker.seen();
            self.seats[number] = Some(Seat { member, waker, place, queued: false, pass: self.pass });
            self.count += 1;
            self.follow(number, Step::Round);
        }
        for number in inbox.woken {
            if let Some(Some(seat)) = self.seats.get(number) {
                seat.waker.seen();
                self.follow(number, Step::Round);
            }
        }
        inbox.is_last && self.count == 0
    }

    /// One round for each that has something to do, timers first.
    fn pass(&mut self, buffer: &mut Buffer) {
        self.pass += 1;
        let mut left = self.queue.len();
        loop {
            left += self.expire();
            if left == 0 {
                return;
            }
            left -= 1;
            let Some(number) = self.queue.pop_front() else { return };
            let Some(Some(seat)) = self.seats.get_mut(number) else { continue };
            seat.queued = false;
            seat.pass = self.pass;
            let step = seat.member.round(buffer);
            self.timers.cancel(number);
            self.follow(number, step);
        }
    }

    /// Puts those whose time has come before all others, unless they have had a round in this pass: then after them. How many
    /// were put before.
    fn expire(&mut self) -> usize {
        if self.timers.is_empty() {
            return 0;
        }
        let (now, mut first) = (self.now(), 0);
        while let Some(number) = self.timers.expire(now) {
            let Some(Some(seat)) = self.seats.get_mut(number) else { continue };
            if seat.queued {
                continue;
            }
            seat.queued = true;
            if seat.pass == self.pass {
                self.queue.push_back(number);
            } else {
                self.queue.push_front(number);
                first += 1;
            }
        }
        first
    }

    fn follow(&mut self, number: usize, step: Step) {
        match step {
            Step::Round => {
                if let Some(Some(seat)) = self.seats.get_mut(number)
                    && !seat.queued
                {
                    seat.queued = true;
                    self.queue.push_back(number);
                }
            }
            Step::Wait(Some(left)) => self.timers.set(number, self.now() + left),
            Step::Wait(None) => {}
            Step::Over(result) => self.end(number, result),
        }
    }

    fn end(&mut self, number: usize, result: Result<(), DriverError>) {
        let Some(seat) = self.seats.get_mut(number).and_then(Option::take) else { return };
        self.count -= 1;
        self.timers.cancel(number);
        if seat.queued {
            self.queue.retain(|&queued| queued != number);
        }
        self.closing.close(Ended { member: seat.member, result, place: seat.place });
    }

    /// The system's wait failed: nobody can go on.
    fn fail(mut self, error: &io::Error) {
        // Each has its own copy of it.
        let copy = || match error.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::new(error.kind(), error.to_string()),
        };
        for number in 0..self.seats.len() {
            self.end(number, Err(DriverError::Io(copy())));
        }
        for Arrival { place, member, .. } in self.shared.close() {
            self.closing.close(Ended { member, result: Err(DriverError::Io(copy())), place });
        }
    }
}

impl Drop for Members {
    /// However the thread ends, nobody waits for it: those who come later are told.
    fn drop(&mut self) {
        drop(self.shared.close());
    }
}

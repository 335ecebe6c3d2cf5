//! Host names, looked up by the system on a thread of their own: it may take as long as it likes.

use std::collections::VecDeque;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use andon_kernel::Ticket;

use crate::Waker;

/// How many look-ups may be under way, or done and not taken. One more fails at once.
const MAX_LOOKUPS: usize = 64;

/// How many addresses of one name are passed on; an answer over TCP has room for thousands.
const MAX_ADDRESSES: usize = 256;

/// Looks names up, one after the other.
#[derive(Debug)]
pub(crate) struct Resolver {
    waker: Waker,
    queue: Arc<Mutex<Queue>>,
    /// Look-ups given to the thread whose answers were not taken.
    under_way: usize,
    /// Tickets that the thread never saw.
    refused: VecDeque<Ticket>,
}

/// What the thread has to do, and has done.
#[derive(Debug, Default)]
struct Queue {
    requests: VecDeque<Request>,
    answers: VecDeque<Answer>,
    /// There is a thread. It goes when it has nothing left to do: a process with a thousand clients has no thousand threads
    /// that wait. Nobody waits for it, as it may hang.
    runs: bool,
}

#[derive(Debug)]
struct Request {
    ticket: Ticket,
    host: String,
    port: u16,
}

/// What a look-up gave: no address if it failed.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) ticket: Ticket,
    pub(crate) addrs: Vec<SocketAddr>,
}

impl Resolver {
    /// One without a thread yet.
    pub(crate) fn new(waker: Waker) -> Self {
        Self { waker, queue: Arc::default(), under_way: 0, refused: VecDeque::new() }
    }

    /// Begins a look-up.
    pub(crate) fn resolve(&mut self, ticket: Ticket, host: String, port: u16) {
        if self.under_way >= MAX_LOOKUPS {
            self.refused.push_back(ticket);
            return;
        }
        let mut queue = lock(&self.queue);
        if !queue.runs && !start(Arc::clone(&self.queue), self.waker.clone()) {
            self.refused.push_back(ticket);
            return;
        }
        queue.runs = true;
        queue.requests.push_back(Request { ticket, host, port });
        self.under_way += 1;
    }

    /// The next look-up that is done.
    pub(crate) fn take(&mut self) -> Option<Answer> {
        if let Some(ticket) = self.refused.pop_front() {
            return Some(Answer { ticket, addrs: Vec::new() });
        }
        let answer = lock(&self.queue).answers.pop_front()?;
        self.under_way -= 1;
        Some(answer)
    }

    /// How many look-ups are done.
    pub(crate) fn done(&self) -> usize {
        self.refused.len() + if self.under_way == 0 { 0 } else { lock(&self.queue).answers.len() }
    }
}

impl Drop for Resolver {
    /// Nobody waits for what was not begun.
    fn drop(&mut self) {
        lock(&self.queue).requests.clear();
    }
}

/// Starts the thread, which waits for the lock that the caller holds. Whether the system has room for one more.
fn start(queue: Arc<Mutex<Queue>>, waker: Waker) -> bool {
    let work = move || run(&queue, &waker);
    thread::Builder::new().name("andon-resolver".to_owned()).spawn(work).is_ok()
}

fn run(queue: &Mutex<Queue>, waker: &Waker) {
    loop {
        let mut locked = lock(queue);
        let Some(Request { ticket, host, port }) = locked.requests.pop_front() else {
            locked.runs = false;
            return;
        };
        drop(locked);
        let found = (host.as_str(), port).to_socket_addrs();
        let addrs = found.map(|addrs| addrs.take(MAX_ADDRESSES).collect()).unwrap_or_default();
        lock(queue).answers.push_back(Answer { ticket, addrs });
        waker.wake();
    }
}

/// Nothing that can panic runs while the queue is locked, so a poisoned lock guards a sound one.
fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

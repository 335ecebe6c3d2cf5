//! Host names, looked up by the system on a thread of their own: it may take as long as it likes.

use std::collections::VecDeque;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
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
    /// The thread's queue, from the first use on. It ends with this; the thread is not waited for, as it may hang.
    requests: Option<SyncSender<Request>>,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    /// Look-ups given to the thread whose answers were not taken.
    under_way: usize,
    /// Tickets that the thread never saw.
    refused: VecDeque<Ticket>,
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
        Self { waker, requests: None, answers: Arc::default(), under_way: 0, refused: VecDeque::new() }
    }

    /// Begins a look-up.
    pub(crate) fn resolve(&mut self, ticket: Ticket, host: String, port: u16) {
        if self.requests.is_none() {
            self.requests = start(Arc::clone(&self.answers), self.waker.clone());
        }
        let request = Request { ticket, host, port };
        match &self.requests {
            Some(requests) if self.under_way < MAX_LOOKUPS && requests.try_send(request).is_ok() => {
                self.under_way += 1;
            }
            _ => self.refused.push_back(ticket),
        }
    }

    /// The next look-up that is done.
    pub(crate) fn take(&mut self) -> Option<Answer> {
        if let Some(ticket) = self.refused.pop_front() {
            return Some(Answer { ticket, addrs: Vec::new() });
        }
        let answer = lock(&self.answers).pop_front()?;
        self.under_way -= 1;
        Some(answer)
    }

    /// How many look-ups are done.
    pub(crate) fn done(&self) -> usize {
        self.refused.len() + if self.under_way == 0 { 0 } else { lock(&self.answers).len() }
    }
}

/// Starts the thread; none if the system has no room for one more.
fn start(answers: Arc<Mutex<VecDeque<Answer>>>, waker: Waker) -> Option<SyncSender<Request>> {
    let (sender, receiver) = sync_channel(MAX_LOOKUPS);
    let work = move || run(&receiver, &answers, &waker);
    thread::Builder::new().name("andon-resolver".to_owned()).spawn(work).ok()?;
    Some(sender)
}

fn run(requests: &Receiver<Request>, answers: &Mutex<VecDeque<Answer>>, waker: &Waker) {
    while let Ok(Request { ticket, host, port }) = requests.recv() {
        let found = (host.as_str(), port).to_socket_addrs();
        let addrs = found.map(|addrs| addrs.take(MAX_ADDRESSES).collect()).unwrap_or_default();
        lock(answers).push_back(Answer { ticket, addrs });
        waker.wake();
    }
}

/// Nothing that can panic runs while the answers are locked, so a poisoned lock guards a sound queue.
fn lock(answers: &Mutex<VecDeque<Answer>>) -> MutexGuard<'_, VecDeque<Answer>> {
    answers.lock().unwrap_or_else(PoisonError::into_inner)
}

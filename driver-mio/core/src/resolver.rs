//! Host names, looked up by the system on threads that do nothing else: it may take as long as it likes.
//!
//! All drivers of a process share a few threads, so a thousand clients do not make as many while the system's resolver is slow.
//! Machines take turns at them, and none has all of them: names that hang hold up others, but not all others.

use std::collections::VecDeque;
use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use andon_kernel::Ticket;

use crate::Waker;

/// How many look-ups of one machine may be under way, or done and not taken. One more fails at once.
const MAX_LOOKUPS: usize = 64;

/// How many addresses of one name are passed on; an answer over TCP has room for thousands.
const MAX_ADDRESSES: usize = 256;

/// How many threads there are at most.
const MAX_THREADS: usize = 4;

/// How many of them look names up for one machine at the same time.
const MAX_THREADS_EACH: usize = 2;

/// What looks names up with the system.
static SYSTEM: Pool = Pool::new(|host, port| {
    let found = (host, port).to_socket_addrs();
    found.map(|addrs| addrs.take(MAX_ADDRESSES).collect()).unwrap_or_default()
});

/// Looks names up. Dropped, it waits for nothing: what was not begun is not, and nobody hears of the rest.
#[derive(Debug)]
pub(crate) struct Resolver {
    pool: &'static Pool,
    lookups: Arc<Lookups>,
    /// Look-ups given to the threads whose answers were not taken.
    under_way: usize,
    /// Tickets that no thread ever saw.
    refused: VecDeque<Ticket>,
}

/// What a look-up gave: no address if it failed.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) ticket: Ticket,
    pub(crate) addrs: Vec<SocketAddr>,
}

#[derive(Debug)]
struct Request {
    ticket: Ticket,
    host: String,
    port: u16,
}

/// The look-ups of one machine.
#[derive(Debug)]
struct Lookups {
    waker: Waker,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    requests: VecDeque<Request>,
    answers: VecDeque<Answer>,
    /// How many threads look up one of it.
    running: usize,
    /// Whether it waits in the pool's list.
    listed: bool,
}

impl State {
    fn may_be_listed(&self) -> bool {
        !self.listed && !self.requests.is_empty() && self.running < MAX_THREADS_EACH
    }
}

/// The threads and who waits for them. Locked before the look-ups of a machine, if both are.
struct Pool {
    inner: Mutex<Inner>,
    look_up: fn(&str, u16) -> Vec<SocketAddr>,
}

#[derive(Debug)]
struct Inner {
    /// Those that have requests, each once: they take turns.
    waiting: VecDeque<Arc<Lookups>>,
    /// How many threads there are. Each goes when it has nothing to do, and nobody waits for one, as it may hang.
    threads: usize,
}

impl Resolver {
    /// One that shares the threads of this process.
    pub(crate) fn new(waker: Waker) -> Self {
        Self::of(&SYSTEM, waker)
    }

    fn of(pool: &'static Pool, waker: Waker) -> Self {
        let lookups = Arc::new(Lookups { waker, state: Mutex::default() });
        Self { pool, lookups, under_way: 0, refused: VecDeque::new() }
    }

    /// Begins a look-up.
    pub(crate) fn resolve(&mut self, ticket: Ticket, host: String, port: u16) {
        let may = self.under_way < MAX_LOOKUPS;
        if may && self.pool.take(&self.lookups, Request { ticket, host, port }) {
            self.under_way += 1;
        } else {
            self.refused.push_back(ticket);
        }
    }

    /// The next look-up that is done.
    pub(crate) fn take(&mut self) -> Option<Answer> {
        if let Some(ticket) = self.refused.pop_front() {
            return Some(Answer { ticket, addrs: Vec::new() });
        }
        let answer = lock(&self.lookups.state).answers.pop_front()?;
        self.under_way -= 1;
        Some(answer)
    }

    /// How many look-ups are done.
    pub(crate) fn done(&self) -> usize {
        self.refused.len() + if self.under_way == 0 { 0 } else { lock(&self.lookups.state).answers.len() }
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        let requests = std::mem::take(&mut lock(&self.lookups.state).requests);
        drop(requests);
    }
}

impl Pool {
    const fn new(look_up: fn(&str, u16) -> Vec<SocketAddr>) -> Self {
        Self { inner: Mutex::new(Inner { waiting: VecDeque::new(), threads: 0 }), look_up }
    }

    /// Takes a request, unless there is no thread and the system has no room for one.
    fn take(&'static self, lookups: &Arc<Lookups>, request: Request) -> bool {
        let mut inner = lock(&self.inner);
        let mut state = lock(&lookups.state);
        state.requests.push_back(request);
        if state.may_be_listed() {
            state.listed = true;
            inner.waiting.push_back(Arc::clone(lookups));
        }
        let taken = !state.listed || self.has_thread(&mut inner);
        if !taken {
            state.requests.pop_back();
        }
        taken
    }

    /// Has one more thread, if that is allowed. Whether there is any.
    fn has_thread(&'static self, inner: &mut Inner) -> bool {
        if inner.threads < MAX_THREADS {
            // It waits for the lock that the caller holds.
            let started = thread::Builder::new().name("andon-resolver".to_owned()).spawn(move || self.run());
            inner.threads += usize::from(started.is_ok());
        }
        inner.threads > 0
    }

    fn run(&'static self) {
        let mut inner = lock(&self.inner);
        while let Some(lookups) = inner.waiting.pop_front() {
            let mut state = lock(&lookups.state);
            state.listed = false;
            // Else its machine has gone.
            let Some(Request { ticket, host, port }) = state.requests.pop_front() else { continue };
            state.running += 1;
            if state.may_be_listed() {
                state.listed = true;
                inner.waiting.push_back(Arc::clone(&lookups));
                self.has_thread(&mut inner);
            }
            drop(state);
            drop(inner);
            let addrs = (self.look_up)(&host, port);
            inner = lock(&self.inner);
            let mut state = lock(&lookups.state);
            state.running -= 1;
            state.answers.push_back(Answer { ticket, addrs });
            if state.may_be_listed() {
                state.listed = true;
                inner.waiting.push_back(Arc::clone(&lookups));
            }
            drop(state);
            drop(inner);
            lookups.waker.wake();
            inner = lock(&self.inner);
        }
        inner.threads -= 1;
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// Nothing that can panic runs while one is locked, so a poisoned lock guards a sound state.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Condvar;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    /// Whether names that hang do so, and what is told when that changes.
    struct Gate {
        open: Mutex<bool>,
        opened: Condvar,
    }

    impl Gate {
        const fn new() -> Self {
            Self { open: Mutex::new(false), opened: Condvar::new() }
        }

        fn pass(&self) {
            drop(self.opened.wait_while(lock(&self.open), |open| !*open).unwrap());
        }

        fn open(&self) {
            *lock(&self.open) = true;
            self.opened.notify_all();
        }
    }

    fn ticket(number: u64) -> Ticket {
        Ticket::new(number)
    }

    fn resolver(pool: &'static Pool) -> Resolver {
        Resolver::of(pool, Waker::new(|| Ok(())))
    }

    /// Waits for long, so that a failure does not hang.
    fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
        for _ in 0..60_000 {
            if let Some(found) = look() {
                return found;
            }
            thread::sleep(Duration::from_millis(1));
        }
        panic!("it did not come about");
    }

    fn answer(resolver: &mut Resolver) -> Answer {
        wait_for(|| resolver.take())
    }

    fn wait_for_the_threads_to_go(pool: &Pool) {
        wait_for(|| (lock(&pool.inner).threads == 0).then_some(()));
    }

    #[test]
    fn a_name_that_hangs_holds_up_neither_the_next_nor_other_machines() {
        static GATE: Gate = Gate::new();
        static POOL: Pool = Pool::new(|host, port| {
            if host == "hangs" {
                GATE.pass();
            }
            vec![SocketAddr::from(([127, 0, 0, 1], port))]
        });
        let (mut first, mut second) = (resolver(&POOL), resolver(&POOL));
        first.resolve(ticket(1), "hangs".to_owned(), 1);
        for number in 2..20 {
            first.resolve(ticket(number), "answers".to_owned(), 1);
            assert_eq!(answer(&mut first).ticket, ticket(number));
        }
        // However many of one machine's hang, another's are looked up.
        for number in 20..80 {
            first.resolve(ticket(number), "hangs".to_owned(), 1);
        }
        for number in 0..100 {
            second.resolve(ticket(number), "answers".to_owned(), 2);
            let Answer { ticket: told, addrs } = answer(&mut second);
            assert_eq!((told, addrs[0].port()), (ticket(number), 2));
        }
        assert!(first.take().is_none());
        // It goes, and waits for nobody: what hangs ends some time, and the rest is not begun.
        drop(first);
        GATE.open();
        wait_for_the_threads_to_go(&POOL);
    }

    #[test]
    fn there_are_few_threads_however_many_machines_and_they_go() {
        static BUSY: AtomicUsize = AtomicUsize::new(0);
        static MOST: AtomicUsize = AtomicUsize::new(0);
        static LOOKED_UP: AtomicUsize = AtomicUsize::new(0);
        static POOL: Pool = Pool::new(|_, _| {
            MOST.fetch_max(BUSY.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::yield_now();
            LOOKED_UP.fetch_add(1, Ordering::SeqCst);
            BUSY.fetch_sub(1, Ordering::SeqCst);
            Vec::new()
        });
        let mut resolvers: Vec<_> = (0..100).map(|_| resolver(&POOL)).collect();
        for number in 0..10 {
            resolvers.iter_mut().for_each(|one| one.resolve(ticket(number), "name".to_owned(), 1));
        }
        for one in &mut resolvers {
            let mut told: Vec<_> = (0..10).map(|_| answer(one).ticket).collect();
            told.sort_unstable();
            assert!(told.into_iter().eq((0..10).map(ticket)));
            assert!(one.take().is_none());
        }
        wait_for_the_threads_to_go(&POOL);
        assert_eq!(LOOKED_UP.load(Ordering::SeqCst), 1_000);
        let most = MOST.load(Ordering::SeqCst);
        assert!((1..=MAX_THREADS).contains(&most), "{most}");
        assert!(lock(&POOL.inner).waiting.is_empty());
    }

    #[test]
    fn more_than_a_machine_may_have_fail_at_once() {
        static GATE: Gate = Gate::new();
        static POOL: Pool = Pool::new(|_, _| {
            GATE.pass();
            Vec::new()
        });
        let mut resolver = resolver(&POOL);
        for number in 0..MAX_LOOKUPS as u64 + 10 {
            resolver.resolve(ticket(number), "hangs".to_owned(), 1);
        }
        assert_eq!(resolver.done(), 10);
        for number in MAX_LOOKUPS as u64..MAX_LOOKUPS as u64 + 10 {
            assert_eq!(resolver.take().unwrap().ticket, ticket(number));
        }
        assert!(resolver.take().is_none());
        GATE.open();
        (0..MAX_LOOKUPS).for_each(|_| drop(answer(&mut resolver)));
        wait_for_the_threads_to_go(&POOL);
    }
}

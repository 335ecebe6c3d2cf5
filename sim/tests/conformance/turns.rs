//! Threads that take turns with a world: whoever blocks waits for something in it, and its time passes when everybody does.
//!
//! The world has a thread of its own. The others ask it to attempt something until that succeeds or its time is up, by the world's clock. It
//! attempts what is asked, in the order of threads, when each thread waits; one goes on then, alone. So nothing depends on the system's
//! scheduler.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use andon_driver_conformance::stage::Work;
use andon_sim::world::Time;

/// What threads take turns with.
pub(crate) trait Scene: 'static {
    /// Its time.
    fn now(&self) -> Time;

    /// The next thing happens, if it does so until `limit`. False: nothing does, and it is `limit`.
    fn step(&mut self, limit: Time) -> bool;
}

/// Asked again and again until it is done. The flag says that its time is up.
type Attempt<S> = Box<dyn FnMut(&mut S, bool) -> bool + Send>;

enum Message<S> {
    Ask { thread: usize, attempt: Attempt<S>, limit: Duration },
    Began,
    Ended,
}

struct Waiting<S> {
    attempt: Attempt<S>,
    until: Time,
}

/// A thread's way to the scene. The one that made the first is thread 0.
pub(crate) struct Turns<S> {
    messages: Sender<Message<S>>,
    threads: Arc<AtomicUsize>,
}

impl<S> Clone for Turns<S> {
    fn clone(&self) -> Self {
        Self { messages: self.messages.clone(), threads: Arc::clone(&self.threads) }
    }
}

thread_local! {
    static THREAD: Cell<usize> = const { Cell::new(0) };
}

impl<S: Scene> Turns<S> {
    /// Begins a scene.
    pub(crate) fn new(scene: impl FnOnce() -> S + Send + 'static) -> Self {
        let (messages, inbox) = channel();
        let name = thread::current().name().unwrap_or_default().to_owned();
        thread::Builder::new().name(name).spawn(move || play(scene(), &inbox)).unwrap();
        Self { messages, threads: Arc::new(AtomicUsize::new(1)) }
    }

    /// Attempts something until it gives a result, for `limit` at most.
    ///
    /// # Panics
    /// If the scene has panicked.
    pub(crate) fn ask<R: Send + 'static>(
        &self,
        limit: Duration,
        attempt: impl FnMut(&mut S) -> Option<R> + Send + 'static,
    ) -> Option<R> {
        self.ask_what_is_there(limit, attempt).expect("the world goes on")
    }

    /// As [`ask`](Self::ask); `None`: the scene has panicked.
    pub(crate) fn ask_what_is_there<R: Send + 'static>(
        &self,
        limit: Duration,
        mut attempt: impl FnMut(&mut S) -> Option<R> + Send + 'static,
    ) -> Option<Option<R>> {
        let (answers, answer) = channel();
        let attempt = Box::new(move |scene: &mut S, is_over: bool| {
            let result = attempt(scene);
            let is_done = is_over || result.is_some();
            if is_done {
                answers.send(result).unwrap();
            }
            is_done
        });
        let thread = THREAD.get();
        self.messages.send(Message::Ask { thread, attempt, limit }).ok()?;
        answer.recv().ok()
    }

    /// Does something at once.
    pub(crate) fn act<R: Send + 'static>(&self, act: impl FnOnce(&mut S) -> R + Send + 'static) -> R {
        let mut act = Some(act);
        self.ask(Duration::ZERO, move |scene| act.take().map(|act| act(scene))).expect("it was done")
    }

    /// Begins one more thread.
    pub(crate) fn work(&self, work: impl FnOnce() + Send + 'static) -> Worker<S> {
        let thread = self.threads.fetch_add(1, Ordering::SeqCst);
        let is_done = Arc::new(AtomicBool::new(false));
        let guard = Guard { turns: self.clone(), is_done: Arc::clone(&is_done) };
        self.messages.send(Message::Began).unwrap();
        let name = thread::current().name().unwrap_or_default().to_owned();
        let begun = thread::Builder::new().name(name).spawn(move || {
            THREAD.set(thread);
            let guard = guard;
            // Its first turn.
            guard.turns.act(|_| ());
            work();
        });
        Worker { thread: begun.unwrap(), turns: self.clone(), is_done }
    }
}

/// Says that a thread has ended, in whichever way.
struct Guard<S: Scene> {
    turns: Turns<S>,
    is_done: Arc<AtomicBool>,
}

impl<S: Scene> Drop for Guard<S> {
    fn drop(&mut self) {
        self.is_done.store(true, Ordering::SeqCst);
        // Nobody hears it if the scene has panicked.
        let _ = self.turns.messages.send(Message::Ended);
    }
}

/// A thread that takes turns.
pub(crate) struct Worker<S> {
    thread: JoinHandle<()>,
    turns: Turns<S>,
    is_done: Arc<AtomicBool>,
}

impl<S: Scene> Work for Worker<S> {
    fn join(self) {
        let is_done = self.is_done;
        let limit = Duration::from_secs(600);
        let ended = self.turns.ask(limit, move |_| is_done.load(Ordering::SeqCst).then_some(()));
        assert!(ended.is_some(), "what is done beside the case does not end");
        self.thread.join().unwrap();
    }
}

/// Until nobody is left.
fn play<S: Scene>(mut scene: S, inbox: &Receiver<Message<S>>) {
    let mut running = 1;
    let mut waiting: BTreeMap<usize, Waiting<S>> = BTreeMap::new();
    loop {
        while running > 0 {
            match inbox.recv() {
                Ok(Message::Ask { thread, attempt, limit }) => {
                    waiting.insert(thread, Waiting { attempt, until: scene.now() + limit });
                    running -= 1;
                }
                Ok(Message::Began) => running += 1,
                Ok(Message::Ended) => running -= 1,
                Err(_) => return,
            }
        }
        let mut is_over = false;
        let done = loop {
            let done = waiting.iter_mut().find_map(|(&thread, waiting)| {
                let is_over = is_over && waiting.until <= scene.now();
                (waiting.attempt)(&mut scene, is_over).then_some(thread)
            });
            if let Some(thread) = done {
                break thread;
            }
            let limit = waiting.values().map(|waiting| waiting.until).min().expect("somebody waits");
            is_over = !scene.step(limit);
        };
        waiting.remove(&done);
        running = 1;
    }
}

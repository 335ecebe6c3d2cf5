//! What has ended is closed away from the executor: a store waits for its disk then.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{self, Context, Poll};
use std::thread::Builder;

use andon_kernel::{Machine, Store};

use crate::reactor::Reactor;
use crate::waker::wake_task;
use crate::{DriverError, Running};

/// Something that is being closed, and goes on with that if this is dropped.
#[derive(Debug)]
pub(crate) struct Closing(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    is_closed: bool,
    /// Whoever waits for it.
    task: Option<task::Waker>,
}

impl Closing {
    /// [Closes](Running::close) on a thread of its own, which ends with that. Here, if the system has no room for one.
    pub(crate) fn begin<M, S, R>(running: Running<M, S, R>, result: Result<(), DriverError>) -> Self
    where
        M: Machine + Send + 'static,
        M::Command: Send,
        M::Event: Send,
        S: Store + Send + 'static,
        S::Error: Send + Sync,
        R: Reactor + Send + 'static,
        R::Stream: Send,
    {
        let state = Arc::new(Mutex::new(State::default()));
        let closing = Self(Arc::clone(&state));
        // By a channel, for a thread that can't be made would take with it what it was to own.
        let (sender, receiver) = channel::<(Running<M, S, R>, Result<(), DriverError>)>();
        let work = move || {
            if let Ok((running, result)) = receiver.recv() {
                running.close(result);
            }
            closed(&state);
        };
        // The receiver is gone with the thread that could not be made.
        drop(Builder::new().name("andon-close".to_owned()).spawn(work));
        if let Err(back) = sender.send((running, result)) {
            let (running, result) = back.0;
            running.close(result);
            closed(&closing.0);
        }
        closing
    }

    /// Waits until it is closed, and the end is told.
    pub(crate) fn poll(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = lock(&self.0);
        if state.is_closed {
            return Poll::Ready(());
        }
        let former = state.task.replace(context.waker().clone());
        drop(state);
        drop(former);
        Poll::Pending
    }
}

fn closed(state: &Mutex<State>) {
    let mut state = lock(state);
    state.is_closed = true;
    let task = state.task.take();
    drop(state);
    if let Some(task) = task {
        wake_task(task);
    }
}

/// No code that can panic runs while it is locked but the clone of a waker, which leaves everything as it was.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

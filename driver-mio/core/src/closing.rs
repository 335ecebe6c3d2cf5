//! What has ended is closed away from the executor: a store waits for its disk then.

use std::sync::mpsc::channel;
use std::thread::Builder;

use andon_kernel::{Machine, Store};

use crate::reactor::Reactor;
use crate::{DriverError, Running};

/// [Closes](Running::close) on a thread of its own, which ends with that. Here, if the system has no room for one.
pub(crate) fn close_apart<M, S, R>(running: Running<M, S, R>, result: Result<(), DriverError>)
where
    M: Machine + Send + 'static,
    M::Command: Send,
    M::Event: Send,
    S: Store + Send + 'static,
    S::Error: Send + Sync,
    R: Reactor + Send + 'static,
    R::Stream: Send,
{
    // By a channel, for a thread that can't be made would take with it what it was to own.
    let (sender, receiver) = channel::<(Running<M, S, R>, Result<(), DriverError>)>();
    let work = move || {
        if let Ok((running, result)) = receiver.recv() {
            running.close(result);
        }
    };
    // The receiver is gone with the thread that could not be made.
    drop(Builder::new().name("andon-close".to_owned()).spawn(work));
    if let Err(back) = sender.send((running, result)) {
        let (running, result) = back.0;
        running.close(result);
    }
}

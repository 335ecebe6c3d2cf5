//! Machines that have ended are closed away from the group's thread: a store waits for its disk then.

use std::sync::mpsc::{Sender, channel};
use std::thread::Builder;

use andon_driver::DriverError;

use super::member::Member;
use super::place::Place;

/// A machine that has ended. Its place is free when it is closed.
pub(super) struct Ended {
    pub(super) member: Box<dyn Member>,
    pub(super) result: Result<(), DriverError>,
    pub(super) place: Place,
}

impl Ended {
    fn close(self) {
        self.member.close(self.result);
        drop(self.place);
    }
}

/// The thread that closes, from the first end on. It ends with this.
#[derive(Default)]
pub(super) struct Closing(Option<Sender<Ended>>);

impl Closing {
    /// Closes a machine, later; at once if the system has no room for a thread.
    pub(super) fn close(&mut self, ended: Ended) {
        let sender = match self.0.take().or_else(start) {
            Some(sender) => self.0.insert(sender),
            None => return ended.close(),
        };
        if let Err(back) = sender.send(ended) {
            back.0.close();
        }
    }
}

fn start() -> Option<Sender<Ended>> {
    let (sender, receiver) = channel();
    let work = move || {
        while let Ok(ended) = receiver.recv() {
            Ended::close(ended);
        }
    };
    Builder::new().name("andon-mio-close".to_owned()).spawn(work).ok()?;
    Some(sender)
}

//! The client, as an application has it: as many of it as are wanted.

use std::sync::Arc;
use std::time::Duration;

use andon_bitcoin::client::{Command, Event};
use andon_driver::{Application, Ending, Handle, Stopper};
use bitcoin::{Network, Txid};

use crate::desk::Counter;
use crate::{Events, Life};

/// An application's end of a light client, the same on every driver: `Clone + Send + Sync`, for threads and for tasks of any
/// executor. What it asks for are [`Request`](crate::Request)s.
///
/// When the last of it and the [`Events`] have been dropped, and every request, the driver stops, without anybody waiting for it.
#[derive(Clone, Debug)]
pub struct Client {
    application: Application<Command, Event>,
    counter: Arc<Counter>,
    network: Network,
    deadline: Option<Duration>,
}

impl Client {
    /// Takes over a driver that runs an [`andon_bitcoin::client::Client`], of which nothing has been asked as a numbered request. `network` is the
    /// one that the client was configured with.
    ///
    /// # Panics
    /// If the driver has a [desk](andon_driver::Desk) already.
    pub fn new(handle: Handle<Command, Event>, network: Network) -> (Self, Events, Ending) {
        let (application, ending) = handle.split();
        let counter = Arc::new(Counter::default());
        application.set_desk(Arc::clone(&counter) as _);
        let events = Events::new(application.clone());
        (Self { application, counter, network, deadline: None }, events, ending)
    }

    /// The same client, whose requests have this deadline unless they are given one of [their own](crate::Request::within).
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        Self { deadline: Some(deadline), ..self.clone() }
    }

    /// The network that it was made with.
    pub const fn network(&self) -> Network {
        self.network
    }

    /// Whether the driver has not ended. The [`Ending`] says why, if it has.
    pub fn is_running(&self) -> bool {
        !self.counter.has_ended()
    }

    /// Asks for an orderly stop: what was asked before is still given to the client, connections are closed, everything is stored.
    /// Requests that are not answered by then complete as [`RequestError::Ended`](crate::RequestError::Ended): what they asked for was
    /// not done, if it waits for something that a stop does not wait for. Before the client has
    /// [started](andon_bitcoin::client::Event::Started) that is all of it, and later a block, a header to date a birthday by, a peer.
    /// So who broadcasts a payment and stops waits for the request's answer in between. The [`Ending`] tells when sockets and store
    /// are closed. Once is enough; more do no harm.
    pub fn shutdown(&self) {
        self.application.stop();
    }

    /// What [shuts down](Self::shutdown) from anywhere, such as a handler for Ctrl-C, and keeps nothing running itself.
    pub fn stopper(&self) -> Stopper {
        self.application.stopper()
    }

    /// Follows a transaction from here on: what is told of it, as by [`Event::Broadcast`], can be waited for. To hear all of it,
    /// begin before [`broadcast`](Self::broadcast); nothing is told of one that is not broadcast.
    ///
    /// ```no_run
    /// # async fn example(client: andon_client::Client, transaction: bitcoin::Transaction) -> Result<(), andon_client::RequestError> {
    /// let mut life = client.follow(transaction.compute_txid());
    /// client.broadcast([transaction]).await?; // It is stored, and goes on after a restart.
    /// let state = life.sent().await; // A peer asked for it.
    /// # Ok(())
    /// # }
    /// ```
    pub fn follow(&self, txid: Txid) -> Life {
        Life::new(self, txid)
    }

    /// Requests that somebody holds and that are not complete, or whose completion nobody has looked at yet. Zero when all are
    /// done with.
    pub fn open_requests(&self) -> usize {
        self.counter.counts().0
    }

    /// Commands that the driver has not taken yet: requests, and cancellations of them.
    pub fn waiting_commands(&self) -> usize {
        self.counter.counts().1
    }

    pub(crate) fn counter(&self) -> &Counter {
        &self.counter
    }

    pub(crate) const fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// Has the driver look at the desk.
    pub(crate) fn wake(&self) {
        self.application.wake();
    }
}

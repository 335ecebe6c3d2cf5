//! One transaction that is broadcast, followed.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use andon_bitcoin::client::BroadcastState;
use bitcoin::Txid;

use crate::{Client, parking};

/// Follows one transaction that is broadcast, beside the [`Events`](crate::Events). See [`Client::follow`].
///
/// It tells the latest state: who looks seldom misses those in between. It keeps the driver running, as a [`Client`] does.
#[derive(Debug)]
pub struct Life {
    client: Client,
    txid: Txid,
    number: u64,
    /// The version of the state that was told last.
    seen: u64,
}

impl Life {
    pub(crate) fn new(client: &Client, txid: Txid) -> Self {
        let number = client.counter().follow(txid);
        Self { client: client.clone(), txid, number, seen: 0 }
    }

    /// Which transaction.
    pub const fn txid(&self) -> Txid {
        self.txid
    }

    /// What was told of it last. `None`: nothing, since it is followed.
    pub fn state(&self) -> Option<BroadcastState> {
        self.client.counter().state_of(&self.txid)
    }

    /// Its next state, under any executor: the one that is known now, if this has not told it yet. `None`: the driver has ended.
    pub fn changed(&mut self) -> Changed<'_> {
        Changed { life: self }
    }

    /// As [`changed`](Self::changed), and blocks the thread meanwhile.
    pub fn wait_changed(&mut self) -> Option<BroadcastState> {
        parking::wait(&mut self.changed())
    }

    /// As [`wait_changed`](Self::wait_changed), for `timeout` at most. `None`: it did not change in that time.
    pub fn wait_changed_timeout(&mut self, timeout: Duration) -> Option<Option<BroadcastState>> {
        parking::wait_timeout(&mut self.changed(), timeout)
    }

    /// Waits until some peer has it, or nobody will: the state is then neither [`Waiting`](BroadcastState::Waiting) nor
    /// [`Announced`](BroadcastState::Announced). `None`: the driver has ended.
    pub async fn sent(&mut self) -> Option<BroadcastState> {
        loop {
            match self.changed().await {
                Some(BroadcastState::Waiting | BroadcastState::Announced) => {}
                state => return state,
            }
        }
    }

    /// As [`sent`](Self::sent), and blocks the thread meanwhile.
    pub fn wait_sent(&mut self) -> Option<BroadcastState> {
        parking::wait(&mut std::pin::pin!(self.sent()))
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.client.counter().unfollow(&self.txid, self.number);
    }
}

/// A state that was not told yet, when there is one. See [`Life::changed`].
#[must_use = "a future does nothing unless it is polled"]
#[derive(Debug)]
pub struct Changed<'a> {
    life: &'a mut Life,
}

impl Future for Changed<'_> {
    type Output = Option<BroadcastState>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Life { client, txid, number, seen } = &mut *self.get_mut().life;
        client.counter().poll_state(txid, *number, seen, context.waker())
    }
}

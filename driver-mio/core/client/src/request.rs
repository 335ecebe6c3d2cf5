//! One request: a future, and something to wait for.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use andon_bitcoin::client::{Answer, Command, RequestId};

use crate::desk::Ended;
use crate::{Client, RequestError, parking};

/// Something that is asked of the client. It completes exactly once: with what was asked for, or with why not.
///
/// It is asked when it is first polled or waited for, or by [`start`](Self::start): before that nothing has happened. Dropping it
/// before it is complete gives it up: what had been carried out by then stands. It keeps its driver running, as the
/// [`Client`] does that it was made by.
#[must_use = "nothing is asked before it is awaited, waited for or started"]
pub struct Request<T> {
    client: Client,
    within: Option<Duration>,
    stage: Stage,
    /// How the answer is read.
    read: Option<Read<T>>,
}

pub(crate) type Read<T> = Box<dyn FnOnce(Answer) -> Result<T, RequestError> + Send + Sync>;

#[derive(Debug)]
enum Stage {
    New(Box<Command>),
    Asked(RequestId),
    /// The driver took it no more.
    TooLate,
    Complete,
}

impl<T> Request<T> {
    pub(crate) fn new(
        client: &Client,
        command: Command,
        read: impl FnOnce(Answer) -> Result<T, RequestError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            client: client.clone(),
            within: client.deadline(),
            stage: Stage::New(Box::new(command)),
            read: Some(Box::new(read)),
        }
    }

    /// The same, with a deadline, in place of [that of the client](Client::with_deadline): when this time has passed since the driver
    /// took the request, it is given up and completes as [`RequestError::TimedOut`]. It is the client's own clock: it stands still while
    /// [events pile up](crate#events-must-be-read-or-let-go) twice over; [`wait_timeout`](Self::wait_timeout) has the thread's.
    /// Has no effect when it has been asked.
    pub fn within(mut self, within: Duration) -> Self {
        self.within = Some(within);
        self
    }

    /// The same, asked now: so that many can be under way before the first is waited for.
    pub fn started(mut self) -> Self {
        self.start();
        self
    }

    /// Asks now, if it has not been asked.
    pub fn start(&mut self) {
        if !matches!(self.stage, Stage::New(_)) {
            return;
        }
        let Stage::New(command) = std::mem::replace(&mut self.stage, Stage::TooLate) else { return };
        if let Ok(id) = self.client.counter().ask(*command, self.within) {
            self.stage = Stage::Asked(id);
            self.client.wake();
        }
    }

    /// Asks, and lets go: nobody hears what comes of it but for what is known at once. The client is given it then, unless a fault
    /// ends the driver first; it may still [refuse](RequestError::Refused) it, or carry it out in vain.
    ///
    /// # Errors
    /// [`RequestError::Ended`] if the driver takes no more; [`RequestError::Refused`] if 65,536 commands wait that it has not
    /// taken. Of one that was [started](Self::start) before, and is complete: why it was not carried out.
    pub fn detach(mut self) -> Result<(), RequestError> {
        self.start();
        match std::mem::replace(&mut self.stage, Stage::Complete) {
            Stage::Asked(id) => match self.client.counter().let_go(id) {
                Ok(Some(answer)) => {
                    let read = self.read.take().expect("it is read once");
                    read(answer).map(drop)
                }
                Ok(None) => Ok(()),
                Err(Ended) => Err(RequestError::Ended),
            },
            Stage::TooLate => Err(RequestError::Ended),
            Stage::New(_) => unreachable!("it has been started"),
            // Whoever polled it has heard.
            Stage::Complete => Ok(()),
        }
    }

    /// Waits for it and blocks the thread meanwhile. Not for a thread that a driver's task runs on, as that of a runtime with
    /// one thread: it would wait for itself.
    ///
    /// # Errors
    /// Why it was not carried out.
    pub fn wait(mut self) -> Result<T, RequestError> {
        parking::wait(&mut self)
    }

    /// As [`wait`](Self::wait), for `timeout` at most. `None`: it is not complete; it goes on, and can be waited for again.
    ///
    /// # Panics
    /// If it was complete before.
    pub fn wait_timeout(&mut self, timeout: Duration) -> Option<Result<T, RequestError>> {
        parking::wait_timeout(self, timeout)
    }
}

impl<T> Future for Request<T> {
    type Output = Result<T, RequestError>;

    /// # Panics
    /// If it is polled again after it was ready, as futures may.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        this.start();
        let answer = match this.stage {
            Stage::Asked(id) => match this.client.counter().poll(id, context.waker()) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(answer) => answer.map_err(|_| RequestError::Ended),
            },
            Stage::TooLate => Err(RequestError::Ended),
            Stage::New(_) => unreachable!("it has been started"),
            Stage::Complete => panic!("a request was polled again after it was complete"),
        };
        this.stage = Stage::Complete;
        let read = this.read.take().expect("it is read once");
        Poll::Ready(answer.and_then(read))
    }
}

/// What it reads its answer with is never pinned.
impl<T> Unpin for Request<T> {}

impl<T> Drop for Request<T> {
    fn drop(&mut self) {
        if let Stage::Asked(id) = self.stage
            && self.client.counter().cancel(id)
        {
            self.client.wake();
        }
    }
}

impl<T> fmt::Debug for Request<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("stage", &self.stage)
            .field("within", &self.within)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use andon_bitcoin::client::Refusal;
    use andon_driver::{Options, Waker, ends};
    use bitcoin::Network;

    use super::*;
    use crate::desk::MAX_OUTGOING;

    #[test]
    fn what_is_let_go_and_will_not_be_carried_out_is_said_at_once() {
        let (handle, end) = ends(&Options::default(), Waker::new(|| Ok(())));
        let (client, _events, ending) = Client::new(handle, Network::Regtest);
        let early = client.tip().started();
        for _ in 1..MAX_OUTGOING {
            assert_eq!(client.tip().detach(), Ok(()));
        }
        assert_eq!(client.tip().detach(), Err(RequestError::Refused(Refusal::TooMany)));
        let refused = client.tip().started();
        assert_eq!(refused.detach(), Err(RequestError::Refused(Refusal::TooMany)));
        assert_eq!((client.open_requests(), client.waiting_commands()), (1, MAX_OUTGOING));
        drop(end);
        assert_eq!(early.detach(), Err(RequestError::Ended));
        assert_eq!(client.tip().detach(), Err(RequestError::Ended));
        assert_eq!((client.open_requests(), client.waiting_commands()), (0, 0));
        assert!(ending.join().is_err());
    }
}
